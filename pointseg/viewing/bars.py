"""Intersection over union of every class as bars, of one run or of several beside each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.drawing import RGB, Style, flowing_legend, headline, stacked
from pointseg.viewing.palettes import SAFE

_GAP = 44  # between blocks
_BAR, _BETWEEN = 16, 12  # height of one bar, and the space between classes
_LENGTH = 340  # of a bar of 100 %
_MOST_ROWS = 40  # below each other; more classes go on beside them
_MEAN: RGB = (70, 78, 88)
_BETTER: RGB = (0, 110, 80)
_WORSE: RGB = (180, 30, 30)


def iou_bars(runs: Mapping[str, np.ndarray], classes: Classes) -> Image.Image:
    """Bars of the IoU of every class, and of their mean.

    One run has the classes' own colours; several have a colour each, and two of them their difference in percentage
    points, second minus first, behind the bars. The mean is over the classes that the run has a number for.

    Args:
        runs: name of a run -> (K,) IoU in [0, 1], NaN for a class without a point in the truth.
        classes: K names and colours.

    Raises:
        InputError: if there is no run, or one has not K numbers from 0 to 1.
    """
    ious = _checked(runs, classes)
    colors = {name: _color(SAFE[place]) for name, place in zip(ious, _run_colors(len(ious)), strict=True)}
    style = Style()
    blocks = [
        _block(range(start, min(start + _MOST_ROWS, classes.num_classes)), ious, classes, colors, style)
        for start in range(0, classes.num_classes, _MOST_ROWS)
    ]
    width = sum(block.width for block in blocks) + _GAP * (len(blocks) - 1)
    strips = [headline("IoU per class, %", _facts(ious), width, style)]
    if len(ious) > 1:
        strips.append(flowing_legend([(colors[name], name) for name in ious], width, style))
    strips += [_means(ious, colors, style, blocks[0].width), _beside(blocks, width, style)]
    return stacked(strips, style)


def _checked(runs: Mapping[str, np.ndarray], classes: Classes) -> dict[str, np.ndarray]:
    if not runs:
        raise InputError("there is no run whose IoU could be drawn; give at least one.")
    ious = {name: np.asarray(iou, dtype=float) for name, iou in runs.items()}
    for name, iou in ious.items():
        if iou.shape != (classes.num_classes,):
            raise InputError(f"the IoU of {name!r} has shape {iou.shape}; it must be ({classes.num_classes},).")
        known = iou[np.isfinite(iou)]
        if np.isinf(iou).any() or (len(known) and not (known.min() >= 0 and known.max() <= 1)):
            raise InputError(
                f"the IoU of {name!r} goes from {np.nanmin(iou):g} to {np.nanmax(iou):g}, not within 0..1."
            )
    return ious


def _run_colors(count: int) -> list[int]:
    """Places in ``SAFE``: blue and vermilion first, which differ most in hue and in lightness."""
    first = [4, 5, 2, 0, 6, 1]
    return [first[k] if k < len(first) else k % len(SAFE) for k in range(count)]


def _facts(ious: dict[str, np.ndarray]) -> list[str]:
    if len(ious) == 2:
        first, second = ious
        return [f"right: {second} minus {first}, percentage points"]
    return list(ious) if len(ious) == 1 else []


def _beside(blocks: list[Image.Image], width: int, style: Style) -> Image.Image:
    sheet, x = style.sheet(width, max(block.height for block in blocks)), 0
    for block in blocks:
        sheet.paste(block, (x, 0))
        x += block.width + _GAP
    return sheet


def _means(ious: dict[str, np.ndarray], colors: dict[str, RGB], style: Style, width: int) -> Image.Image:
    """The row of the means, as wide as the first block, whose columns it continues."""
    means = [float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan") for iou in ious.values()]
    shades = list(colors.values()) if len(ious) > 1 else [_MEAN]
    label = width - _LENGTH - _numbers_width(ious)
    sheet = style.sheet(width, len(means) * _BAR + 2 * _BETWEEN + 6)
    _draw_row(sheet, _BETWEEN, "mean", None, means, shades, label, style)
    ImageDraw.Draw(sheet).line((0, sheet.height - 2, width, sheet.height - 2), fill=style.paper.grid, width=2)
    return sheet


def _block(
    rows: range,
    ious: dict[str, np.ndarray],
    classes: Classes,
    colors: dict[str, RGB],
    style: Style,
) -> Image.Image:
    """The bars of some classes below each other, on a grid of 0 to 100 %."""
    label = round(max(style.font(16).getlength(classes.names[k]) for k in rows)) + 36
    label = max(label, 100)
    height = len(rows) * (len(ious) * _BAR + _BETWEEN)
    sheet = style.sheet(label + _LENGTH + _numbers_width(ious), height + 30)
    pen = ImageDraw.Draw(sheet)
    for percent in range(0, 101, 20):
        x = label + _LENGTH * percent // 100
        pen.line((x, 0, x, height), fill=style.paper.grid)
        pen.text((x, height + 14), f"{percent}", fill=style.paper.faint, font=style.font(13), anchor="mm")
    for row, k in enumerate(rows):
        own = _color(classes.colors[k])
        _draw_row(
            sheet,
            row * (len(ious) * _BAR + _BETWEEN) + _BETWEEN // 2,
            classes.names[k],
            own,
            [float(iou[k]) for iou in ious.values()],
            list(colors.values()) if len(ious) > 1 else [own],
            label,
            style,
        )
    return sheet


def _draw_row(
    sheet: Image.Image,
    top: int,
    name: str,
    swatch: RGB | None,
    values: list[float],
    colors: list[RGB],
    label: int,
    style: Style,
) -> None:
    """One class: swatch and name, a bar and a number for each run, the difference."""
    pen, ink, small = ImageDraw.Draw(sheet), style.paper.ink, style.font(14)
    middle = top + len(values) * _BAR / 2
    if swatch is not None:
        corners = (0, middle - 7, 14, middle + 7)
        pen.rounded_rectangle(corners, radius=3, fill=swatch, outline=style.paper.faint)
    pen.text((24, middle), name, fill=ink, font=style.font(16), anchor="lm")
    if np.isnan(values).all():
        pen.text((label + 6, middle), "not in the truth", fill=style.paper.faint, font=small, anchor="lm")
        return
    for number, (value, color) in enumerate(zip(values, colors, strict=True)):
        y = top + number * _BAR
        if np.isnan(value):
            pen.text((label + 6, y + _BAR / 2), "not in the truth", fill=style.paper.faint, font=small, anchor="lm")
            continue
        end = label + _LENGTH * value
        pen.rectangle((label, y + 1, max(end, label + 1), y + _BAR - 2), fill=color, outline=style.paper.faint)
        pen.text((label + _LENGTH + 46, y + _BAR / 2), f"{100 * value:.1f}", fill=ink, font=small, anchor="rm")
    if len(values) == 2 and np.isfinite(values).all():
        more = 100 * (values[1] - values[0])
        color = style.paper.faint if abs(more) < 0.05 else _BETTER if more > 0 else _WORSE
        x = label + _LENGTH + 116
        pen.text((x, middle), f"{more:+.1f}", fill=color, font=style.font(17), anchor="rm")


def _numbers_width(ious: dict[str, np.ndarray]) -> int:
    return 120 if len(ious) == 2 else 50


def _color(rgb: np.ndarray) -> RGB:
    red, green, blue = rgb.tolist()
    return red, green, blue
