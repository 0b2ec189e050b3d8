"""Sparse tensors: feature rows at integer coordinates, and arithmetic between them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Union

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.enums import SparseTensorQuantizationMode
from pointseg.minkowski.kernel import int_tuple
from pointseg.minkowski.manager import CoordinateManager, CoordinateMapKey
from pointseg.minkowski.packing import to_int32
from pointseg.minkowski.reduce import reduce_rows

if TYPE_CHECKING:
    from pointseg.minkowski.tensor_field import TensorField

Operand = Union["SparseTensor", Tensor, float, int]


class SparseTensor:
    """Features ``F`` (V, C) at distinct coordinates ``C`` (V, 1+D) int32, batch index first.

    Without duplicates the rows keep the order they were given in; with duplicates, the order of first appearance.
    Behaves as MinkowskiEngine 0.5's class of the same name.

    Args:
        features: (N, C) float.
        coordinates: (N, 1+D) integers, batch index first; negative coordinates are fine. Floored to ``tensor_stride``.
        tensor_stride: distance between neighbouring rows in finest voxels, one int or D ints.
        coordinate_map_key: instead of ``coordinates``: a map of ``coordinate_manager``.
        coordinate_manager: shares maps with other tensors; a new one when not given.
        quantization_mode: what becomes of duplicates.
        device: moves features and coordinates first.

    Raises:
        InputError: shapes, dtypes, devices or keys do not fit, or duplicates under NO_QUANTIZATION.
    """

    def __init__(
        self,
        features: Tensor,
        coordinates: Tensor | None = None,
        tensor_stride: Any = 1,
        coordinate_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
        quantization_mode: SparseTensorQuantizationMode = SparseTensorQuantizationMode.RANDOM_SUBSAMPLE,
        device: torch.device | str | None = None,
    ) -> None:
        if device is not None:
            features = features.to(device)
            coordinates = None if coordinates is None else coordinates.to(device)
        if not isinstance(features, Tensor) or features.ndim != 2:
            shape = tuple(features.shape) if hasattr(features, "shape") else type(features).__name__
            raise InputError(f"features are {shape}, but they must be a torch tensor of shape (rows, channels).")
        self.quantization_mode = quantization_mode
        if coordinates is not None:
            check_coordinates(features, coordinates, coordinate_manager)
            manager = coordinate_manager or CoordinateManager(coordinates.shape[1] - 1)
            string_id = coordinate_map_key.string_id if coordinate_map_key is not None else ""
            key, (self.unique_index, self.inverse_mapping) = manager.insert_and_map(
                to_int32(coordinates), tensor_stride, string_id
            )
            features = self._quantized(features)
        elif coordinate_map_key is None or coordinate_manager is None:
            raise InputError("neither coordinates nor coordinate_map_key with coordinate_manager were given: pass one.")
        else:
            key, manager = coordinate_map_key, coordinate_manager
            if len(features) != manager.size(key):
                raise InputError(
                    f"features have {len(features)} rows, but the coordinate map has {manager.size(key)}: "
                    f"pass one row for each coordinate."
                )
        self.coordinate_map_key = key
        self.coordinate_manager = manager
        self._F = features

    def _quantized(self, features: Tensor) -> Tensor:
        if self.quantization_mode is SparseTensorQuantizationMode.NO_QUANTIZATION:
            surplus = len(features) - len(self.unique_index)
            if surplus:
                raise InputError(
                    f"{surplus} of {len(features)} coordinate rows are duplicates, which NO_QUANTIZATION does not "
                    f"allow: merge them first (utils.sparse_quantize) or choose another quantization_mode."
                )
            return features
        return reduce_rows(features, self.unique_index, self.inverse_mapping, self.quantization_mode)

    @property
    def F(self) -> Tensor:
        """Features (V, C)."""
        return self._F

    @property
    def features(self) -> Tensor:
        return self._F

    @property
    def C(self) -> Tensor:
        """Coordinates (V, 1+D) int32, batch index first, in finest voxels."""
        return self.coordinate_manager.get_coordinates(self.coordinate_map_key)

    @property
    def coordinates(self) -> Tensor:
        return self.C

    @property
    def D(self) -> int:
        return self.coordinate_manager.D

    @property
    def dimension(self) -> int:
        return self.D

    @property
    def tensor_stride(self) -> list[int]:
        return self.coordinate_map_key.get_tensor_stride()

    @property
    def device(self) -> torch.device:
        return self._F.device

    @property
    def dtype(self) -> torch.dtype:
        return self._F.dtype

    @property
    def shape(self) -> torch.Size:
        return self._F.shape

    @property
    def requires_grad(self) -> bool:
        return self._F.requires_grad

    def size(self) -> torch.Size:
        return self._F.size()

    def requires_grad_(self, requires_grad: bool = True) -> "SparseTensor":
        self._F.requires_grad_(requires_grad)
        return self

    def detach(self) -> "SparseTensor":
        return self.with_features(self._F.detach())

    def float(self) -> "SparseTensor":
        return self.with_features(self._F.float())

    def double(self) -> "SparseTensor":
        return self.with_features(self._F.double())

    def with_features(self, features: Tensor) -> "SparseTensor":
        """The same coordinates under other features (V, any)."""
        return SparseTensor(
            features, coordinate_map_key=self.coordinate_map_key, coordinate_manager=self.coordinate_manager
        )

    @property
    def decomposed_coordinates(self) -> list[Tensor]:
        """For each batch entry its coordinates (V_b, D), without the batch column."""
        return [self.C[rows, 1:] for rows in self._batch_rows]

    @property
    def decomposed_features(self) -> list[Tensor]:
        return [self._F[rows] for rows in self._batch_rows]

    @property
    def decomposed_coordinates_and_features(self) -> tuple[list[Tensor], list[Tensor]]:
        return self.decomposed_coordinates, self.decomposed_features

    @property
    def _batch_rows(self) -> list[Tensor]:
        return self.coordinate_manager.batch_rows(self.coordinate_map_key)

    def coordinates_at(self, batch_index: int) -> Tensor:
        return self.C[self._batch_rows[batch_index], 1:]

    def features_at(self, batch_index: int) -> Tensor:
        return self._F[self._batch_rows[batch_index]]

    def coordinates_and_features_at(self, batch_index: int) -> tuple[Tensor, Tensor]:
        return self.coordinates_at(batch_index), self.features_at(batch_index)

    def features_at_coordinates(self, query_coordinates: Tensor) -> Tensor:
        """Features interpolated D-linearly at real coordinates (M, 1+D); see :class:`MinkowskiInterpolation`."""
        from pointseg.minkowski.interpolation import interpolate

        return interpolate(self, query_coordinates)

    def slice(self, X: "TensorField") -> "TensorField":
        """Every point of the field gets the features of the cell it lies in."""
        from pointseg.minkowski.tensor_field import slice_field

        return slice_field(self, X, keep_features=False)

    def cat_slice(self, X: "TensorField") -> "TensorField":
        """As :meth:`slice`, with the field's own features appended."""
        from pointseg.minkowski.tensor_field import slice_field

        return slice_field(self, X, keep_features=True)

    def __len__(self) -> int:
        return len(self._F)

    def __repr__(self) -> str:
        return (
            f"SparseTensor(features={tuple(self._F.shape)} {self._F.dtype} on {self._F.device}, "
            f"D={self.D}, tensor_stride={self.tensor_stride})"
        )

    def __neg__(self) -> "SparseTensor":
        return self.with_features(-self._F)

    def __add__(self, other: Operand) -> "SparseTensor":
        return combine(self, other, torch.add)

    def __sub__(self, other: Operand) -> "SparseTensor":
        return combine(self, other, torch.sub)

    def __mul__(self, other: Operand) -> "SparseTensor":
        return combine(self, other, torch.mul)

    def __truediv__(self, other: Operand) -> "SparseTensor":
        return combine(self, other, torch.div)

    def __iadd__(self, other: Operand) -> "SparseTensor":
        return self._in_place(other, torch.add)

    def __isub__(self, other: Operand) -> "SparseTensor":
        return self._in_place(other, torch.sub)

    def __imul__(self, other: Operand) -> "SparseTensor":
        return self._in_place(other, torch.mul)

    def __itruediv__(self, other: Operand) -> "SparseTensor":
        return self._in_place(other, torch.div)

    def _in_place(self, other: Operand, operation: Callable[..., Tensor]) -> "SparseTensor":
        if isinstance(other, SparseTensor) and other.coordinate_map_key != self.coordinate_map_key:
            raise InputError(
                f"in-place arithmetic needs tensors of one coordinate map, but the keys are "
                f"{self.coordinate_map_key.get_key()} and {other.coordinate_map_key.get_key()}: write a = a + b."
            )
        self._F = combine(self, other, operation)._F
        return self


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


