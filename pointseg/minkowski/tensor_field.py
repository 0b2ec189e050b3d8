"""Tensor fields: features at real-valued points, voxelised and brought back."""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.enums import (
    GPUMemoryAllocatorType,
    MinkowskiAlgorithm,
    SparseTensorQuantizationMode,
)
from pointseg.minkowski.interpolation_map import corners, joined
from pointseg.minkowski.kernel import int_tuple
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.packing import to_int32
from pointseg.minkowski.products import sum_dtype
from pointseg.minkowski.reduce import check_floating, reduce_rows, repeat_rows
from pointseg.minkowski.sharing import manager_for
from pointseg.minkowski.sparse_matrix import spmm
from pointseg.minkowski.sparse_tensor import SparseTensor, check_features, check_map, check_rows
from pointseg.minkowski.tensor import Tensor as Base
from pointseg.minkowski.tensor import check_same_manager, check_same_map

Mode = SparseTensorQuantizationMode


class TensorField(Base):
    """Features ``F`` (N, C) at real coordinates ``C`` (N, 1+D), batch index first, one unit a finest voxel.

    :meth:`sparse` voxelises it, ``sparse_tensor.slice(field)`` brings results back to every point.

    Args:
        features: (N, C) float.
        coordinates: (N, 1+D) real or integer.
        tensor_stride: of the field; :meth:`sparse` has an argument of its own.
        coordinate_field_map_key: instead of ``coordinates``: a field of ``coordinate_manager``.
        coordinate_manager: shares maps with other tensors; a new one, or the global one, when not given.
        quantization_mode: how :meth:`sparse` reduces the points of a voxel.
        allocator_type: accepted, without effect.
        minkowski_algorithm: accepted, without effect.
        requires_grad: set on the features where given.
        device: moves features and coordinates first.

    Raises:
        InputError: shapes, devices or keys do not fit, or a mode that does not reduce.
    """

    def __init__(
        self,
        features: Tensor,
        coordinates: Tensor | None = None,
        tensor_stride: Any = 1,
        coordinate_field_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
        quantization_mode: SparseTensorQuantizationMode = Mode.UNWEIGHTED_AVERAGE,
        allocator_type: GPUMemoryAllocatorType | None = None,
        minkowski_algorithm: MinkowskiAlgorithm | None = None,
        requires_grad: bool | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        check_features(features)
        check_mode(quantization_mode)
        self.quantization_mode = quantization_mode
        if device is not None:
            features = features.to(device)
            coordinates = None if coordinates is None else coordinates.to(device)
        if coordinates is not None:
            if coordinates.ndim != 2 or coordinates.shape[1] < 2:
                raise InputError(f"coordinates have shape {tuple(coordinates.shape)}, but must be (points, 1 + D).")
            check_rows(features, coordinates, coordinate_manager)
            manager = coordinate_manager or manager_for(coordinates.shape[1] - 1)
            coordinate_field_map_key = manager.insert_field(coordinates, tensor_stride)
        elif coordinate_field_map_key is None or coordinate_manager is None:
            raise InputError("neither coordinates nor coordinate_field_map_key with coordinate_manager were given.")
        else:
            manager = coordinate_manager
            check_map(features, manager.get_coordinate_field(coordinate_field_map_key))
        self.coordinate_field_map_key = coordinate_field_map_key
        self.coordinate_manager = manager
        self._F = features if requires_grad is None else features.requires_grad_(requires_grad)

    @property
    def coordinate_key(self) -> CoordinateMapKey:
        return self.coordinate_field_map_key

    @property
    def coordinates(self) -> Tensor:
        """Coordinates (N, 1+D) as they were given."""
        return self.coordinate_manager.get_coordinate_field(self.coordinate_field_map_key)

    @property
    def decomposition_permutations(self) -> list[Tensor]:
        return self.coordinate_manager.origin_field_map(self.coordinate_field_map_key)[1]

    def with_features(self, features: Tensor) -> "TensorField":
        return TensorField(
            features,
            coordinate_field_map_key=self.coordinate_field_map_key,
            coordinate_manager=self.coordinate_manager,
            quantization_mode=self.quantization_mode,
        )

    def sparse(
        self,
        tensor_stride: Any = 1,
        coordinate_map_key: CoordinateMapKey | None = None,
        quantization_mode: SparseTensorQuantizationMode | None = None,
    ) -> SparseTensor:
        """The voxels the points lie in (floor to the stride), rows in the order their first points come.

        Args:
            tensor_stride: voxel stride.
            coordinate_map_key: instead of the field's own voxels: a map whose cells hold every point. Rows without a
                point get zeros.
            quantization_mode: reduction, the field's own by default.

        Raises:
            InputError: a mode that does not reduce, a point outside every cell of the map, or features to merge that
                are not floating point.
        """
        mode = self.quantization_mode if quantization_mode is None else quantization_mode
        check_mode(mode)
        manager, field = self.coordinate_manager, self.coordinate_field_map_key
        if coordinate_map_key is not None:
            features = self._reduced_onto(coordinate_map_key, mode)
            return SparseTensor(features, coordinate_map_key=coordinate_map_key, coordinate_manager=manager)
        stride = int_tuple(tensor_stride, self.D, "tensor_stride")
        key, (unique_index, inverse) = manager.field_to_sparse(field, stride)
        sparse = SparseTensor(
            reduce_rows(self._F, unique_index, inverse, mode),
            coordinate_map_key=key,
            coordinate_manager=manager,
            quantization_mode=mode,
        )
        sparse.unique_index, sparse.inverse_mapping = unique_index, inverse
        return sparse

    def _reduced_onto(self, key: CoordinateMapKey, mode: SparseTensorQuantizationMode) -> Tensor:
        first, rows = self.coordinate_manager.get_field_to_sparse_map(self.coordinate_field_map_key, key)
        present = (first < len(rows)).nonzero().squeeze(1)
        number = torch.empty_like(first)
        number[present] = torch.arange(len(present), device=first.device)
        reduced = reduce_rows(self._F, first[present], number[rows], mode)
        return self._F.new_zeros((len(first), self._F.shape[1])).index_copy(0, present, reduced)

    def splat(self) -> SparseTensor:
        """Every point's features shared out to the 2^D voxels around it with D-linear weights, and summed.

        ``sparse.interpolate(field)`` is the way back.

        Raises:
            InputError: the features are not floating point, or a point is too far out for int32 voxels.
        """
        check_floating(self._F)
        manager = self.coordinate_manager
        key, _ = manager.insert_and_map(create_splat_coordinates(self.C))
        rows, points, weights = joined(corners(manager, key, self.C))
        size = torch.Size((manager.size(key), len(self)))
        exact = sum_dtype(self.dtype)
        features = spmm(rows, points, weights.to(exact), size, self._F.to(exact)).to(self.dtype)
        return SparseTensor(features, coordinate_map_key=key, coordinate_manager=manager)

    def inverse_mapping(self, sparse_tensor_map_key: CoordinateMapKey) -> Tensor:
        """(N,) int64: the row of that coordinate map in which each point lies.

        Raises:
            InputError: a point lies outside every cell of the map.
        """
        return self.coordinate_manager.field_rows(self.coordinate_field_map_key, sparse_tensor_map_key)


def create_splat_coordinates(coordinates: Tensor) -> Tensor:
    """int32 (2^D N, 1+D): the corners of the unit cells that hold the real rows (N, 1+D); duplicates stay."""
    steps = torch.tensor([(0, *corner) for corner in product((0, 1), repeat=coordinates.shape[1] - 1)])
    cells = to_int32(coordinates).long()[:, None] + steps.to(coordinates.device)
    return to_int32(cells.reshape(-1, coordinates.shape[1]))


def check_mode(mode: SparseTensorQuantizationMode) -> None:
    if mode in (Mode.NO_QUANTIZATION, Mode.SPLAT_LINEAR_INTERPOLATION):
        raise InputError(
            f"quantization_mode is {mode.name}, but a field's points are reduced by RANDOM_SUBSAMPLE, "
            f"UNWEIGHTED_AVERAGE, UNWEIGHTED_SUM or MAX_POOL, or shared out by splat()."
        )


def slice_points(x: SparseTensor, points: TensorField | SparseTensor, keep_features: bool) -> TensorField:
    """Features of the cell each point lies in, with the point's own appended where asked for.

    Args:
        x: tensor on the cells.
        points: a field, or a tensor of the same map made from points, whose ``inverse_mapping`` says their cells.
        keep_features: append the features of ``points``.

    Raises:
        InputError: different managers or maps, or ``points`` was not reduced by a mode that can be undone.
    """
    check_same_manager(x, points)
    if points.quantization_mode not in (Mode.RANDOM_SUBSAMPLE, Mode.UNWEIGHTED_AVERAGE):
        raise InputError(
            f"a field quantised by {points.quantization_mode.name} cannot be sliced: use RANDOM_SUBSAMPLE or "
            f"UNWEIGHTED_AVERAGE."
        )
    inverse: Tensor
    field: Callable[[Tensor], TensorField]
    if isinstance(points, TensorField):
        inverse, own, field = points.inverse_mapping(x.coordinate_map_key), points.F, points.with_features
    else:
        check_same_map(x, points)
        inverse = points.inverse_mapping
        own = repeat_rows(points.F, inverse)

        def field(features: Tensor) -> TensorField:
            return TensorField(features, x.C[inverse], coordinate_manager=x.coordinate_manager)

    features = repeat_rows(x.F, inverse)
    return field(torch.cat((features, own), dim=1) if keep_features else features)
