"""What sparse tensors and tensor fields have in common: features over coordinates, by batch entry, with arithmetic."""

from collections.abc import Callable
from typing import Any, Self

import torch

from pointseg.errors import InputError
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.enums import SparseTensorQuantizationMode
from pointseg.minkowski.manager import CoordinateMapKey

# Names before MinkowskiEngine 0.5.
_RENAMED = {"feats": "F", "coords": "C", "coords_key": "coordinate_map_key", "coords_man": "coordinate_manager"}


class Tensor:
    """Features ``F`` (N, C) over the rows of a coordinate map or field."""

    coordinate_manager: CoordinateManager
    quantization_mode: SparseTensorQuantizationMode
    _F: torch.Tensor

    @property
    def coordinate_key(self) -> CoordinateMapKey:
        """Key of the coordinate map, or of the field."""
        raise NotImplementedError

    @property
    def coordinates(self) -> torch.Tensor:
        raise NotImplementedError

    def with_features(self, features: torch.Tensor) -> Self:
        """The same coordinates under other features (N, any)."""
        raise NotImplementedError

    @property
    def decomposition_permutations(self) -> list[torch.Tensor]:
        """For each batch index from 0 the numbers of its rows; empty where the entry has none."""
        raise NotImplementedError

    @property
    def C(self) -> torch.Tensor:
        """Coordinates (N, 1+D), batch index first, in finest voxels."""
        return self.coordinates

    @property
    def F(self) -> torch.Tensor:
        """Features (N, C)."""
        return self._F

    @property
    def features(self) -> torch.Tensor:
        return self._F

    @property
    def _manager(self) -> CoordinateManager:
        # MinkowskiEngine's own name for it, which layers written after its layers use.
        return self.coordinate_manager

    @property
    def D(self) -> int:
        return self.coordinate_manager.D

    @property
    def dimension(self) -> int:
        return self.D

    @property
    def tensor_stride(self) -> list[int]:
        return self.coordinate_key.get_tensor_stride()

    @property
    def device(self) -> torch.device:
        return self._F.device

    def get_device(self) -> int:
        """Number of the GPU; -1 on the CPU."""
        return self._F.get_device()

    @property
    def dtype(self) -> torch.dtype:
        return self._F.dtype

    @property
    def shape(self) -> torch.Size:
        return self._F.shape

    def size(self) -> torch.Size:
        return self._F.size()

    def __len__(self) -> int:
        return len(self._F)

    @property
    def requires_grad(self) -> bool:
        return self._F.requires_grad

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        self._F.requires_grad_(requires_grad)
        return self

    def detach(self) -> Self:
        return self.with_features(self._F.detach())

    def float(self) -> Self:
        return self.with_features(self._F.float())

    def double(self) -> Self:
        return self.with_features(self._F.double())

    @property
    def decomposed_coordinates(self) -> list[torch.Tensor]:
        """For each batch entry its coordinates (N_b, D), without the batch column."""
        return [self.C[rows, 1:] for rows in self.decomposition_permutations]

    @property
    def decomposed_features(self) -> list[torch.Tensor]:
        return [self._F[rows] for rows in self.decomposition_permutations]

    @property
    def decomposed_coordinates_and_features(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        return self.decomposed_coordinates, self.decomposed_features

    def coordinates_at(self, batch_index: int) -> torch.Tensor:
        """Coordinates (N_b, D) of one batch entry.

        Raises:
            InputError: the entry has no rows.
        """
        return self.C[self._rows_at(batch_index), 1:]

    def features_at(self, batch_index: int) -> torch.Tensor:
        """Features (N_b, C) of one batch entry; raises as :meth:`coordinates_at`."""
        return self._F[self._rows_at(batch_index)]

    def coordinates_and_features_at(self, batch_index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.coordinates_at(batch_index), self.features_at(batch_index)

    def _rows_at(self, batch_index: int) -> torch.Tensor:
        every = self.decomposition_permutations
        if not 0 <= batch_index < len(every) or len(every[batch_index]) == 0:
            present = [entry for entry, rows in enumerate(every) if len(rows)]
            raise InputError(f"batch entry {batch_index} has no rows; the entries that have some are {present}.")
        return every[batch_index]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(features={tuple(self._F.shape)} {self._F.dtype} on {self._F.device}, "
            f"D={self.D}, tensor_stride={self.tensor_stride})"
        )

    def __getattr__(self, name: str) -> Any:
        hint = f": it is called {_RENAMED[name]} since MinkowskiEngine 0.5" if name in _RENAMED else ""
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}.")

    def __neg__(self) -> Self:
        return self.with_features(-self._F)

    def __add__(self, other: Any) -> Self:
        return self._combined(other, torch.add)

    def __sub__(self, other: Any) -> Self:
        return self._combined(other, torch.sub)

    def __mul__(self, other: Any) -> Self:
        return self._combined(other, torch.mul)

    def __truediv__(self, other: Any) -> Self:
        return self._combined(other, torch.div)

    def __pow__(self, power: Any) -> Self:
        return self.with_features(self._F**power)

    def __iadd__(self, other: Any) -> Self:
        return self._in_place(other, torch.add)

    def __isub__(self, other: Any) -> Self:
        return self._in_place(other, torch.sub)

    def __imul__(self, other: Any) -> Self:
        return self._in_place(other, torch.mul)

    def __itruediv__(self, other: Any) -> Self:
        return self._in_place(other, torch.div)

    def _combined(self, other: Any, operation: Callable[..., torch.Tensor]) -> Self:
        """``operation`` between features of rows with equal coordinates."""
        if not isinstance(other, Tensor):
            return self.with_features(operation(self._F, other))
        check_same_manager(self, other)
        if self.coordinate_key == other.coordinate_key:
            return self.with_features(operation(self._F, other.F))
        return self._united(other, operation)

    def _united(self, other: Any, operation: Callable[..., torch.Tensor]) -> Self:
        raise InputError(_different_maps(self, other, "bring them to one first."))

    def _in_place(self, other: Any, operation: Callable[..., torch.Tensor]) -> Self:
        if isinstance(other, Tensor) and other.coordinate_key != self.coordinate_key:
            raise InputError(_different_maps(self, other, "write a = a + b instead of an in-place operation."))
        self._F = self._combined(other, operation)._F
        return self


def _different_maps(a: Tensor, b: Tensor, advice: str) -> str:
    return (
        f"the tensors lie on different coordinate maps, {a.coordinate_key.get_key()} and {b.coordinate_key.get_key()}: "
        f"{advice}"
    )


def check_same_map(a: Tensor, b: Tensor) -> None:
    """Raises InputError unless both lie on one coordinate map of one manager."""
    check_same_manager(a, b)
    if a.coordinate_key != b.coordinate_key:
        raise InputError(_different_maps(a, b, "bring them to one first."))


def check_same_manager(a: Tensor, b: Tensor) -> None:
    if a.coordinate_manager is not b.coordinate_manager:
        raise InputError(
            "the tensors have different coordinate managers, so their rows cannot be matched: make the second one "
            "with coordinate_manager=first.coordinate_manager."
        )
