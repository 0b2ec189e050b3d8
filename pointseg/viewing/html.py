"""One self-contained web page of a scene: the points inside it, no server, no network.

The page's own JavaScript (``page/``) draws with WebGL2. Points travel as planes of integers, deflated and in base64:
positions quantised to 65536 steps per axis, colours, class ids and confidences a byte each.
"""

from __future__ import annotations

import base64
import html
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import replacing_file
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
from pointseg.viewing.scores import class_iou
from pointseg.viewing.thinning import select_points

MAX_POINTS = 2_000_000
_STEPS = 65535
_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("data.js", "scene.js", "address.js", "panel.js", "app.js")


def scene_html(path: str | Path, cloud: Cloud, classes: Classes, max_points: int = MAX_POINTS) -> Path:
    """Write a scene as one HTML file that any browser with WebGL2 opens, offline.

    The page shows every colouring the cloud has data for; scores and counts are those of the whole cloud, also when
    only ``max_points`` of it are in the page (annotated and wrong points are kept first, and the page says so).

    Args:
        path: the file; written under a temporary name and renamed.
        cloud: N points.
        classes: names and colours of the class ids.
        max_points: the largest number of points in the page; 13 bytes each before compression.

    Returns:
        The path written.

    Raises:
        InputError: if the cloud has no points, ``classes`` does not cover its ids, ``max_points`` is below 1 or the
            folder is absent.
    """
    path = Path(path)
    if cloud.num_points == 0:
        raise InputError(f"the cloud {cloud.name!r} has no points, so there is nothing to show.")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} of the page {path.name} does not exist; make it first.")
    check_classes(cloud, classes)
    selection = select_points(cloud, max_points)
    shown = cloud.take(selection.index)
    fields, header = pack_points(shown, len(classes.names))
    header |= _facts(cloud, classes) | {"note": selection.note, "spacing": _spacing(shown.coord)}
    packer = zlib.compressobj(level=6, wbits=-15)
    payload = packer.compress(fields) + packer.flush()
    page = fill_page(cloud.name or path.stem, header, base64.b64encode(payload).decode("ascii"))
    with replacing_file(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8", newline="\n")
    return path


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
    for name in ("gt", "pred", "annotated"):
        ids = getattr(cloud, name)
        if ids is not None:
            parts.append((name, kind, 1, np.where(ids == IGNORED, num_classes, ids).astype("<" + kind)))
    if cloud.confidence is not None:
        parts.append(("confidence", "u1", 1, np.rint(cloud.confidence * 255).astype(np.uint8)))
    header = {
        "shown": cloud.num_points,
        "origin": origin.tolist(),
        "step": step.tolist(),
        "none": num_classes,
        "fields": [{"name": n, "dtype": d, "width": w, "delta": n == "xyz"} for n, d, w, _ in parts],
    }
    return b"".join(np.ascontiguousarray(values).tobytes() for *_, values in parts), header


def fill_page(title: str, header: dict[str, Any], payload: str) -> str:
    """The page's text; nothing in ``title`` or ``header`` can end a tag or a script."""
    text = json.dumps(header, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    values = {
        "title": html.escape(title),
        "style": (_PAGE / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((_PAGE / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        "header": text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
        "payload": payload,
    }
    pieces = (_PAGE / "page.html").read_text(encoding="utf-8").split("{{")
    # Filled piece by piece, so that a value that happens to hold {{...}} is left as it is.
    filled = [pieces[0]]
    for piece in pieces[1:]:
        key, _, rest = piece.partition("}}")
        filled += [values[key], rest]
    return "".join(filled)


def _facts(cloud: Cloud, classes: Classes) -> dict[str, Any]:
    """What the page says about the whole cloud."""
    count = len(classes.names)
    scored = cloud.gt is not None and cloud.pred is not None
    iou = class_iou(cloud.gt, cloud.pred, count) if cloud.gt is not None and cloud.pred is not None else None
    known = iou is not None and bool(np.isfinite(iou).any())
    error = cloud.error
    counts = {name: _counts(getattr(cloud, name), count) for name in ("gt", "pred")}
    opening = cut_ceiling(cloud.coord)
    return {
        "name": cloud.name,
        "total": cloud.num_points,
        "offset": list(cloud.offset),
        "classes": [
            {
                "name": classes.names[k],
                "color": classes.colors[k].tolist(),
                "gt": int(counts["gt"][k]),
                "pred": int(counts["pred"][k]),
                "iou": None if iou is None or not np.isfinite(iou[k]) else float(iou[k]),
            }
            for k in range(count)
        ],
        "ignored": {name: int(counts[name][count]) for name in ("gt", "pred")},
        "annotated": 0 if cloud.annotated is None else int((cloud.annotated != IGNORED).sum()),
        "miou": float(np.nanmean(iou)) if known and iou is not None else None,
        "wrong": float((error == 1).sum() / max(int((error >= 0).sum()), 1)) if scored and error is not None else None,
        "cut": None if opening.height is None else _cut_share(cloud, opening.keep),
        "modes": [{"id": mode, "title": MODES[mode].title} for mode in available_modes(cloud)],
        "colors": {"ignored": IGNORED_COLOR, "right": RIGHT_COLOR, "wrong": WRONG_COLOR},
        "ramps": {"confidence": CONFIDENCE_RAMP, "height": HEIGHT_RAMP},
    }


def _counts(ids: np.ndarray | None, num_classes: int) -> np.ndarray:
    """(K + 1,) points per class, the last being those without one."""
    if ids is None:
        return np.zeros(num_classes + 1, dtype=np.int64)
    return np.bincount(np.where(ids == IGNORED, num_classes, ids), minlength=num_classes + 1)


def _cut_share(cloud: Cloud, keep: np.ndarray) -> float:
    """The height of the ceiling cut as a share of the scene's height."""
    z = cloud.coord[:, 2]
    return float((z[keep].max() - z.min()) / max(float(np.ptp(z)), 1e-6))


def _spacing(coord: np.ndarray) -> float:
    """A typical distance between neighbouring points in metres, from the surface that a coarse grid says they cover."""
    size = max(float(np.ptp(coord, axis=0).max()), 1e-3) / 256
    cells = np.floor((coord - coord.min(axis=0)) / size).astype(np.int64)
    occupied = len(np.unique((cells[:, 0] * 300 + cells[:, 1]) * 300 + cells[:, 2]))
    return float(size * np.sqrt(occupied / len(coord)))
