"""One PNG of a scene: colour, truth, prediction and error side by side, from above and from the side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pointseg.atomic import replacing_file
from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import (
    IGNORED_COLOR,
    MODES,
    RIGHT_COLOR,
    WRONG_COLOR,
    available_modes,
    check_classes,
    colorize,
)
from pointseg.viewing.opening import cut_ceiling, cut_near_walls
from pointseg.viewing.scores import class_iou
from pointseg.viewing.splat import (
    Camera,
    fit_camera,
    oblique_axes,
    paint,
    point_size_for,
    rasterize,
    top_axes,
    view_bounds,
)
from pointseg.viewing.thinning import even_steps, short_count

_MAX_DRAWN = 4_000_000  # points: many for every pixel of a panel
_COLUMNS = ("rgb", "gt", "pred", "error")
_PANEL_WIDTH = 460
_MARGIN = 28
_GAP = 16
_INK = (30, 36, 44)
_FAINT = (110, 118, 128)


@dataclass(frozen=True)
class _View:
    """One row: the points drawn, the camera, the panel's size in pixels and what to say about it."""

    keep: np.ndarray
    camera: Camera
    size: tuple[int, int]
    caption: str


def scene_png(path: str | Path, cloud: Cloud, classes: Classes) -> Path:
    """Draw a scene into one PNG file.

    Columns are colour, ground truth, prediction and error, as far as the cloud has them (height where it has none of
    them); rows are the view from above and an oblique view. A room's ceiling is cut away, and the picture says where.

    Args:
        path: the file; written under a temporary name and renamed.
        cloud: N points.
        classes: names and colours of the class ids.

    Returns:
        The path written.

    Raises:
        InputError: if the cloud has no points, ``classes`` does not cover its ids or the folder is absent.
    """
    path = Path(path)
    if cloud.num_points == 0:
        raise InputError(f"the cloud {cloud.name!r} has no points, so there is nothing to draw.")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} of the picture {path.name} does not exist; make it first.")
    check_classes(cloud, classes)
    picture = draw_scene(cloud, classes)
    with replacing_file(path) as unfinished:
        picture.save(unfinished, format="PNG")
    return path


def draw_scene(cloud: Cloud, classes: Classes) -> Image.Image:
    """The picture :func:`scene_png` writes."""
    modes = [mode for mode in _COLUMNS if mode in available_modes(cloud)] or ["height"]
    drawn = cloud if cloud.num_points <= _MAX_DRAWN else cloud.take(even_steps(cloud.num_points, _MAX_DRAWN))
    views = _views(drawn)
    legend = _legend(cloud, classes, modes, len(modes) * (_PANEL_WIDTH + _GAP) - _GAP)
    head = 92
    width = 2 * _MARGIN + len(modes) * (_PANEL_WIDTH + _GAP) - _GAP
    height = head + 34 + sum(view.size[1] + 34 for view in views) + legend.height + _MARGIN
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    _header(pen, cloud, classes, width)
    for column, mode in enumerate(modes):
        x = _MARGIN + column * (_PANEL_WIDTH + _GAP)
        pen.text((x + _PANEL_WIDTH / 2, head + 14), MODES[mode].title, fill=_INK, font=_font(20), anchor="mm")
    y = head + 34
    colors = {mode: colorize(drawn, mode, classes) for mode in modes}
    for view in views:
        coord = drawn.coord[view.keep]
        raster = rasterize(coord, view.camera, view.size, point_size_for(coord, view.camera))
        for column, mode in enumerate(modes):
            x = _MARGIN + column * (_PANEL_WIDTH + _GAP)
            sheet.paste(Image.fromarray(paint(raster, colors[mode][view.keep])), (x, y))
        pen.text((_MARGIN, y + view.size[1] + 14), view.caption, fill=_FAINT, font=_font(14), anchor="lm")
        _scale_bar(pen, view.camera.scale, width - _MARGIN, y + view.size[1] + 14)
        y += view.size[1] + 34
    sheet.paste(legend, (_MARGIN, y))
    return sheet


def _views(cloud: Cloud) -> list[_View]:
    opening = cut_ceiling(cloud.coord)
    inside = cloud.coord[opening.keep]
    above = "" if opening.height is None else f", cut {opening.height:.1f} m above the floor"
    top = _fitted(inside, top_axes())
    side = _fitted(inside, oblique_axes())
    kept = opening.keep.copy()
    if opening.height is not None:
        kept[opening.keep] = cut_near_walls(inside, side[0])
        above += ", near walls left out"
    return [
        _View(opening.keep, *top, "from above" + above.split(", near")[0]),
        _View(kept, *side, "from the side" + above),
    ]


