"""The coordinate manager under MinkowskiEngine's interface: its maps as tensors, for code that asks for them.

The layers use the plain manager of ``manager.py``; nothing here is on their way.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski import manager
from pointseg.minkowski.enums import CoordinateMapType, GPUMemoryAllocatorType, MinkowskiAlgorithm, RegionType
from pointseg.minkowski.interpolation_map import corners, joined
from pointseg.minkowski.kernel import KernelGenerator, int_tuple, stride_tuple
from pointseg.minkowski.manager import CoordinateMapKey

KeyOrStride = CoordinateMapKey | Sequence[int] | Tensor | int


class CoordinateManager(manager.CoordinateManager):
    """The coordinate maps of one network pass by key, and the kernel maps between them.

    Args:
        D: number of spatial axes, 1 to 4.
        num_threads: accepted, without effect, like the following ones: torch's settings rule.
        coordinate_map_type: of the coordinates' device.
        allocator_type: of GPU memory.
        minkowski_algorithm: of the hash table.

    Raises:
        InputError: D is not 1 to 4.
    """

    def __init__(
        self,
        D: int = 0,
        num_threads: int = -1,
        coordinate_map_type: CoordinateMapType | None = None,
        allocator_type: GPUMemoryAllocatorType | None = None,
        minkowski_algorithm: MinkowskiAlgorithm | None = None,
    ) -> None:
        super().__init__(D)
        self.minkowski_algorithm = minkowski_algorithm or MinkowskiAlgorithm.DEFAULT

    def insert_field(self, coordinates: Tensor, tensor_stride: Any = 1, string_id: str = "") -> CoordinateMapKey:
        """Adds the real-valued rows (N, 1+D) of a :class:`TensorField`; nothing is merged."""
        return super().insert_field(coordinates, tensor_stride, string_id or "field")

    def field_to_sparse_insert_and_map(
        self, field_map_key: CoordinateMapKey, sparse_tensor_stride: Any, sparse_tensor_string_id: str = ""
    ) -> tuple[CoordinateMapKey, tuple[Tensor, Tensor]]:
        """The voxels of a field, the same map every time: key, ``(unique_index (V,), inverse_mapping (N,))``."""
        return self.field_to_sparse(field_map_key, int_tuple(sparse_tensor_stride, self.D, "tensor_stride"))

    def exists_field_to_sparse(self, field_map_key: CoordinateMapKey, sparse_map_key: CoordinateMapKey) -> bool:
        """Whether the rows of that map in which the field's points lie were found already."""
        return ("rows", field_map_key, sparse_map_key) in self._derived

    def field_to_sparse_keys(self, field_map_key: CoordinateMapKey) -> list[CoordinateMapKey]:
        """Keys of the maps for which :meth:`exists_field_to_sparse`."""
        return [name[2] for name in self._derived if name[:2] == ("rows", field_map_key)]

    def field_to_sparse_map(
        self, field_map_key: CoordinateMapKey, sparse_map_key: CoordinateMapKey
    ) -> tuple[Tensor, Tensor]:
        """``(rows of the map (N,), points (N,))``: where each point of the field lies."""
        rows = self.field_rows(field_map_key, sparse_map_key)
        return rows, torch.arange(len(rows), device=rows.device)

    def get_field_to_sparse_map(
        self, field_map_key: CoordinateMapKey, sparse_map_key: CoordinateMapKey
    ) -> tuple[Tensor, Tensor]:
        """``(first point of each row (V,), row of each point (N,))`` of a map made of that field."""
        rows = self.field_rows(field_map_key, sparse_map_key)
        points = torch.arange(len(rows), device=rows.device)
        first = torch.full((self.size(sparse_map_key),), len(rows), dtype=torch.int64, device=rows.device)
        return first.scatter_reduce(0, rows, points, "amin"), rows

    def stride(self, coordinate_map_key: CoordinateMapKey, stride: Any, string_id: str = "") -> CoordinateMapKey:
        """The key of the map ``stride`` times coarser; the map is made if it is not there yet.

        Raises:
            InputError: a ``string_id`` other than the key's: a coarser map belongs to the family of the finer one.
        """
        if string_id not in ("", coordinate_map_key.string_id):
            raise InputError(
                f"string_id is {string_id!r}, but the coarser map keeps the finer one's, "
                f"{coordinate_map_key.string_id!r}: leave it out."
            )
        return super().stride(coordinate_map_key, stride)

    def origin(self, key: CoordinateMapKey | None = None) -> CoordinateMapKey:
        """The map of one row (b, 0, .., 0) for each batch entry of ``key``, by default of the first map.

        Raises:
            InputError: there is no map yet.
        """
        if key is None:
            key = next(iter(self._maps), None)
        if key is None:
            raise InputError("the coordinate manager has no map yet: make a tensor with it first.")
        return super().origin(key)

    def origin_field(self) -> CoordinateMapKey:
        """As :meth:`origin`, of the first field.

        Raises:
            InputError: there is no field yet.
        """
        field = next(iter(self._fields), None)
        if field is None:
            raise InputError("the coordinate manager has no field yet: make a TensorField with it first.")
        return super().origin(self._voxels(field))

    def origin_map(self, key: CoordinateMapKey) -> tuple[Tensor, list[Tensor]]:
        """``(batch indices that have rows (B,) int64, rows of each batch index from 0)``."""
        return self.batch_entries(key)[0].long(), self.batch_rows(key)

    def origin_field_map(self, key: CoordinateMapKey) -> tuple[Tensor, list[Tensor]]:
        """As :meth:`origin_map`, of a field's points."""
        batch, rows = torch.sort(self.get_coordinate_field(key)[:, 0].floor().long(), stable=True)
        entries, lengths = torch.unique_consecutive(batch, return_counts=True)
        every = [rows[:0]] * (int(entries[-1]) + 1 if len(entries) else 0)
        for entry, own in zip(entries.tolist(), rows.split(lengths.tolist()), strict=False):
            every[entry] = own
        return entries, every

    def number_of_unique_batch_indices(self) -> int:
        return self.size(self.origin())

    def stride_map(self, in_key: CoordinateMapKey, stride_key: CoordinateMapKey) -> tuple[Tensor, Tensor]:
        """``(rows of the fine map (V,), rows of the coarse map (V,))``: the cell that holds each fine row."""
        rows = self.rows_in(in_key, stride_key)
        return torch.arange(len(rows), device=rows.device), rows

    def union_map(self, in_keys: Sequence[CoordinateMapKey], out_key: CoordinateMapKey) -> list[Tensor]:
        """Sets ``out_key`` to the union of the maps; for each map (2, V) int64: its rows, and the union's rows.

        Raises:
            InputError: ``out_key`` is set already, fewer than two maps, or different tensor strides.
        """
        if len(in_keys) < 2:
            raise InputError(f"in_keys has {len(in_keys)} entries, but a union needs two or more maps.")
        total = in_keys[0]
        for key in in_keys[1:]:
            total, _ = self.union(total, key)
        out_key.set_key(*total.get_key())
        return [torch.stack(self.stride_map(key, total)) for key in in_keys]

    def interpolation_map_weight(self, key: CoordinateMapKey, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(rows of the map, samples, weights)`` of D-linear interpolation at real samples (M, 1+D)."""
        return joined(corners(self, key, samples))

    def kernel_map(
        self,
        in_key: KeyOrStride,
        out_key: KeyOrStride,
        stride: Any = 1,
        kernel_size: Any = 3,
        dilation: Any = 1,
        region_type: RegionType = RegionType.HYPER_CUBE,
        region_offset: Tensor | None = None,
        is_transpose: bool = False,
        is_pool: bool = False,
    ) -> dict[int, Tensor]:
        """For each kernel index that has pairs, (2, P) int64: input rows and output rows.

        Args:
            in_key: a key, or a tensor stride for the first map that has it.
            out_key: likewise.
            stride: as :class:`KernelGenerator`, like the following ones.
            kernel_size: one int or D ints.
            dilation: one int or D ints.
            region_type: shape.
            region_offset: listed offsets.
            is_transpose: offsets count from the input to the output, in the output's stride.
            is_pool: where the kernel is as large as the stride, all pairs of a cell come under index 0.
        """
        kernel = KernelGenerator(
            kernel_size, stride, dilation, region_type=region_type, region_offsets=region_offset, dimension=self.D
        )
        source, target = (self._key(key, self._maps, "map") for key in (in_key, out_key))
        fine, coarse = (target, source) if is_transpose else (source, target)
        if is_pool and kernel.kernel_size == kernel.kernel_stride:
            pairs = {0: self.stride_map(fine, coarse)}
        else:
            found = self.kernel_map_of(fine, coarse, kernel)
            pairs = dict(enumerate(found.pairs))
        return {k: torch.stack((b, a) if is_transpose else (a, b)).long() for k, (a, b) in pairs.items() if len(a)}

    get_kernel_map = kernel_map

    def size(self, coordinate_map_key: CoordinateMapKey) -> int:
        """Rows of the map."""
        return super().size(coordinate_map_key)

    def get_coordinates(self, coords_key_or_tensor_strides: KeyOrStride) -> Tensor:
        """int32 (V, 1+D) of the map with that key, or of the first one with that tensor stride."""
        return super().get_coordinates(self._key(coords_key_or_tensor_strides, self._maps, "map"))

    def get_coordinate_field(self, coords_key_or_tensor_strides: KeyOrStride) -> Tensor:
        """The rows (N, 1+D), as they were given, of the field with that key, or of the first one with that stride."""
        return super().get_coordinate_field(self._key(coords_key_or_tensor_strides, self._fields, "field"))

    def get_unique_coordinate_map_key(self, tensor_stride: Any) -> CoordinateMapKey:
        """A key that no map has."""
        return self._new_key(stride_tuple(tensor_stride, self.D), "")

    def _voxels(self, field: CoordinateMapKey) -> CoordinateMapKey:
        return self.field_to_sparse(field, (1,) * self.D)[0]

    def _key(self, key_or_stride: KeyOrStride, known: Iterable[CoordinateMapKey], what: str) -> CoordinateMapKey:
        if isinstance(key_or_stride, CoordinateMapKey):
            return key_or_stride
        stride = int_tuple(key_or_stride, self.D, "tensor_stride")
        found = next((key for key in known if key.tensor_stride == stride), None)
        if found is None:
            raise InputError(f"the coordinate manager has no {what} of tensor stride {list(stride)}.")
        return found

    def __repr__(self) -> str:
        maps = ", ".join(f"{list(key.tensor_stride)}:{key.string_id}: {len(self._maps[key])}" for key in self._maps)
        return f"CoordinateManager(D={self.D}, rows of maps: {{{maps}}})"
