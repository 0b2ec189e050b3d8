"""Kernel shapes: which neighbours a kernel looks at, in MinkowskiEngine's order."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.enums import RegionType

Offset = tuple[int, ...]


def int_tuple(value: Any, dimension: int, name: str) -> tuple[int, ...]:
    """``value`` as D ints: a scalar is repeated, a sequence, array or tensor must have D entries."""
    if isinstance(value, Tensor) or hasattr(value, "tolist"):
        value = value.tolist()
    entries = tuple(value) if isinstance(value, Sequence) else (value,) * dimension
    if len(entries) != dimension or any(int(entry) != entry for entry in entries):
        raise InputError(f"{name} is {value}, but it must be one int or {dimension} ints, one for each axis.")
    return tuple(int(entry) for entry in entries)


class KernelGenerator:
    """Size, stride, dilation and shape of a kernel.

    Offsets are listed as MinkowskiEngine does, so that published weights load unchanged: the first axis runs fastest;
    odd sizes are centred, even sizes start at zero; a cross lists the centre, then +1, -1, +2, -2.. along each axis.

    Args:
        kernel_size: one int or D ints.
        stride: one int or D ints.
        dilation: one int or D ints.
        is_transpose: kept for callers that pass it; the layer decides.
        region_type: box, cross or listed offsets.
        region_offsets: (K, D) ints for ``RegionType.CUSTOM``.
        expand_coordinates: outputs appear wherever the kernel reaches.
        axis_types: not supported; must be None.
        dimension: D, 1 to 4.

    Raises:
        InputError: an argument is out of range, or the shape is not one of the three.
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
        axis_types: Any = None,
        dimension: int = -1,
    ) -> None:
        if dimension is None or not 1 <= dimension <= 4:
            raise InputError(f"dimension is {dimension}, but it must be 1, 2, 3 or 4: pass dimension=.")
        if axis_types is not None:
            raise InputError("axis_types is not supported: list the offsets with RegionType.CUSTOM instead.")
        self.dimension = dimension
        self.region_type = region_type
        self.kernel_stride = int_tuple(stride, dimension, "stride")
        self.kernel_dilation = int_tuple(dilation, dimension, "dilation")
        self.is_transpose = is_transpose
        self.expand_coordinates = expand_coordinates
        self.region_offsets = region_offsets
        if region_type is RegionType.CUSTOM:
            self.kernel_size = (-1,) * dimension
            self.unit_offsets = _custom_offsets(region_offsets, dimension)
        else:
            self.kernel_size = int_tuple(kernel_size, dimension, "kernel_size")
            _check_positive("kernel_size", self.kernel_size)
            self.unit_offsets = (
                cube_offsets(self.kernel_size)
                if region_type is RegionType.HYPER_CUBE
                else cross_offsets(self.kernel_size)
            )
        _check_positive("stride", self.kernel_stride)
        _check_positive("dilation", self.kernel_dilation)

    @property
    def kernel_volume(self) -> int:
        return len(self.unit_offsets)

    @property
    def requires_strided_coordinates(self) -> bool:
        return any(step != 1 for step in self.kernel_stride)

    def offsets(self, tensor_stride: tuple[int, ...]) -> tuple[Offset, ...]:
        """The K offsets in units of the finest voxel, for inputs (or transposed outputs) of that tensor stride."""
        steps = tuple(d * t for d, t in zip(self.kernel_dilation, tensor_stride, strict=True))
        return tuple(tuple(o * s for o, s in zip(offset, steps, strict=True)) for offset in self.unit_offsets)

    def tiles(self) -> bool:
        """Whether kernel windows tile the space: each input row then belongs to exactly one output and offset."""
        boxes = zip(self.kernel_size, self.kernel_stride, self.kernel_dilation, strict=True)
        return self.region_type is RegionType.HYPER_CUBE and all(
            size == step and (size == 1 or (size % 2 == 0 and dilation == 1)) for size, step, dilation in boxes
        )


def cube_offsets(size: tuple[int, ...]) -> tuple[Offset, ...]:
    axes = [range(-(k // 2), k // 2 + 1) if k % 2 else range(k) for k in size]
    # product() runs its last axis fastest, the order to keep has the first axis fastest: build reversed and flip back.
    return tuple(tuple(reversed(point)) for point in product(*reversed(axes)))


def cross_offsets(size: tuple[int, ...]) -> tuple[Offset, ...]:
    if any(k % 2 == 0 for k in size):
        raise InputError(f"kernel_size is {size}, but a cross (RegionType.HYPER_CROSS) needs odd sizes.")
    points: list[Offset] = [(0,) * len(size)]
    for axis, k in enumerate(size):
        for distance in range(1, k // 2 + 1):
            for signed in (distance, -distance):
                points.append(tuple(signed if a == axis else 0 for a in range(len(size))))
    return tuple(points)


def _custom_offsets(offsets: Tensor | None, dimension: int) -> tuple[Offset, ...]:
    if offsets is None or offsets.ndim != 2 or offsets.shape[1] != dimension or len(offsets) == 0:
        shape = None if offsets is None else tuple(offsets.shape)
        raise InputError(f"region_offsets has shape {shape}, but RegionType.CUSTOM needs (K, {dimension}) ints, K > 0.")
    points = tuple(tuple(int(o) for o in row) for row in torch.as_tensor(offsets).tolist())
    if len(set(points)) != len(points):
        raise InputError("region_offsets names an offset twice; each of the K offsets must be listed once.")
    return points


def _check_positive(name: str, values: tuple[int, ...]) -> None:
    if min(values) < 1:
        raise InputError(f"{name} is {values}, but every entry must be at least 1.")