def _fitted(coord: np.ndarray, axes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Camera, tuple[int, int]]:
    """A camera and a panel whose shape follows the scene's, between 1:2 and 5:4 (height to width)."""
    low, high = view_bounds(coord, axes)
    extent = np.maximum(high - low, 1e-6)
    size = (_PANEL_WIDTH, int(_PANEL_WIDTH * np.clip(extent[1] / extent[0] * 1.02, 0.4, 1.15)))
    return fit_camera(coord, axes, size), size


def _header(pen: ImageDraw.ImageDraw, cloud: Cloud, classes: Classes, width: int) -> None:
    pen.text((_MARGIN, 38), cloud.name or "scene", fill=_INK, font=_font(30), anchor="lm")
    extent = np.ptp(cloud.coord, axis=0)
    some = "" if cloud.num_points <= _MAX_DRAWN else f" ({short_count(_MAX_DRAWN)} drawn)"
    facts = f"{cloud.num_points:,} points{some}   {extent[0]:.1f} x {extent[1]:.1f} x {extent[2]:.1f} m"
    pen.text((_MARGIN, 72), facts, fill=_FAINT, font=_font(16), anchor="lm")
    if cloud.gt is None or cloud.pred is None:
        return
    iou = class_iou(cloud.gt, cloud.pred, len(classes.names))
    present = np.isfinite(iou)
    if present.any():
        score = f"mIoU {100 * float(iou[present].mean()):.1f} %"
        pen.text((width - _MARGIN, 38), score, fill=_INK, font=_font(30), anchor="rm")
        wrong = cloud.error
        assert wrong is not None
        share = 100 * float((wrong == 1).sum()) / max(int((wrong >= 0).sum()), 1)
        text = f"mean over its {int(present.sum())} classes, IoU of each below   {share:.1f} % of points wrong"
        pen.text((width - _MARGIN, 72), text, fill=_FAINT, font=_font(16), anchor="rm")


def _legend(cloud: Cloud, classes: Classes, modes: list[str], width: int) -> Image.Image:
    """Swatches and names of the classes in the scene, flowing over as many lines as they need."""
    entries: list[tuple[tuple[int, ...], str]] = []
    labels = [ids for mode, ids in (("gt", cloud.gt), ("pred", cloud.pred)) if mode in modes and ids is not None]
    if labels:
        used = np.unique(np.concatenate([np.unique(ids) for ids in labels]))
        iou = None if len(labels) < 2 else class_iou(labels[0], labels[1], len(classes.names))
        for k in used[used >= 0]:
            score = "" if iou is None or not np.isfinite(iou[k]) else f" {100 * iou[k]:.0f} %"
            entries.append((tuple(int(v) for v in classes.colors[k]), classes.names[k] + score))
        if (used < 0).any():
            entries.append((IGNORED_COLOR, "ignored"))
    if "error" in modes:
        entries += [(RIGHT_COLOR, "right"), (WRONG_COLOR, "wrong")]
    font, line = _font(17), 30
    places, x, y = [], 0.0, 0
    for color, text in entries:
        need = 24 + font.getlength(text) + 26
        if x > 0 and x + need > width + 26:
            x, y = 0.0, y + line
        places.append((x, y, color, text))
        x += need
    strip = Image.new("RGB", (width, y + line + 10 if entries else 1), "white")
    pen = ImageDraw.Draw(strip)
    for x, y, color, text in places:
        pen.rounded_rectangle((x, y + 12, x + 16, y + 28), radius=3, fill=color, outline=(205, 210, 215))
        pen.text((x + 24, y + 20), text, fill=_INK, font=font, anchor="lm")
    return strip


def _scale_bar(pen: ImageDraw.ImageDraw, scale: float, right: int, y: int) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres, between a ninth and a quarter of the panel."""
    metres = 10.0 ** np.floor(np.log10(scale * _PANEL_WIDTH / 4))
    metres *= max(step for step in (1, 2, 5) if step * metres <= scale * _PANEL_WIDTH / 4)
    left = right - metres / scale
    pen.line((left, y, right, y), fill=_INK, width=3)
    for x in (left, right):
        pen.line((x, y - 5, x, y + 5), fill=_INK, width=2)
    text = f"{metres:g} m" if metres >= 1 else f"{metres * 100:g} cm"
    pen.text((left - 10, y), text, fill=_INK, font=_font(14), anchor="rm")


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
