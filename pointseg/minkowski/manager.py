"""The coordinate manager: every coordinate map of one network pass, and the kernel maps between them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.kernel import KernelGenerator, int_tuple, stride_tuple
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.neighbours import CoordinateMap, search, tiled
from pointseg.minkowski.packing import Bounds, Packing, floor_to, to_int32, unique_first, unique_sorted

_UNSET = -1


@dataclass(frozen=True)
class CoordinateMapKey:
    """Names a coordinate map inside its manager.

    Maps of one ``string_id`` are one family: the same rows floored to different tensor strides. That is how a strided
    layer finds the coarser map again and a transposed one the finer map; rows added later start a family of their own.

    ``CoordinateMapKey(1 + D)`` is not set yet: MinkowskiEngine's functions set such a key to that of their output.
    """

    tensor_stride: tuple[int, ...]
    string_id: str = ""

    def __post_init__(self) -> None:
        stride = self.tensor_stride
        axes = (_UNSET,) * (stride - 1) if isinstance(stride, int) else tuple(stride)
        object.__setattr__(self, "tensor_stride", axes)

    def is_key_set(self) -> bool:
        return _UNSET not in self.tensor_stride

    def set_key(self, tensor_stride: Sequence[int], string_id: str) -> None:
        """Names the map; once only, since tables may hold the key from then on."""
        if self.is_key_set():
            raise InputError(f"the key is {self.get_key()} already: make a new CoordinateMapKey.")
        object.__setattr__(self, "tensor_stride", tuple(tensor_stride))
        object.__setattr__(self, "string_id", string_id)

    def get_key(self) -> tuple[list[int], str]:
        return list(self.tensor_stride), self.string_id

    def get_tensor_stride(self) -> list[int]:
        return list(self.tensor_stride)

    def get_coordinate_size(self) -> int:
        return len(self.tensor_stride) + 1


class CoordinateManager:
    """Coordinate maps by key, and the kernel maps found so far.

    Tensors that share a manager can be combined; maps of strided tensors are made once and found again on the way
    back up, with their row order.

    Args:
        D: number of spatial axes, 1 to 4.
    """

    def __init__(self, D: int) -> None:
        if not 1 <= D <= 4:
            raise InputError(f"coordinates have {D} spatial axes, but 1 to 4 are supported, after the batch column.")
        self.D = D
        self._families: set[str] = set()
        self._maps: dict[CoordinateMapKey, CoordinateMap] = {}
        self._fields: dict[CoordinateMapKey, Tensor] = {}
        self._parents: dict[tuple[CoordinateMapKey, CoordinateMapKey], Tensor] = {}
        self._kernel_maps: dict[tuple[Any, ...], KernelMap] = {}
        self._derived: dict[tuple[Any, ...], Any] = {}

    def insert_and_map(
        self, coordinates: Tensor, tensor_stride: Any = 1, string_id: str = ""
    ) -> tuple[CoordinateMapKey, tuple[Tensor, Tensor]]:
        """Adds int32 rows (N, 1+D), floored to the tensor stride, duplicates merged in first-occurrence order.

        Returns:
            The key, and ``(unique_index (V,), inverse_mapping (N,))``, both int64.

        Raises:
            InputError: a negative batch index or stride, rows off the origin at stride 0, or a box that is too large.
        """
        stride = stride_tuple(tensor_stride, self.D)
        bounds = Bounds.of(coordinates).check_origin(stride).floored(stride).check_int32()
        rows = floor_to(coordinates, stride)
        if bounds.low[0] < 0:
            raise InputError(f"the smallest batch index is {bounds.low[0]}, but column 0 must hold batch indices >= 0.")
        unique_index, inverse = unique_first(Packing.fit(bounds).keys(rows))
        if len(unique_index) < len(rows):
            rows = rows[unique_index]
        elif rows is coordinates:
            # The caller may go on to change its tensor in place.
            rows = rows.clone()
        key = self._new_key(stride, string_id)
        self._maps[key] = CoordinateMap(rows, bounds)
        return key, (unique_index, inverse)

    def insert_field(self, coordinates: Tensor, tensor_stride: Any = 1, string_id: str = "field") -> CoordinateMapKey:
        """Adds the real-valued rows (N, 1+D) of a :class:`TensorField`; nothing is merged."""
        key = self._new_key(stride_tuple(tensor_stride, self.D), string_id)
        self._fields[key] = coordinates
        return key

    def field_to_sparse(
        self, field: CoordinateMapKey, stride: tuple[int, ...]
    ) -> tuple[CoordinateMapKey, tuple[Tensor, Tensor]]:
        """The voxels of a field at that stride; returns as :meth:`insert_and_map`, the same map every time."""
        name = ("sparse", field, stride)
        if name not in self._derived:
            # An axis at stride 0 is one cell, which all points share.
            axes = tuple(min(step, 1) for step in stride)
            coordinates = floor_to(to_int32(self.get_coordinate_field(field)), axes)
            self._derived[name] = self.insert_and_map(coordinates, stride)
            self._derived["rows", field, self._derived[name][0]] = self._derived[name][1][1]
        return self._derived[name]

    def field_rows(self, field: CoordinateMapKey, key: CoordinateMapKey) -> Tensor:
        """(N,) int64: the row of the map in whose cell each point of the field lies."""
        name = ("rows", field, key)
        if name not in self._derived:
            voxels, (_, inverse) = self.field_to_sparse(field, (1,) * self.D)
            self._derived[name] = self.rows_in(voxels, key)[inverse]
        return self._derived[name]

    def stride(self, key: CoordinateMapKey, stride: Any) -> CoordinateMapKey:
        """The key of the map ``stride`` times coarser; the map is made if it is not there yet."""
        steps = int_tuple(stride, self.D, "stride")
        if min(steps) < 1:
            raise InputError(f"stride is {stride}, but every entry must be at least 1.")
        if max(steps) == 1:
            return key
        coarse_stride = tuple(t * s for t, s in zip(key.tensor_stride, steps, strict=True))
        coarse = CoordinateMapKey(coarse_stride, key.string_id)
        if coarse not in self._maps:
            fine = self.map(key)
            bounds = fine.bounds.floored(coarse_stride).check_int32()
            floored = floor_to(fine.coordinates, coarse_stride)
            first, self._parents[key, coarse] = unique_sorted(Packing.fit(bounds).keys(floored))
            self._maps[coarse] = CoordinateMap(floored[first], bounds, ascending=True)
        return coarse

    def expand(self, key: CoordinateMapKey, offsets: tuple[tuple[int, ...], ...], stride: Any) -> CoordinateMapKey:
        """A new map holding every ``row + offset`` that lies on the grid of ``stride``, in lexicographic order."""
        source, steps = self.map(key), stride_tuple(stride, self.D)
        reach = tuple(max(abs(o[axis]) for o in offsets) for axis in range(self.D))
        packing = Packing.fit(source.bounds.padded(reach).check_int32())
        keys = packing.keys(source.coordinates)
        # Offset by offset, so that no more than two lists of the final size exist at a time.
        reached = torch.empty(0, dtype=torch.int64, device=keys.device)
        for offset in offsets:
            reached = torch.unique(torch.cat((reached, keys + packing.delta(offset))))
        coordinates = packing.coordinates(reached)
        if any(own % max(step, 1) for own, step in zip(key.tensor_stride, steps, strict=True)):
            coordinates = coordinates[(floor_to(coordinates, steps) == coordinates).all(dim=1)]
        new = self._new_key(steps, key.string_id)
        self._maps[new] = CoordinateMap(coordinates, Bounds.of(coordinates), ascending=True)
        return new

    def add_rows(self, key: CoordinateMapKey, rows: Tensor) -> CoordinateMapKey:
        """A new map holding the chosen rows of another one, in the given order (rows distinct)."""
        source = self.map(key)
        new = self._new_key(key.tensor_stride, key.string_id)
        self._maps[new] = CoordinateMap(source.coordinates[rows], source.bounds)
        return new

    def union(self, first: CoordinateMapKey, second: CoordinateMapKey) -> tuple[CoordinateMapKey, Tensor]:
        """The map of all rows of two maps: the first one's rows, then the second one's new rows.

        Returns:
            The key, and (V_second,) int64: the row of the union that each row of the second map became.
        """
        if first.tensor_stride != second.tensor_stride:
            raise InputError(
                f"the tensors have strides {first.tensor_stride} and {second.tensor_stride}, but only tensors of one "
                f"stride can be combined: bring them to one stride with a strided layer first."
            )
        name = ("union", first, second)
        if name not in self._derived:
            a, b = self.map(first), self.map(second)
            packing = Packing.fit(a.bounds.union(b.bounds))
            position, found = a.table(packing).find(packing.keys(b.coordinates))
            row = torch.full((len(b),), -1, dtype=torch.int64, device=b.coordinates.device)
            row[position] = found
            fresh = (row < 0).nonzero().squeeze(1)
            row[fresh] = torch.arange(len(a), len(a) + len(fresh), device=row.device)
            key = self._new_key(first.tensor_stride, first.string_id)
            rows = torch.cat((a.coordinates, b.coordinates[fresh]))
            self._maps[key] = CoordinateMap(rows, a.bounds.union(b.bounds))
            self._derived[name] = key, row
        return self._derived[name]

    def rows_in(self, fine: CoordinateMapKey, coarse: CoordinateMapKey) -> Tensor:
        """(V_fine,) int64: the row of the coarse map whose cell holds each fine row.

        Raises:
            InputError: a fine row lies in a cell that the coarse map does not have.
        """
        if (fine, coarse) not in self._parents:
            a, b = self.map(fine), self.map(coarse)
            bounds = a.bounds.floored(coarse.tensor_stride).check_int32()
            floored = floor_to(a.coordinates, coarse.tensor_stride)
            packing = Packing.fit(bounds.union(b.bounds))
            position, found = b.table(packing).find(packing.keys(floored))
            if len(position) < len(a):
                raise InputError(
                    f"{len(a) - len(position)} of {len(a)} rows have no cell in the map {coarse.get_key()}."
                )
            self._parents[fine, coarse] = found
        return self._parents[fine, coarse]

    def kernel_map_of(self, inputs: CoordinateMapKey, outputs: CoordinateMapKey, kernel: KernelGenerator) -> KernelMap:
        """Pairs with ``input = output + offset``, offsets in units of the input's stride; found once, then kept."""
        offsets = kernel.offsets(inputs.tensor_stride)
        name = (inputs, outputs, offsets)
        if name not in self._kernel_maps:
            parent = self._parents.get((inputs, outputs))
            fine, coarse = self.map(inputs), self.map(outputs)
            strides = zip(inputs.tensor_stride, kernel.kernel_stride, strict=True)
            matches = tuple(t * s for t, s in strides) == outputs.tensor_stride
            # At stride 0 offsets repeat, and a row meets each of them.
            if parent is not None and matches and kernel.tiles() and 0 not in inputs.tensor_stride:
                self._kernel_maps[name] = tiled(fine, coarse, parent, offsets)
            else:
                both = zip(inputs.tensor_stride, outputs.tensor_stride, strict=True)
                self._kernel_maps[name] = search(fine, coarse, offsets, tuple(max(math.gcd(*pair), 1) for pair in both))
        return self._kernel_maps[name]

    def batch_entries(self, key: CoordinateMapKey) -> tuple[Tensor, list[Tensor]]:
        """The batch indices that have rows, ascending int32 (B,), and the row indices of each of them."""
        name = ("batch", key)
        if name not in self._derived:
            batch, rows = torch.sort(self.map(key).coordinates[:, 0], stable=True)
            entries, lengths = torch.unique_consecutive(batch, return_counts=True)
            self._derived[name] = entries, list(rows.split(lengths.tolist())) if len(rows) else []
        return self._derived[name]

    def batch_rows(self, key: CoordinateMapKey) -> list[Tensor]:
        """Row indices of each batch index 0 to the largest one; those without rows share one empty tensor."""
        entries, rows = self.batch_entries(key)
        if not rows:
            return []
        every = [rows[0][:0]] * (int(entries[-1]) + 1)
        for entry, own in zip(entries.tolist(), rows, strict=True):
            every[entry] = own
        return every

    def origin(self, key: CoordinateMapKey) -> CoordinateMapKey:
        """The map of one row (b, 0, .., 0) for each batch entry that has rows, at tensor stride 0.

        Maps with rows in the same batch entries share it, so that their global features can be combined.
        """
        name, stride = ("origin", key), (0,) * self.D
        if name not in self._derived:
            rows = torch.nn.functional.pad(self.batch_entries(key)[0][:, None], (0, self.D))
            known = (k for k, m in self._maps.items() if k.tensor_stride == stride and torch.equal(m.coordinates, rows))
            shared = next(known, None)
            if shared is None:
                shared = self._new_key(stride, key.string_id)
                self._maps[shared] = CoordinateMap(rows, Bounds.of(rows))
            self._derived[name] = shared
        return self._derived[name]

    def map(self, key: CoordinateMapKey) -> CoordinateMap:
        if key not in self._maps:
            raise InputError(f"the coordinate manager has no map {key.get_key()}: the key belongs to another manager.")
        return self._maps[key]

    def exists(self, key: CoordinateMapKey) -> bool:
        return key in self._maps

    def size(self, key: CoordinateMapKey) -> int:
        """Rows of the map."""
        return len(self.map(key))

    def get_coordinates(self, key: CoordinateMapKey) -> Tensor:
        """int32 (V, 1+D)."""
        return self.map(key).coordinates

    def get_coordinate_field(self, key: CoordinateMapKey) -> Tensor:
        """The rows (N, 1+D) of a field, as they were given."""
        if key not in self._fields:
            raise InputError(
                f"the coordinate manager has no field {key.get_key()}: pass a TensorField's key of its own."
            )
        return self._fields[key]

    def _new_key(self, stride: tuple[int, ...], string_id: str) -> CoordinateMapKey:
        """A key of a new family: its ``string_id`` is in use at no tensor stride."""
        name, number = string_id, len(self._families)
        while name in self._families:
            name, number = f"{string_id.partition('-')[0]}-{number}", number + 1
        self._families.add(name)
        return CoordinateMapKey(stride, name)