def combine(a: SparseTensor, b: Operand, operation: Callable[..., Tensor]) -> SparseTensor:
    """``operation`` between features of rows with equal coordinates.

    Tensors on different maps of one manager give the union of their rows. A row that only one of them has behaves as
    in MinkowskiEngine: sums and differences count the other as zero; products and quotients keep ``a``'s row, and are
    zero where only ``b`` has a row.
    """
    if not isinstance(b, SparseTensor):
        return a.with_features(operation(a.F, b))
    check_same_manager(a, b)
    if a.coordinate_map_key == b.coordinate_map_key:
        return a.with_features(operation(a.F, b.F))
    key, b_rows = a.coordinate_manager.union(a.coordinate_map_key, b.coordinate_map_key)
    missing = a.coordinate_manager.size(key) - len(a)
    left = torch.cat((a.F, a.F.new_zeros((missing, a.F.shape[1]))))
    right = (torch.zeros_like if operation in (torch.add, torch.sub) else torch.ones_like)(left).to(b.F.dtype)
    right = right.index_copy(0, b_rows, b.F)
    return SparseTensor(operation(left, right), coordinate_map_key=key, coordinate_manager=a.coordinate_manager)


def check_same_manager(a: SparseTensor, b: SparseTensor) -> None:
    if a.coordinate_manager is not b.coordinate_manager:
        raise InputError(
            "the tensors have different coordinate managers, so their rows cannot be matched: make the second one "
            "with coordinate_manager=first.coordinate_manager."
        )


def given_key(
    x: SparseTensor, coordinates: "Tensor | CoordinateMapKey | SparseTensor", tensor_stride: Any
) -> CoordinateMapKey:
    """The key of output coordinates a caller chose: a key, another tensor's, or rows to insert at ``tensor_stride``."""
    if isinstance(coordinates, CoordinateMapKey):
        return coordinates
    if isinstance(coordinates, SparseTensor):
        check_same_manager(x, coordinates)
        return coordinates.coordinate_map_key
    check_rows(coordinates, coordinates, x.coordinate_manager)
    stride = int_tuple(tensor_stride, x.D, "tensor_stride")
    return x.coordinate_manager.insert_and_map(to_int32(coordinates), stride)[0]
