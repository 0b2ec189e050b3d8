"""Coordinates named by keys, as MinkowskiEngine's autograd functions take them.

Those functions are the layers' arithmetic on bare features. Custom layers call them as ``Function.apply(...)``,
``Function().apply(...)`` or ``self.conv.apply(...)``, and layers of this engine carry theirs under MinkowskiEngine's
names. An output key that is not set yet (``CoordinateMapKey(1 + D)``) is set to that of the result. Here they are plain
functions that autograd sees through.
"""

from typing import Any

from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.kernel import KernelGenerator
from pointseg.minkowski.layer import Coordinates, output_key
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.sparse_tensor import SparseTensor, given_key


def keyed(features: Tensor, key: CoordinateMapKey, manager: CoordinateManager | None) -> SparseTensor:
    """Features (V, C) on the map ``key``.

    Raises:
        InputError: there is no manager, or the map has another number of rows.
    """
    if manager is None:
        raise InputError("coordinate_manager is None, but the keys mean something only in their manager: pass it.")
    return SparseTensor(features, coordinate_map_key=key, coordinate_manager=manager)


def settle(key: CoordinateMapKey | None, to: CoordinateMapKey) -> CoordinateMapKey:
    """The caller's output key, set to ``to`` where it was not set yet; ``to`` itself where there is none."""
    if key is None:
        return to
    if not key.is_key_set():
        key.set_key(*to.get_key())
    return key


def settled(
    key: CoordinateMapKey | None, x: SparseTensor, kernel: KernelGenerator, is_transpose: bool
) -> CoordinateMapKey:
    """The caller's output key if it is set, else the one that follows from the kernel, which then becomes it."""
    if key is not None and key.is_key_set():
        return key
    return settle(key, output_key(x, kernel, is_transpose))


def _get_coordinate_map_key(
    input: SparseTensor, coordinates: Coordinates = None, tensor_stride: Any = 1, expand_coordinates: bool = False
) -> CoordinateMapKey:
    """The key of the caller's coordinates, or one that is not set yet; custom layers import it by this name.

    MinkowskiEngine's own layers pass their kernel's ``expand_coordinates`` in the place of ``tensor_stride``, and so do
    layers written after them: True or False there says nothing of the stride, which is then 1.
    """
    if coordinates is None or expand_coordinates:
        return CoordinateMapKey(input.D + 1)  # type: ignore[arg-type]
    return given_key(input, coordinates, 1 if isinstance(tensor_stride, bool) else tensor_stride)
