"""One PNG of a scene: its colourings side by side, from above and from the side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pointseg.atomic import replacing_file
from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.captions import SHOWS_CLASSES, has_bar, header, legend_entries, mode_bar, mode_title
from pointseg.viewing.cloud import IGNORED, Cloud
from pointseg.viewing.colors import available_modes, check_classes, class_colors, colorize
from pointseg.viewing.drawing import (
    DARK,
    LIGHT,
    MARGIN,
    Style,
    fitted_font,
    flowing_legend,
    scale_bar,
    stacked,
    wrapped,
)
from pointseg.viewing.opening import cut_ceiling, cut_near_walls
from pointseg.viewing.scores import cloud_iou
from pointseg.viewing.splat import (
    LARGEST_POINT,
    Camera,
    Marks,
    Raster,
    find_marks,
    fit_camera,
    oblique_axes,
    paint,
    point_size_for,
    rasterize,
    top_axes,
    view_bounds,
)
from pointseg.viewing.thinning import even_steps

_MAX_DRAWN = 4_000_000  # points: many for every pixel of a panel
_COLUMNS = ("rgb", "annotated", "pseudo", "gt", "pred", "error")
_MOST_COLUMNS = 5  # side by side; six are three and three
_PANEL = 460
_GAP = 16
_WIDTHS = (480, 4000)  # of a picture whose width was asked for: legible, and drawn in less than 4 GB
# Letters are at least 14 units high: with 966 units in 170 mm of paper that is 7 points.
_UNITS_ACROSS = 966
_LEAST_UNIT = 0.8
_LEAST_RING = 6.0  # pixels of the usual panel


@dataclass(frozen=True)
class _Layout:
    """The drawn picture's style, pixels of one panel's width and of all between the margins, and panels in a row."""

    style: Style
    panel: int
    content: int
    columns: int


@dataclass(frozen=True)
class _View:
    """One row: the points drawn, the camera, what each pixel shows and what to say about it."""

    keep: np.ndarray
    camera: Camera
    raster: Raster
    caption: str


def scene_png(
    path: str | Path,
    cloud: Cloud,
    classes: Classes,
    *,
    modes: Sequence[str] = (),
    dark: bool = False,
    width: int | None = None,
) -> Path:
    """Draw a scene into one PNG file; the arguments after ``path`` are those of :func:`draw_scene`.

    Args:
        path: the file; written under a temporary name and renamed.

    Returns:
        The path written.

    Raises:
        InputError: those of :func:`draw_scene`, or the folder is absent.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} of the picture {path.name} does not exist; make it first.")
    picture = draw_scene(cloud, classes, modes=modes, dark=dark, width=width)
    with replacing_file(path) as unfinished:
        picture.save(unfinished, format="PNG")
    return path


def draw_scene(
    cloud: Cloud, classes: Classes, *, modes: Sequence[str] = (), dark: bool = False, width: int | None = None
) -> Image.Image:
    """A scene in several colourings, from above and from the side.

    A room's ceiling is cut away, and the picture says where. Up to five colourings stand side by side, further ones
    below. Annotated points are enlarged.

    Args:
        cloud: N points.
        classes: names and colours of the class ids.
        modes: names of ``MODES``, in this order; without any, colour, annotated points, pseudo-label, ground truth,
            prediction and error as far as the cloud has them, and height where it has none of them.
        dark: light letters on a dark ground.
        width: pixels of the whole picture, 480 to 4000; letters grow with it so that, printed 170 mm wide, none is
            smaller than 7 points. None makes every panel 460 pixels wide.

    Raises:
        InputError: if the cloud has no points or not what a mode shows, or ``classes`` does not cover its ids, or
            the width is not allowed.
    """
    if cloud.num_points == 0:
        raise InputError(f"the cloud {cloud.name!r} has no points, so there is nothing to draw.")
    check_classes(cloud, classes)
    chosen = list(modes) or [mode for mode in _COLUMNS if mode in available_modes(cloud)] or ["height"]
    layout = _layout(len(chosen), dark, width)
    index = _drawn(cloud)
    drawn = cloud if len(index) == cloud.num_points else cloud.take(index)
    colors = {mode: colorize(drawn, mode, classes) for mode in chosen}
    iou = cloud_iou(cloud, classes.num_classes)
    views = _views(drawn, layout)
    strips = [
        header(
            cloud, drawn.num_points, iou, any(mode in SHOWS_CLASSES for mode in chosen), layout.content, layout.style
        )
    ]
    for start in range(0, len(chosen), layout.columns):
        row = chosen[start : start + layout.columns]
        strips.append(_titles(cloud, classes, row, layout))
        strips += [_row(drawn, view, row, colors, classes, layout) for view in views]
    strips.append(flowing_legend(legend_entries(cloud, classes, chosen, iou), layout.content, layout.style))
    return stacked(strips, layout.style)


