"""Sparse tensors: feature rows at distinct integer coordinates."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.dense import to_dense, to_torch_sparse
from pointseg.minkowski.enums import (
    GPUMemoryAllocatorType,
    MinkowskiAlgorithm,
    SparseTensorQuantizationMode,
)
from pointseg.minkowski.kernel import int_tuple
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.packing import to_int32
from pointseg.minkowski.reduce import reduce_rows
from pointseg.minkowski.sharing import manager_for
from pointseg.minkowski.tensor import Tensor as Base
from pointseg.minkowski.tensor import check_same_manager

if TYPE_CHECKING:
    from pointseg.minkowski.tensor_field import TensorField

Mode = SparseTensorQuantizationMode


class SparseTensor(Base):
    """Features ``F`` (V, C) at distinct coordinates ``C`` (V, 1+D) int32, batch index first.

    Without duplicates the rows keep the order they were given in; with duplicates, the order of first appearance.
    Behaves as MinkowskiEngine 0.5's class of the same name. ``a + b``, ``-``, ``*``, ``/`` work between tensors of one
    coordinate map; between different maps of one manager they give the union of the rows. There, sums and differences
    count a missing row as zero; products and quotients keep ``a``'s row, and are zero where only ``b`` has one.

    Args:
        features: (N, C) float.
        coordinates: (N, 1+D) integers, batch index first; negative coordinates are fine. Floored to ``tensor_stride``.
        tensor_stride: distance between neighbouring rows in finest voxels, one int or D ints.
        coordinate_map_key: instead of ``coordinates``: a map of ``coordinate_manager``.
        coordinate_manager: shares maps with other tensors; a new one, or the global one, when not given.
        quantization_mode: what becomes of duplicates.
        allocator_type: accepted, without effect.
        minkowski_algorithm: accepted, without effect.
        requires_grad: set on the features where given.
        device: moves features and coordinates first.

    Raises:
        InputError: shapes, dtypes, devices or keys do not fit, duplicates under NO_QUANTIZATION, duplicates to merge of
            features that are not floating point, or rows off the origin at tensor stride 0.
    """

    def __init__(
        self,
        features: Tensor,
        coordinates: Tensor | None = None,
        tensor_stride: Any = 1,
        coordinate_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
        quantization_mode: SparseTensorQuantizationMode = Mode.RANDOM_SUBSAMPLE,
        allocator_type: GPUMemoryAllocatorType | None = None,
        minkowski_algorithm: MinkowskiAlgorithm | None = None,
        requires_grad: bool | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        check_features(features)
        self.quantization_mode = quantization_mode
        if device is not None:
            features = features.to(device)
            coordinates = None if coordinates is None else coordinates.to(device)
        if coordinates is not None:
            check_coordinates(features, coordinates, coordinate_manager)
            if coordinate_map_key is not None:
                raise InputError("coordinates and coordinate_map_key were both given: pass one of them.")
            manager = coordinate_manager or manager_for(coordinates.shape[1] - 1)
            key, (self.unique_index, self.inverse_mapping) = manager.insert_and_map(
                to_int32(coordinates), tensor_stride
            )
            features = self._quantized(features)
        elif coordinate_map_key is None or coordinate_manager is None:
            raise InputError("neither coordinates nor coordinate_map_key with coordinate_manager were given: pass one.")
        else:
            key, manager = coordinate_map_key, coordinate_manager
            check_map(features, manager.get_coordinates(key))
        self.coordinate_map_key = key
        self.coordinate_manager = manager
        self._F = features if requires_grad is None else features.requires_grad_(requires_grad)

    def _quantized(self, features: Tensor) -> Tensor:
        if self.quantization_mode is Mode.NO_QUANTIZATION:
            surplus = len(features) - len(self.unique_index)
            if surplus:
                raise InputError(
                    f"{surplus} of {len(features)} coordinate rows are duplicates, which NO_QUANTIZATION does not "
                    f"allow: merge them first (utils.sparse_quantize) or choose another quantization_mode."
                )
            return features
        return reduce_rows(features, self.unique_index, self.inverse_mapping, self.quantization_mode)

    @property
    def coordinate_key(self) -> CoordinateMapKey:
        return self.coordinate_map_key

    @property
    def coordinates(self) -> Tensor:
        """Coordinates (V, 1+D) int32, batch index first, in finest voxels."""
        return self.coordinate_manager.get_coordinates(self.coordinate_map_key)

    @property
    def decomposition_permutations(self) -> list[Tensor]:
        return self.coordinate_manager.batch_rows(self.coordinate_map_key)

    def with_features(self, features: Tensor) -> "SparseTensor":
        return SparseTensor(
            features, coordinate_map_key=self.coordinate_map_key, coordinate_manager=self.coordinate_manager
        )

    def features_at_coordinates(self, query_coordinates: Tensor) -> Tensor:
        """Features interpolated D-linearly at real coordinates (M, 1+D); see :class:`MinkowskiInterpolation`."""
        from pointseg.minkowski.interpolation import interpolate

        return interpolate(self, query_coordinates)

    def interpolate(self, X: "TensorField") -> "TensorField":
        """The field's points under features interpolated D-linearly; the way back from :meth:`TensorField.splat`."""
        return X.with_features(self.features_at_coordinates(X.C))

    def slice(self, X: "TensorField | SparseTensor") -> "TensorField":
        """Every point of the field, or every row ``X`` was made from, gets the features of the cell it lies in."""
        from pointseg.minkowski.tensor_field import slice_points

        return slice_points(self, X, keep_features=False)

    def cat_slice(self, X: "TensorField | SparseTensor") -> "TensorField":
        """As :meth:`slice`, with ``X``'s own features appended."""
        from pointseg.minkowski.tensor_field import slice_points

        return slice_points(self, X, keep_features=True)

    def sparse(
        self, min_coords: Tensor | None = None, max_coords: Tensor | None = None, contract_coords: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :func:`pointseg.minkowski.dense.to_torch_sparse`."""
        return to_torch_sparse(self, min_coords, max_coords, contract_coords)

    def dense(
        self,
        shape: torch.Size | None = None,
        min_coordinate: Tensor | int | None = None,
        contract_stride: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :func:`pointseg.minkowski.dense.to_dense`."""
        return to_dense(self, shape, min_coordinate, contract_stride)

    def _united(self, other: Any, operation: Callable[..., Tensor]) -> "SparseTensor":
        if self.shape[1] != other.shape[1]:
            raise InputError(
                f"the tensors have {self.shape[1]} and {other.shape[1]} channels, but the union of different maps "
                f"needs equally many."
            )
        key, rows = self.coordinate_manager.union(self.coordinate_map_key, other.coordinate_map_key)
        missing = self.coordinate_manager.size(key) - len(self)
        left = torch.cat((self.F, self.F.new_zeros((missing, self.shape[1]))))
        right = (torch.zeros_like if operation in (torch.add, torch.sub) else torch.ones_like)(left).to(other.dtype)
        right = right.index_copy(0, rows, other.F)
        return SparseTensor(operation(left, right), coordinate_map_key=key, coordinate_manager=self.coordinate_manager)


def check_features(features: Tensor) -> None:
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if hasattr(features, "shape") else type(features).__name__
        raise InputError(f"features are {shape}, but they must be a torch tensor of shape (rows, channels).")


def check_map(features: Tensor, coordinates: Tensor) -> None:
    if len(features) != len(coordinates):
        raise InputError(
            f"features have {len(features)} rows, but the coordinate map has {len(coordinates)}: "
            f"pass one row for each coordinate."
        )
    if features.device != coordinates.device:
        raise InputError(
            f"features are on {features.device}, but the coordinate map is on {coordinates.device}: move the features."
        )


def check_coordinates(features: Tensor, coordinates: Tensor, manager: CoordinateManager | None) -> None:
    """Raises InputError unless ``coordinates`` are integer rows that fit the features and the manager."""
    if not isinstance(coordinates, Tensor) or coordinates.ndim != 2 or coordinates.shape[1] < 2:
        shape = tuple(coordinates.shape) if hasattr(coordinates, "shape") else type(coordinates).__name__
        raise InputError(f"coordinates are {shape}, but they must be a torch tensor (rows, 1 + D), batch index first.")
    if coordinates.is_floating_point() or coordinates.dtype == torch.bool:
        raise InputError(
            f"coordinates are {coordinates.dtype}, but a SparseTensor needs integers: floor them "
            f"(utils.sparse_quantize, utils.batched_coordinates), or use TensorField for points."
        )
    check_rows(features, coordinates, manager)


def check_rows(features: Tensor, coordinates: Tensor, manager: CoordinateManager | None) -> None:
    if len(features) != len(coordinates):
        raise InputError(
            f"there are {len(features)} feature rows and {len(coordinates)} coordinates: pass equally many."
        )
    if features.device != coordinates.device:
        raise InputError(
            f"features are on {features.device} and coordinates on {coordinates.device}: pass device= to move both."
        )
    if manager is not None and coordinates.shape[1] - 1 != manager.D:
        raise InputError(f"coordinates have {coordinates.shape[1] - 1} axes, but the manager holds {manager.D}.")


def given_key(
    x: SparseTensor, coordinates: "Tensor | CoordinateMapKey | SparseTensor", tensor_stride: Any
) -> CoordinateMapKey:
    """The key of output coordinates a caller chose: a key, another tensor's, or rows to insert at ``tensor_stride``.

    Raises:
        InputError: another manager's tensor, or rows that cannot be inserted, as those off the origin at stride 0.
    """
    if isinstance(coordinates, CoordinateMapKey):
        return coordinates
    if isinstance(coordinates, SparseTensor):
        check_same_manager(x, coordinates)
        return coordinates.coordinate_map_key
    check_rows(coordinates, coordinates, x.coordinate_manager)
    stride = int_tuple(tensor_stride, x.D, "tensor_stride")
    return x.coordinate_manager.insert_and_map(to_int32(coordinates), stride)[0]
