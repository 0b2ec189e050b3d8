"""Kernel shapes: which neighbours a kernel looks at, in MinkowskiEngine's order."""

import copy
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.enums import RegionType

Offset = tuple[int, ...]

_CUBE = RegionType.HYPER_CUBE


def int_tuple(value: Any, dimension: int, name: str) -> tuple[int, ...]:
    """``value`` as D ints: a scalar is repeated, a sequence, array or tensor must have D entries."""
    if isinstance(value, Tensor) or hasattr(value, "tolist"):
        value = value.tolist()
    entries = tuple(value) if isinstance(value, Sequence) else (value,) * dimension
    if len(entries) != dimension or any(int(entry) != entry for entry in entries):
        raise InputError(f"{name} is {value}, but it must be one int or {dimension} ints, one for each axis.")
    return tuple(int(entry) for entry in entries)


def stride_tuple(value: Any, dimension: int) -> tuple[int, ...]:
    """A tensor stride as D ints; 0 on an axis that was pooled away.

    Raises:
        InputError: not one or D ints, or negative.
    """
    stride = int_tuple(value, dimension, "tensor_stride")
    if min(stride) < 0:
        raise InputError(f"tensor_stride is {value}, but no entry may be negative: pass the distance between rows.")
    return stride


class KernelGenerator:
    """Size, stride, dilation and shape of a kernel.

    Offsets are listed as MinkowskiEngine does, so that published weights load unchanged: the first axis runs fastest;
    odd sizes are centred, even sizes start at zero; a cross lists the centre, then +1, +2.., -2, -1 along each axis (as
    MinkowskiEngine's repository does since the 0.5.4 release, whose crosses use the offsets of a cube).

    Args:
        kernel_size: one int or D ints.
        stride: one int or D ints.
        dilation: one int or D ints.
        is_transpose: kept for callers that pass it; the layer decides.
        region_type: box, cross or listed offsets; a RegionType or its number.
        region_offsets: (K, D) ints for ``RegionType.CUSTOM``.
        expand_coordinates: outputs appear wherever the kernel reaches.
        axis_types: a box or a cross for each axis; makes the kernel a ``RegionType.HYBRID``: a box over the axes of the
            first kind and, from its centre, arms along those of the second.
        dimension: D, 1 to 4.

    Raises:
        InputError: an argument is out of range, or the shape is not one of these.
    """

    def __init__(
        self,
        kernel_size: Any = -1,
        stride: Any = 1,
        dilation: Any = 1,
        is_transpose: bool = False,
        region_type: RegionType = RegionType.HYPER_CUBE,
        region_offsets: Tensor | None = None,
        expand_coordinates: bool = False,
        axis_types: Sequence[RegionType] | None = None,
        dimension: int = -1,
    ) -> None:
        if dimension is None or not 1 <= dimension <= 4:
            raise InputError(f"dimension is {dimension}, but it must be 1, 2, 3 or 4: pass dimension=.")
        self.dimension = dimension
        region_type = _region(region_type)
        self.region_type = region_type if axis_types is None else RegionType.HYBRID
        self.kernel_stride = int_tuple(stride, dimension, "stride")
        self.kernel_dilation = int_tuple(dilation, dimension, "dilation")
        self.is_transpose = is_transpose
        self.expand_coordinates = expand_coordinates
        self.region_offsets = region_offsets
        self.axis_types = axis_types
        if region_type is RegionType.CUSTOM:
            self.kernel_size = (-1,) * dimension
            self.unit_offsets = _custom_offsets(region_offsets, dimension)
        else:
            self.kernel_size = int_tuple(kernel_size, dimension, "kernel_size")
            _check_positive("kernel_size", self.kernel_size)
            self.unit_offsets = self._shaped_offsets()
        _check_positive("stride", self.kernel_stride)
        _check_positive("dilation", self.kernel_dilation)

    def _shaped_offsets(self) -> tuple[Offset, ...]:
        if self.region_type is RegionType.HYBRID:
            return hybrid_offsets(self.kernel_size, self.axis_types)
        return cube_offsets(self.kernel_size) if self.region_type is _CUBE else cross_offsets(self.kernel_size)

    @property
    def kernel_volume(self) -> int:
        return len(self.unit_offsets)

    @property
    def is_strided(self) -> bool:
        return any(step != 1 for step in self.kernel_stride)

    @property
    def requires_strided_coordinates(self) -> bool:
        """True where all strides are 1: MinkowskiEngine's value, against its name."""
        return not self.is_strided

    def offsets(self, tensor_stride: tuple[int, ...]) -> tuple[Offset, ...]:
        """The K offsets in units of the finest voxel, for inputs (or transposed outputs) of that tensor stride."""
        steps = tuple(d * t for d, t in zip(self.kernel_dilation, tensor_stride, strict=True))
        return tuple(tuple(o * s for o, s in zip(offset, steps, strict=True)) for offset in self.unit_offsets)

    def tiles(self) -> bool:
        """Whether kernel windows tile the space: each input row then belongs to exactly one output and offset."""
        boxes = zip(self.kernel_size, self.kernel_stride, self.kernel_dilation, strict=True)
        return (
            self.region_type is _CUBE
            and all(size == step and (size == 1 or dilation == 1) for size, step, dilation in boxes)
            and all(min(offset) >= 0 for offset in self.unit_offsets)
        )

    def cell(self, tensor_stride: Sequence[int]) -> "KernelGenerator":
        """The kernel whose window is the cell that the stride merges: the box from the output row itself, undilated.

        Args:
            tensor_stride: of the finer rows; on an axis where it is 0 there is one place to look at.
        """
        twin = copy.copy(self)
        twin.region_type, twin.kernel_size, twin.kernel_dilation = _CUBE, self.kernel_stride, (1,) * self.dimension
        steps = zip(self.kernel_stride, tensor_stride, strict=True)
        twin.unit_offsets = _box([range(step if t else 1) for step, t in steps])
        return twin

    def expanding(self, expand_coordinates: bool) -> "KernelGenerator":
        """This kernel with that ``expand_coordinates``; a copy, since it may belong to other layers too."""
        twin = copy.copy(self)
        twin.expand_coordinates = expand_coordinates
        return twin

    def get_kernel(self, tensor_stride: Sequence[int], is_transpose: bool) -> tuple[RegionType, Tensor, int]:
        """``(region type, listed offsets (K, D) int32 or empty, K)``; a hybrid is listed, in finest voxels."""
        if self.region_type is RegionType.HYBRID:
            listed = torch.tensor(self.offsets(tuple(tensor_stride)), dtype=torch.int32)
            return RegionType.CUSTOM, listed, self.kernel_volume
        offsets = torch.empty(0, dtype=torch.int32) if self.region_offsets is None else self.region_offsets
        return self.region_type, offsets, self.kernel_volume

    def __repr__(self) -> str:
        return (
            f"KernelGenerator(kernel_size={list(self.kernel_size)}, kernel_stride={list(self.kernel_stride)}, "
            f"kernel_dilation={list(self.kernel_dilation)}, region_type={self.region_type}, "
            f"expand_coordinates={self.expand_coordinates}, dimension={self.dimension})"
        )


