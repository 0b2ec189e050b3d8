"""Tensor fields: features at real-valued points, voxelised and brought back."""

from typing import Any

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.enums import SparseTensorQuantizationMode
from pointseg.minkowski.kernel import int_tuple
from pointseg.minkowski.manager import CoordinateManager, CoordinateMapKey
from pointseg.minkowski.reduce import reduce_rows
from pointseg.minkowski.sparse_tensor import SparseTensor, check_rows

Mode = SparseTensorQuantizationMode


class TensorField:
    """Features ``F`` (N, C) at real coordinates ``C`` (N, 1+D), batch index first, one unit a finest voxel.

    :meth:`sparse` voxelises it, ``sparse_tensor.slice(field)`` brings results back to every point.

    Args:
        features: (N, C) float.
        coordinates: (N, 1+D) real or integer.
        tensor_stride: stride of the voxels that :meth:`sparse` makes by default.
        coordinate_field_map_key: instead of ``coordinates``: a field of ``coordinate_manager``.
        coordinate_manager: shares maps with other tensors; a new one when not given.
        quantization_mode: how :meth:`sparse` reduces the points of a voxel.
        device: moves features and coordinates first.

    Raises:
        InputError: shapes, devices or keys do not fit.
    """

    def __init__(
        self,
        features: Tensor,
        coordinates: Tensor | None = None,
        tensor_stride: Any = 1,
        coordinate_field_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
        quantization_mode: SparseTensorQuantizationMode = Mode.UNWEIGHTED_AVERAGE,
        device: torch.device | str | None = None,
    ) -> None:
        if device is not None:
            features = features.to(device)
            coordinates = None if coordinates is None else coordinates.to(device)
        if not isinstance(features, Tensor) or features.ndim != 2:
            raise InputError("features must be a torch tensor of shape (points, channels).")
        self.quantization_mode = quantization_mode
        if coordinates is not None:
            if coordinates.ndim != 2 or coordinates.shape[1] < 2:
                raise InputError(f"coordinates have shape {tuple(coordinates.shape)}, but must be (points, 1 + D).")
            check_rows(features, coordinates, coordinate_manager)
            manager = coordinate_manager or CoordinateManager(coordinates.shape[1] - 1)
            coordinate_field_map_key = manager.insert_field(coordinates, tensor_stride)
        elif coordinate_field_map_key is None or coordinate_manager is None:
            raise InputError("neither coordinates nor coordinate_field_map_key with coordinate_manager were given.")
        else:
            manager = coordinate_manager
        self.coordinate_field_map_key = coordinate_field_map_key
        self.coordinate_manager = manager
        self._F = features

    @property
    def F(self) -> Tensor:
        return self._F

    @property
    def features(self) -> Tensor:
        return self._F

    @property
    def C(self) -> Tensor:
        """Coordinates (N, 1+D) as they were given."""
        return self.coordinate_manager.get_coordinate_field(self.coordinate_field_map_key)

    @property
    def coordinates(self) -> Tensor:
        return self.C

    @property
    def D(self) -> int:
        return self.coordinate_manager.D

    @property
    def tensor_stride(self) -> list[int]:
        return self.coordinate_field_map_key.get_tensor_stride()

    @property
    def device(self) -> torch.device:
        return self._F.device

    @property
    def dtype(self) -> torch.dtype:
        return self._F.dtype

    @property
    def shape(self) -> torch.Size:
        return self._F.shape

    def __len__(self) -> int:
        return len(self._F)

    def with_features(self, features: Tensor) -> "TensorField":
        """The same points under other features (N, any)."""
        return TensorField(
            features,
            coordinate_field_map_key=self.coordinate_field_map_key,
            coordinate_manager=self.coordinate_manager,
            quantization_mode=self.quantization_mode,
        )

    def sparse(
        self, tensor_stride: Any = None, quantization_mode: SparseTensorQuantizationMode | None = None
    ) -> SparseTensor:
        """The voxels the points lie in (floor to the stride), rows in the order their first points come.

        Args:
            tensor_stride: voxel stride, the field's own by default.
            quantization_mode: reduction, the field's own by default.
        """
        stride = self.tensor_stride if tensor_stride is None else int_tuple(tensor_stride, self.D, "tensor_stride")
        mode = self.quantization_mode if quantization_mode is None else quantization_mode
        key, (unique_index, inverse) = self.coordinate_manager.field_to_sparse(
            self.coordinate_field_map_key, tuple(stride)
        )
        sparse = SparseTensor(
            reduce_rows(self._F, unique_index, inverse, mode),
            coordinate_map_key=key,
            coordinate_manager=self.coordinate_manager,
            quantization_mode=mode,
        )
        sparse.unique_index, sparse.inverse_mapping = unique_index, inverse
        return sparse

    def inverse_mapping(self, sparse_tensor_map_key: CoordinateMapKey) -> Tensor:
        """(N,) int64: the row of that coordinate map in which each point lies.

        Raises:
            InputError: a point lies outside every cell of the map.
        """
        return self.coordinate_manager.field_rows(self.coordinate_field_map_key, sparse_tensor_map_key)


def slice_field(sparse: SparseTensor, field: TensorField, keep_features: bool) -> TensorField:
    """Features of the cell each point lies in, with the point's own appended where asked for."""
    if field.coordinate_manager is not sparse.coordinate_manager:
        raise InputError(
            "the field and the tensor have different coordinate managers: make the tensor by field.sparse()."
        )
    if field.quantization_mode not in (Mode.RANDOM_SUBSAMPLE, Mode.UNWEIGHTED_AVERAGE):
        raise InputError(
            f"a field quantised by {field.quantization_mode.name} cannot be sliced: use RANDOM_SUBSAMPLE or "
            f"UNWEIGHTED_AVERAGE."
        )
    # Unlike indexing, index_select adds up the gradients of a cell's points in a fixed order on the CPU.
    features = torch.index_select(sparse.F, 0, field.inverse_mapping(sparse.coordinate_map_key))
    return field.with_features(torch.cat((features, field.F), dim=1) if keep_features else features)