def _layout(count: int, dark: bool, width: int | None) -> _Layout:
    columns = -(-count // -(-count // _MOST_COLUMNS))  # rows as even as can be
    paper = DARK if dark else LIGHT
    if width is None:
        return _Layout(Style(paper), _PANEL, columns * (_PANEL + _GAP) - _GAP, columns)
    if not _WIDTHS[0] <= width <= _WIDTHS[1]:
        raise InputError(
            f"a picture of {width} pixels cannot be drawn; its width must be {_WIDTHS[0]} to {_WIDTHS[1]}."
        )
    style = Style(paper, max(width / _UNITS_ACROSS, _LEAST_UNIT))
    content = width - 2 * style.px(MARGIN)
    return _Layout(style, (content - (columns - 1) * style.px(_GAP)) // columns, content, columns)


def _drawn(cloud: Cloud) -> np.ndarray:
    """The points (M,) that are drawn: all, or an even share of the scene and every annotated one."""
    share = np.arange(cloud.num_points) if cloud.even is None else np.flatnonzero(cloud.even)
    if len(share) > _MAX_DRAWN:
        share = share[even_steps(len(share), _MAX_DRAWN)]
    return share if cloud.annotated is None else np.union1d(share, np.flatnonzero(cloud.annotated != IGNORED))


def _views(cloud: Cloud, layout: _Layout) -> list[_View]:
    opening = cut_ceiling(cloud.coord)
    inside = cloud.coord[opening.keep]
    top = _fitted(inside, top_axes(), layout.panel)
    side = _fitted(inside, oblique_axes(), layout.panel)
    if opening.height is None:
        return [
            _view(cloud, opening.keep, top, "from above", layout),
            _view(cloud, opening.keep, side, "from the side", layout),
        ]
    cut = f"cut {opening.height:.1f} m above the floor"
    kept = opening.keep.copy()
    kept[opening.keep] = cut_near_walls(inside, side[0])
    return [
        _view(cloud, opening.keep, top, f"from above, {cut}", layout),
        _view(cloud, kept, side, f"from the side, {cut}, near walls left out", layout),
    ]


def _fitted(
    coord: np.ndarray, axes: tuple[np.ndarray, np.ndarray, np.ndarray], width: int
) -> tuple[Camera, tuple[int, int]]:
    """A camera and a panel whose shape follows the scene's, between 2:5 and 23:20 (height to width)."""
    low, high = view_bounds(coord, axes)
    extent = np.maximum(high - low, 1e-6)
    size = (width, int(width * np.clip(extent[1] / extent[0] * 1.02, 0.4, 1.15)))
    return fit_camera(coord, axes, size), size


def _view(
    cloud: Cloud, keep: np.ndarray, fitted: tuple[Camera, tuple[int, int]], caption: str, layout: _Layout
) -> _View:
    camera, size = fitted
    coord = cloud.coord[keep]
    points = point_size_for(coord, camera, LARGEST_POINT * max(layout.panel / _PANEL, 1))
    return _View(keep, camera, rasterize(coord, camera, size, points), caption)


def _titles(cloud: Cloud, classes: Classes, row: list[str], layout: _Layout) -> Image.Image:
    style, panel = layout.style, layout.panel
    bars = any(has_bar(mode) for mode in row)
    sheet = style.sheet(layout.content, style.px(34 + (26 if bars else 0)))
    pen = ImageDraw.Draw(sheet)
    for column, mode in enumerate(row):
        x, title = column * (panel + style.px(_GAP)), mode_title(cloud, mode)
        letters = fitted_font(style, title, 20, 14, panel)
        pen.text((x + panel / 2, style.px(16)), title, fill=style.paper.ink, font=letters, anchor="mm")
        if bars:
            sheet.paste(mode_bar(cloud, classes, mode, panel, style), (x, style.px(32)))
    return sheet


def _row(
    cloud: Cloud, view: _View, row: list[str], colors: dict[str, np.ndarray], classes: Classes, layout: _Layout
) -> Image.Image:
    """One view in several colourings, with its caption and its scale bar."""
    style, panel = layout.style, layout.panel
    drawn = (len(row) - 1) * (panel + style.px(_GAP)) + panel
    letters, bar = style.font(14), round(panel / 4)
    marks = _marks(cloud, view, classes, layout) if "annotated" in row else None
    caption = wrapped(view.caption + _seen(cloud, marks), letters, drawn - bar - style.px(90))
    height = view.raster.index.shape[0] * panel // view.raster.index.shape[1]
    sheet = style.sheet(layout.content, height + style.px(14 + 20 * len(caption)))
    for column, mode in enumerate(row):
        shown = marks if mode == "annotated" else None
        pixels = paint(view.raster, colors[mode][view.keep], style.paper.ground, shown)
        sheet.paste(Image.fromarray(pixels), (column * (panel + style.px(_GAP)), 0))
    pen, y = ImageDraw.Draw(sheet), height + style.px(14)
    for number, line in enumerate(caption):
        pen.text((0, y + number * style.px(20)), line, fill=style.paper.faint, font=letters, anchor="lm")
    scale_bar(pen, view.camera.scale, drawn, y, bar, style)
    return sheet


def _marks(cloud: Cloud, view: _View, classes: Classes, layout: _Layout) -> Marks:
    """The annotated points of a view; the more there are, the smaller, so that they never hide the scene.

    Hidden ones, those cut away included, are rings as long as there are few enough for rings to be told from discs.
    """
    assert cloud.annotated is not None
    chosen = np.flatnonzero(cloud.annotated != IGNORED)
    even = 0.4 * _PANEL / np.sqrt(max(len(chosen), 1))
    diameter = float(np.clip(even, 2.5, 13) * max(layout.panel / _PANEL, 1))
    colors = class_colors(cloud.annotated[chosen], classes)
    marks = find_marks(view.raster, cloud.coord[chosen], colors, view.camera, diameter, view.keep[chosen])
    return marks if even >= _LEAST_RING else marks.take(marks.seen)


def _seen(cloud: Cloud, marks: Marks | None) -> str:
    if marks is None or cloud.annotated is None:
        return ""
    count, seen = int((cloud.annotated != IGNORED).sum()), int(marks.seen.sum())
    rings = len(marks.seen) - seen
    hidden = f", rings: {rings:,} hidden" if rings else ""
    return "" if seen == count else f", {seen:,} of {count:,} annotated points in sight{hidden}"
