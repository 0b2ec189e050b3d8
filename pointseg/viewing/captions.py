"""What stands beside the colours of a picture: the scene, class names, the numbers a colour ramp runs between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from pointseg.data.classes import Classes
from pointseg.viewing.cloud import IGNORED, Cloud
from pointseg.viewing.colors import (
    CONFIDENCE_RAMP,
    HEIGHT_RAMP,
    IGNORED_COLOR,
    MODES,
    RIGHT_COLOR,
    WRONG_COLOR,
    ramp,
)
from pointseg.viewing.drawing import RGB, Style, fitted_font, wrapped
from pointseg.viewing.thinning import short_count

SHOWS_CLASSES = ("gt", "pred", "pseudo", "annotated")
"""The modes whose colours are those of classes."""

_BAR_HEIGHT = 14
_RAMPS = ("confidence", "entropy", "height")
_WITHOUT_CLASS = {"gt": "ignored", "pred": "not predicted", "pseudo": "no pseudo-label"}
_PAIRED = {"gt": 0, "pred": 1}  # the columns of ``Cloud.whole``
_AXES: tuple[tuple[RGB, str], ...] = (((255, 128, 128), "+x"), ((128, 255, 128), "+y"), ((128, 128, 255), "+z"))


def header(cloud: Cloud, drawn: int, iou: np.ndarray | None, named: bool, width: int, style: Style) -> Image.Image:
    """The scene's name, size and scores; beside each other where there is room, else below each other.

    Args:
        cloud: N points.
        drawn: how many of the scene's points the picture shows.
        iou: (K,) in [0, 1], NaN where unknown; None without scores.
        named: whether the legend lists classes, with their IoU.
        width: pixels.
        style: of the picture.
    """
    extent = np.ptp(cloud.coord, axis=0)
    facts = [f"{cloud.total_points:,} points   {extent[0]:.1f} x {extent[1]:.1f} x {extent[2]:.1f} m"]
    if drawn < cloud.total_points:
        kept = "" if cloud.annotated is None else " and the annotated points"
        facts.append(f"drawn: {short_count(drawn)} of {short_count(cloud.total_points)}, an even share{kept}")
    left = _text_block(cloud.name or "scene", facts, width, style)
    right = _score_block(cloud, iou, named, width, style)
    if right is None or left.width + right.width + style.px(40) > width:
        blocks = [left] if right is None else [left, right]
        sheet = style.sheet(width, sum(block.height for block in blocks))
        sheet.paste(left, (0, 0))
        if right is not None:
            sheet.paste(right, (0, left.height))
        return sheet
    sheet = style.sheet(width, max(left.height, right.height))
    sheet.paste(left, (0, 0))
    sheet.paste(right, (width - right.width, 0))
    return sheet


def mode_title(cloud: Cloud, mode: str) -> str:
    """The title of a column, with the number of points that were annotated."""
    title = MODES[mode].title
    if mode != "annotated" or cloud.annotated is None:
        return title
    return f"{title} ({int((cloud.annotated != IGNORED).sum()):,})"


def legend_entries(
    cloud: Cloud, classes: Classes, modes: Sequence[str], iou: np.ndarray | None
) -> list[tuple[RGB, str]]:
    """Colour and text of everything that ``modes`` show as a colour of its own.

    Args:
        cloud: N points.
        classes: K classes that cover its ids.
        modes: names of colourings.
        iou: (K,) in [0, 1], NaN where unknown; written behind the names. None for none.
    """
    used = np.zeros(classes.num_classes, dtype=bool)
    without: list[str] = []
    for mode in SHOWS_CLASSES:
        ids = getattr(cloud, mode)
        if mode in modes and ids is not None:
            present = np.unique(ids if cloud.whole is None or mode not in _PAIRED else cloud.whole[:, _PAIRED[mode]])
            used[present[present >= 0]] = True
            without += [_WITHOUT_CLASS[mode]] if mode in _WITHOUT_CLASS and (present < 0).any() else []
    entries: list[tuple[RGB, str]] = []
    for k in np.flatnonzero(used):
        score = "" if iou is None or not np.isfinite(iou[k]) else f" {100 * iou[k]:.0f} %"
        red, green, blue = classes.colors[k].tolist()
        entries.append(((red, green, blue), classes.names[k] + score))
    if without or ("error" in modes and cloud.gt is not None and (cloud.gt == IGNORED).any()):
        entries.append((IGNORED_COLOR, " / ".join(without or ["ignored"])))
    if "error" in modes:
        entries += [(RIGHT_COLOR, "right"), (WRONG_COLOR, "wrong")]
    return entries


def has_bar(mode: str) -> bool:
    """Whether a mode's colours are values that :func:`mode_bar` explains."""
    return mode in _RAMPS or mode == "normal"


