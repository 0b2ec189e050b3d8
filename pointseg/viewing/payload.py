"""A scene as a page takes it: a header of plain values and the points as compressed planes of integers.

Positions are quantised to 65536 steps per axis; colours, class ids, confidence, entropy and the parts of a normal take
a byte each (ids two from 256 classes on). Only parts that the cloud has are stored.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import IGNORED, Cloud
from pointseg.viewing.colors import (
    CONFIDENCE_RAMP,
    HEIGHT_RAMP,
    IGNORED_COLOR,
    MODES,
    RIGHT_COLOR,
    WRONG_COLOR,
    available_modes,
    check_classes,
)
from pointseg.viewing.opening import cut_ceiling
from pointseg.viewing.scores import cloud_iou
from pointseg.viewing.thinning import select_points

MAX_POINTS = 2_000_000
_STEPS = 65535
_FINEST = 8  # halvings of the scene's extent, of the grid that tells how dense the points are
_ENOUGH = 4  # points in a cell to tell it from
_IDS = ("gt", "pred", "pseudo", "annotated")


def pack_scene(cloud: Cloud, classes: Classes, max_points: int = MAX_POINTS) -> tuple[dict[str, Any], bytes]:
    """The header and the points (raw deflate) of a scene.

    Scores and counts in the header are those of the whole cloud, also when only ``max_points`` of it are packed
    (annotated and wrong points are kept first, and the header's note says so).

    Args:
        cloud: N points.
        classes: names and colours of the class ids.
        max_points: the largest number of points packed.

    Raises:
        InputError: if the cloud has no points, ``classes`` does not cover its ids or ``max_points`` is below 1.
    """
    if cloud.num_points == 0:
        raise InputError(f"the cloud {cloud.name!r} has no points, so there is nothing to show.")
    check_classes(cloud, classes)
    selection = select_points(cloud, max_points)
    shown = cloud.take(selection.index)
    fields, header = pack_points(shown, len(classes.names))
    header |= _facts(cloud, classes) | {"note": selection.note, "spacing": _spacing(shown.coord)}
    packer = zlib.compressobj(level=6, wbits=-15)
    return header, packer.compress(fields) + packer.flush()


def pack_points(cloud: Cloud, num_classes: int) -> tuple[bytes, dict[str, Any]]:
    """The points as bytes, field after field, and the part of the page's header that describes them.

    Positions are three planes of uint16, each stored as differences modulo 65536 (neighbours along the curve are
    close, so differences are small and compress); everything else is stored point by point. A class id of -1 is
    stored as the number of classes.

    Args:
        cloud: M points, in the order in which they are stored.
        num_classes: K.
    """
    origin = cloud.coord.min(axis=0).astype(np.float64)
    step = np.maximum(np.ptp(cloud.coord, axis=0).astype(np.float64), 1e-6) / _STEPS
    quantized = np.clip(np.rint((cloud.coord - origin) / step), 0, _STEPS).astype("<u2")
    planes = np.diff(quantized, axis=0, prepend=np.zeros((1, 3), dtype="<u2")).astype("<u2").T
    parts: list[tuple[str, str, int, np.ndarray]] = [("xyz", "u2", 3, planes)]
    if cloud.color is not None:
        parts.append(("rgb", "u1", 3, cloud.color))
    kind = "u1" if num_classes < 256 else "u2"
    for name in _IDS:
        ids = getattr(cloud, name)
        if ids is not None:
            parts.append((name, kind, 1, np.where(ids == IGNORED, num_classes, ids).astype("<" + kind)))
    if cloud.confidence is not None:
        parts.append(("confidence", "u1", 1, np.rint(cloud.confidence * 255).astype(np.uint8)))
    most = float(np.log(max(num_classes, 2)))
    if cloud.entropy is not None:
        parts.append(("entropy", "u1", 1, np.rint(np.minimum(cloud.entropy / most, 1) * 255).astype(np.uint8)))
    if cloud.normal is not None:
        parts.append(("normal", "u1", 3, np.rint((np.clip(cloud.normal, -1, 1) + 1) * 127.5).astype(np.uint8)))
    header = {
        "shown": cloud.num_points,
        "origin": origin.tolist(),
        "step": step.tolist(),
        "none": num_classes,
        "entropy_max": most,
        "fields": [{"name": n, "dtype": d, "width": w, "delta": n == "xyz"} for n, d, w, _ in parts],
    }
    return b"".join(np.ascontiguousarray(values).tobytes() for *_, values in parts), header


def _facts(cloud: Cloud, classes: Classes) -> dict[str, Any]:
    """What the page says about the whole cloud."""
    count = len(classes.names)
    iou = cloud_iou(cloud, count)
    known = iou is not None and bool(np.isfinite(iou).any())
    counts = {name: _counts(cloud, name, count) for name in _IDS}
    opening = cut_ceiling(cloud.coord)
    return {
        "name": cloud.name,
        "total": cloud.total_points,
        "offset": list(cloud.offset),
        "classes": [
            {
                "name": classes.names[k],
                "color": classes.colors[k].tolist(),
                **{name: int(counts[name][k]) for name in _IDS},
                "iou": None if iou is None or not np.isfinite(iou[k]) else float(iou[k]),
            }
            for k in range(count)
        ],
        "ignored": {name: int(counts[name][count]) for name in _IDS},
        "annotated": int(counts["annotated"][:count].sum()),
        "miou": float(np.nanmean(iou)) if known and iou is not None else None,
        "wrong": cloud.wrong_share,
        "cut": None if opening.height is None else _cut_share(cloud, opening.keep),
        "modes": [{"id": mode, "title": MODES[mode].title} for mode in available_modes(cloud)],
        "colors": {"ignored": IGNORED_COLOR, "right": RIGHT_COLOR, "wrong": WRONG_COLOR},
        "ramps": {"confidence": CONFIDENCE_RAMP, "height": HEIGHT_RAMP},
    }


def _counts(cloud: Cloud, part: str, num_classes: int) -> np.ndarray:
    """(K + 1,) points per class, the last being those without one.

    Of a share of a cloud pseudo-labels are those of the share; it has every annotated point unless they are very many.
    """
    ids, points = getattr(cloud, part), None
    if ids is None:
        return np.zeros(num_classes + 1, dtype=np.int64)
    if cloud.whole is not None and part in ("gt", "pred"):
        ids, points = cloud.whole[:, 0 if part == "gt" else 1], cloud.whole[:, 2]
    counts = np.bincount(np.where(ids == IGNORED, num_classes, ids), points, minlength=num_classes + 1)
    if part == "annotated":
        counts[num_classes] = cloud.total_points - counts[:num_classes].sum()
    return counts


def _cut_share(cloud: Cloud, keep: np.ndarray) -> float:
    """The height of the ceiling cut as a share of the scene's height."""
    z = cloud.coord[:, 2]
    return float((z[keep].max() - z.min()) / max(float(np.ptp(z)), 1e-6))


def _spacing(coord: np.ndarray) -> float:
    """A typical distance between neighbouring points of a surface in metres, from how many a grid's cells hold.

    The grid is the finest whose cells hold about four: in a finer one a cell holds one point, however many there are.
    """
    size = max(float(np.ptp(coord, axis=0).max()), 1e-3)
    finest = np.minimum((coord - coord.min(axis=0)) / size * 2**_FINEST, 2**_FINEST - 1).astype(np.int64)
    for level in range(_FINEST, -1, -1):
        cells = finest >> (_FINEST - level)
        _, counts = np.unique((cells[:, 0] << 2 * level) + (cells[:, 1] << level) + cells[:, 2], return_counts=True)
        typical = float(np.median(counts))
        if typical >= _ENOUGH:
            break
    return float(size / 2**level / np.sqrt(typical))
