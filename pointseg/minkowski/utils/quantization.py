"""Clouds quantised to voxels, with labels; hashes of their rows."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.kernel import stride_tuple
from pointseg.minkowski.packing import Bounds, Packing, floor_to, to_int32, unique_first


def sparse_quantize(
    coordinates: Any,
    features: Any = None,
    labels: Any = None,
    ignore_label: int = -100,
    return_index: bool = False,
    return_inverse: bool = False,
    return_maps_only: bool = False,
    quantization_size: Any = None,
    device: torch.device | str = "cpu",
) -> Any:
    """The voxels of a cloud: floor(coordinates / quantization_size), the first point of each kept.

    A voxel whose points carry different labels gets ``ignore_label`` (MinkowskiEngine 0.5.4 means this too, but marks
    other voxels by mistake). Arrays in, arrays out; tensors in, tensors out.

    Args:
        coordinates: (N, D) real or integer, no batch column.
        features: (N, C) or None.
        labels: (N,) integers or None.
        ignore_label: label of disputed voxels.
        return_index: also return (V,) int64, the first point of each voxel, ascending.
        return_inverse: also return (N,) int64, the voxel of each point.
        return_maps_only: return the index (and the inverse, where asked for) alone.
        quantization_size: voxel size in the coordinates' unit, one number or D numbers.
        device: where tensors are quantised and returned.

    Returns:
        ``coordinates (V, D) int32[, features][, labels][, index][, inverse]``; one value alone is not put in a tuple.

    Raises:
        InputError: shapes do not fit, or a coordinate is not finite or too large.
    """
    points = torch.as_tensor(coordinates).to(device)
    if points.ndim != 2:
        raise InputError(f"coordinates have shape {tuple(points.shape)}, but must be (N, D).")
    for name, rows in (("features", features), ("labels", labels)):
        if rows is not None and len(rows) != len(points):
            raise InputError(f"there are {len(points)} coordinates and {len(rows)} {name}: pass equally many.")
    voxels = to_int32(_divided(points, quantization_size))
    index, inverse = _unique_rows(voxels)
    results: list[Tensor] = []
    if not return_maps_only:
        results.append(voxels[index])
        if features is not None:
            results.append(torch.as_tensor(features).to(device)[index])
        if labels is not None:
            results.append(agreed_labels(torch.as_tensor(labels).to(device), index, inverse, ignore_label))
    if return_index or return_maps_only:
        results.append(index)
    if return_inverse:
        results.append(inverse)
    returned = [_like(coordinates, value) for value in results]
    return returned[0] if len(returned) == 1 else tuple(returned)


def quantize(coords: Any) -> tuple[Any, Any]:
    """``(unique_map (V,), inverse_map (N,))`` of int rows (N, D): first occurrences and each row's place among them."""
    index, inverse = _unique_rows(torch.as_tensor(coords))
    return _like(coords, index), _like(coords, inverse)


def quantize_label(coords: Any, labels: Any, ignore_label: int) -> tuple[Any, Any]:
    """``(unique_map (V,), labels (V,))`` of int rows (N, D); see :func:`agreed_labels`."""
    index, inverse = _unique_rows(torch.as_tensor(coords))
    return _like(coords, index), _like(coords, agreed_labels(torch.as_tensor(labels), index, inverse, ignore_label))


def _unique_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    batched = torch.nn.functional.pad(to_int32(rows), (1, 0))
    return unique_first(Packing.fit(Bounds.of(batched)).keys(batched))


def _like(given: Any, value: Tensor) -> Any:
    return value.cpu().numpy() if isinstance(given, np.ndarray) else value


def agreed_labels(labels: Tensor, index: Tensor, inverse: Tensor, ignore_label: int) -> Tensor:
    """(V,) the first point's label, or ``ignore_label`` where a later point of the voxel has another one."""
    agreed = labels[index].clone()
    agreed[inverse[labels != labels[index][inverse]]] = ignore_label
    return agreed


def unique_coordinate_map(coordinates: Tensor, tensor_stride: Any = 1) -> tuple[Tensor, Tensor]:
    """``(unique_map (V,), inverse_map (N,))`` of int coordinates (N, 1+D): first occurrences and each row's voxel."""
    stride = stride_tuple(tensor_stride, coordinates.shape[1] - 1)
    rows = to_int32(coordinates)
    bounds = Bounds.of(rows).floored(stride).check_int32()
    return unique_first(Packing.fit(bounds).keys(floor_to(rows, stride)))


def _divided(points: Tensor, size: Any) -> Tensor:
    if size is None:
        return points
    sizes = torch.as_tensor(size, dtype=points.dtype if points.is_floating_point() else torch.float64)
    if (sizes <= 0).any() or sizes.numel() not in (1, points.shape[1]):
        raise InputError(f"quantization_size is {size}, but must be one positive number or {points.shape[1]} of them.")
    return points / sizes.to(points.device)


def fnv_hash_vec(arr: np.ndarray) -> np.ndarray:
    """(N,) uint64 FNV-1 hash of each row of (N, D) ints: multiply by the prime, then xor the next column."""
    columns = arr.astype(np.int64).astype(np.uint64)
    hashed = np.full(len(arr), 14695981039346656037, dtype=np.uint64)
    for column in columns.T:
        hashed = (hashed * np.uint64(1099511628211)) ^ column
    return hashed


def ravel_hash_vec(arr: np.ndarray) -> np.ndarray:
    """(N,) uint64, the place of each row of (N, D) ints in their bounding box, last axis fastest; unique to it."""
    if len(arr) == 0:
        return np.zeros(0, dtype=np.uint64)
    columns = (arr - arr.min(axis=0)).astype(np.uint64)
    extent = columns.max(axis=0) + np.uint64(1)
    keys = np.zeros(len(arr), dtype=np.uint64)
    for axis in range(arr.shape[1]):
        keys = keys * extent[axis] + columns[:, axis]
    return keys