def get_kernel_volume(
    region_type: RegionType, kernel_size: Any, region_offset: Tensor | None, axis_types: Any, dimension: int
) -> int:
    """K of the kernel that :class:`KernelGenerator` makes of these arguments."""
    return KernelGenerator(
        kernel_size,
        region_type=region_type,
        region_offsets=region_offset,
        axis_types=axis_types,
        dimension=dimension,
    ).kernel_volume


def cube_offsets(size: tuple[int, ...]) -> tuple[Offset, ...]:
    return _box([_centred(k) for k in size])


def _centred(size: int) -> range:
    return range(-(size // 2), size // 2 + 1) if size % 2 else range(size)


def _box(axes: list[range]) -> tuple[Offset, ...]:
    # product() runs its last axis fastest, the order to keep has the first axis fastest: build reversed and flip back.
    return tuple(tuple(reversed(point)) for point in product(*reversed(axes)))


def cross_offsets(size: tuple[int, ...]) -> tuple[Offset, ...]:
    if any(k % 2 == 0 for k in size):
        raise InputError(f"kernel_size is {size}, but a cross (RegionType.HYPER_CROSS) needs odd sizes.")
    points: list[Offset] = [(0,) * len(size)]
    for axis, k in enumerate(size):
        for step in (*range(1, k // 2 + 1), *range(-(k // 2), 0)):
            points.append(tuple(step if a == axis else 0 for a in range(len(size))))
    return tuple(points)


def hybrid_offsets(size: tuple[int, ...], axis_types: Sequence[RegionType] | None) -> tuple[Offset, ...]:
    """The order of MinkowskiEngine's ``convert_region_type``: the centre, box axes one after the other, then arms."""
    kinds = () if axis_types is None else tuple(map(_region, axis_types))
    if len(kinds) != len(size) or not set(kinds) <= {_CUBE, RegionType.HYPER_CROSS}:
        raise InputError(
            f"axis_types is {axis_types}, but RegionType.HYBRID needs HYPER_CUBE or HYPER_CROSS for each of the "
            f"{len(size)} axes."
        )
    shifts = [[step for step in _centred(k) if step] for k in size]
    centre = (0,) * len(size)
    points: list[Offset] = [centre]
    for axis in (a for a, kind in enumerate(kinds) if kind is _CUBE):
        points += [(*p[:axis], step, *p[axis + 1 :]) for p in points for step in shifts[axis]]
    for axis in (a for a, kind in enumerate(kinds) if kind is not _CUBE):
        points += [(*centre[:axis], step, *centre[axis + 1 :]) for step in shifts[axis]]
    return tuple(points)


def _custom_offsets(offsets: Tensor | None, dimension: int) -> tuple[Offset, ...]:
    if offsets is None or offsets.ndim != 2 or offsets.shape[1] != dimension or len(offsets) == 0:
        shape = None if offsets is None else tuple(offsets.shape)
        raise InputError(f"region_offsets has shape {shape}, but RegionType.CUSTOM needs (K, {dimension}) ints, K > 0.")
    points = tuple(tuple(int(o) for o in row) for row in torch.as_tensor(offsets).tolist())
    if len(set(points)) != len(points):
        raise InputError("region_offsets names an offset twice; each of the K offsets must be listed once.")
    return points


def _region(value: Any) -> RegionType:
    try:
        return RegionType(value)
    except ValueError:
        names = ", ".join(f"{kind.name} ({kind.value})" for kind in RegionType)
        raise InputError(f"region_type is {value!r}, but it must be a RegionType or its number: {names}.") from None


def _check_positive(name: str, values: tuple[int, ...]) -> None:
    if min(values) < 1:
        raise InputError(f"{name} is {values}, but every entry must be at least 1.")