def mode_bar(cloud: Cloud, classes: Classes, mode: str, width: int, style: Style) -> Image.Image:
    """The ramp of a mode between its lowest and highest number, or the colours of the axes; ``width`` pixels."""
    if mode in _RAMPS:
        return ramp_bar(mode, *_limits(cloud, classes, mode), width, style)
    strip = style.sheet(width, style.px(24))
    if mode == "normal":
        _draw_axes(strip, style)
    return strip


def ramp_bar(mode: str, low: str, high: str, width: int, style: Style) -> Image.Image:
    """The ramp of a mode between the texts of its ends, ``width`` pixels."""
    strip, letters, gap = style.sheet(width, style.px(24)), style.font(14), style.px(8)
    widest = max(letters.getlength(low), letters.getlength(high))
    bar = max(int(min(strip.width * 0.45, strip.width - 2 * (widest + gap))), 1)
    left, top = (strip.width - bar) // 2, (strip.height - style.px(_BAR_HEIGHT)) // 2
    values = np.linspace(0, 1, bar)
    # Sure is light in both: entropy runs through the colours of confidence from the other end.
    colors = ramp(1 - values if mode == "entropy" else values, HEIGHT_RAMP if mode == "height" else CONFIDENCE_RAMP)
    strip.paste(Image.fromarray(np.repeat(colors[None], style.px(_BAR_HEIGHT), axis=0)), (left, top))
    pen = ImageDraw.Draw(strip)
    pen.text((left - gap, strip.height / 2), low, fill=style.paper.ink, font=letters, anchor="rm")
    pen.text((left + bar + gap, strip.height / 2), high, fill=style.paper.ink, font=letters, anchor="lm")
    return strip


def _score_block(cloud: Cloud, iou: np.ndarray | None, named: bool, width: int, style: Style) -> Image.Image | None:
    wrong = cloud.wrong_share
    if iou is None or wrong is None or not np.isfinite(iou).any():
        return None
    present = np.isfinite(iou)
    below = ", IoU of each below" if named else ""
    text = f"mean over its {int(present.sum())} classes{below}   {100 * wrong:.1f} % of points wrong"
    return _text_block(f"mIoU {100 * float(iou[present].mean()):.1f} %", [text], width, style)


def _text_block(headline: str, facts: list[str], width: int, style: Style) -> Image.Image:
    """A large line (smaller, then wrapped, when it is long) over small ones, as wide as they are."""
    large, small = fitted_font(style, headline, 30, 20, width), style.font(16)
    lines = [(line, large, style.paper.ink, round(1.27 * large.size)) for line in wrapped(headline, large, width)]
    lines += [(line, small, style.paper.faint, style.px(24)) for fact in facts for line in wrapped(fact, small, width)]
    block = style.sheet(
        min(round(max(letters.getlength(line) for line, letters, *_ in lines)) + 1, width),
        sum(height for *_, height in lines) + style.px(8),
    )
    pen, y = ImageDraw.Draw(block), 0
    for line, letters, color, height in lines:
        pen.text((0, y + height / 2), line, fill=color, font=letters, anchor="lm")
        y += height
    return block


def _limits(cloud: Cloud, classes: Classes, mode: str) -> tuple[str, str]:
    if mode == "confidence":
        return "0 %", "100 %"
    if mode == "entropy":
        return "0", f"{np.log(max(classes.num_classes, 2)):.2f} nats"
    lowest = float(cloud.coord[:, 2].min()) + cloud.offset[2]
    # Above the lowest point in a room; what a map calls it where the scene has a place in the world.
    base = lowest if cloud.offset[2] else 0.0
    return f"{base:.1f}", f"{base + float(np.ptp(cloud.coord[:, 2])):.1f} m"


def _draw_axes(strip: Image.Image, style: Style) -> None:
    letters, box, gap = style.font(14), style.px(_BAR_HEIGHT), style.px(6)
    needs = [box + gap + letters.getlength(text) + 3 * gap for _, text in _AXES]
    pen, x, middle = ImageDraw.Draw(strip), (strip.width - sum(needs) + 3 * gap) / 2, strip.height / 2
    for (color, text), need in zip(_AXES, needs, strict=True):
        pen.rectangle((x, middle - box / 2, x + box, middle + box / 2), fill=color, outline=style.paper.faint)
        pen.text((x + box + gap, middle), text, fill=style.paper.ink, font=letters, anchor="lm")
        x += need
