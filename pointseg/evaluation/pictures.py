"""Pictures of an evaluation: the confusion matrix and the calibration curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pointseg.atomic import replacing_file
from pointseg.evaluation.calibration import BINS, Calibration
from pointseg.viewing.drawing import LIGHT, RGB, font, readable_on, vertical_text

_INK, _FAINT, _GRID = LIGHT.ink, LIGHT.faint, LIGHT.grid
_ABSENT = (205, 210, 216)  # rows of classes that are not in the truth
_LOW, _HIGH = np.array([250, 251, 253]), np.array([8, 64, 129])
_MARGIN = 28
_SIDE = 520  # of the plot of calibration, and the least of the matrix, pixels
_NUMBERED = 30  # the least height of a cell with a number in it


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG; an existing one is replaced in one step."""
    with replacing_file(path) as unfinished:
        picture.save(unfinished, format="PNG")


def confusion_picture(matrix: np.ndarray, names: Sequence[str]) -> Image.Image:
    """A (K, K) confusion matrix with the truth in rows, each row divided by its sum; classes not in the truth are grey.

    Args:
        matrix: counts.
        names: K class names.
    """
    total = matrix.sum(1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    # Cells that hold a number, or, of too many classes for that, just a name beside them.
    cell = min(max(_SIDE // len(names), _NUMBERED if len(names) <= 40 else 11), 48)
    letters, numbers = font(min(cell - 2, 15)), font(max(cell * 2 // 5, 8))
    label = int(max(letters.getlength(name) for name in names)) + 12
    left, top, side = _MARGIN + 30 + label, 106 + label, cell * len(names)
    sheet = Image.new("RGB", (max(left + side + 96, 480), top + side + _MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, 24), "Confusion matrix", fill=_INK, font=font(22), anchor="lm")
    absent = "; grey: not in the truth" if (total == 0).any() else ""
    pen.text((_MARGIN, 50), f"share of the true class, %{absent}", fill=_FAINT, font=font(14), anchor="lm")
    for row, name in enumerate(names):
        y = top + row * cell
        pen.text((left - 8, y + cell / 2), name, fill=_INK, font=letters, anchor="rm")
        vertical_text(sheet, (left + (row + 0.5) * cell, top - 8 - letters.getlength(name) / 2), name, letters)
        for column, value in enumerate(share[row]):
            x = left + column * cell
            fill = _shade(value) if total[row] else _ABSENT
            pen.rectangle((x, y, x + cell - 1, y + cell - 1), fill=fill)
            if cell >= _NUMBERED and value >= 0.005:
                text, at = f"{100 * value:.0f}", (x + cell / 2, y + cell / 2)
                pen.text(at, text, fill=readable_on(fill), font=numbers, anchor="mm")
    pen.rectangle((left - 1, top - 1, left + side, top + side), outline=_FAINT)
    vertical_text(sheet, (_MARGIN, top + side / 2), "truth", font(15))
    pen.text((left + side / 2, top - label - 12), "prediction", fill=_INK, font=font(15), anchor="mm")
    _color_bar(pen, left + side + 22, top, min(side, _SIDE))
    return sheet


def calibration_picture(calibration: Calibration) -> Image.Image:
    """Accuracy against confidence, bin by bin, over the share of points in each bin."""
    confidence, accuracy = calibration.curve()
    share = calibration.points / max(int(calibration.points.sum()), 1)
    left, top, below = 86, 72, 110
    sheet = Image.new("RGB", (left + _SIDE + _MARGIN, top + _SIDE + 34 + below + 62), "white")
    pen = ImageDraw.Draw(sheet)
    title = "Calibration" if np.isnan(calibration.error) else f"Calibration: error {100 * calibration.error:.1f} %"
    pen.text((_MARGIN, 24), title, fill=_INK, font=font(22), anchor="lm")
    pen.text((_MARGIN, 50), "below the diagonal: surer than right", fill=_FAINT, font=font(14), anchor="lm")
    _axes(pen, left, top, _SIDE, _SIDE)
    pen.line((left, top + _SIDE, left + _SIDE, top), fill=_FAINT, width=2)
    known = np.flatnonzero(calibration.points > 0)
    dots = [(left + confidence[i] * _SIDE, top + (1 - accuracy[i]) * _SIDE) for i in known]
    pen.line(dots, fill=tuple(_HIGH), width=3)
    for x, y in dots:
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=tuple(_HIGH))
    base = top + _SIDE + 34 + below
    _axes(pen, left, base - below, _SIDE, below, steps_up=2, numbers=True)
    for i in known:
        x0, x1 = left + i * _SIDE / BINS + 1, left + (i + 1) * _SIDE / BINS - 1
        pen.rectangle((x0, base - max(share[i] * below, 1), x1, base), fill=tuple(_HIGH))
    pen.text((left + _SIDE / 2, base + 44), "confidence, %", fill=_INK, font=font(15), anchor="mm")
    vertical_text(sheet, (20, top + _SIDE / 2), "accuracy, %", font(15))
    vertical_text(sheet, (20, base - below / 2), "points, %", font(15))
    return sheet


def _axes(
    pen: ImageDraw.ImageDraw, left: int, top: int, width: int, height: int, steps_up: int = 5, numbers: bool = False
) -> None:
    """A frame from 0 to 100 % both ways, with lines, and with numbers on the left and perhaps below."""
    for step in range(steps_up + 1):
        y = top + height - step * height / steps_up
        pen.line((left, y, left + width, y), fill=_GRID)
        pen.text((left - 8, y), f"{100 * step // steps_up}", fill=_FAINT, font=font(13), anchor="rm")
    for step in range(6):
        x = left + step * width / 5
        pen.line((x, top, x, top + height), fill=_GRID)
        if numbers:
            pen.text((x, top + height + 14), f"{20 * step}", fill=_FAINT, font=font(13), anchor="mm")


def _color_bar(pen: ImageDraw.ImageDraw, x: int, y: int, height: int) -> None:
    for row in range(height):
        pen.line((x, y + row, x + 16, y + row), fill=_shade(1 - row / max(height - 1, 1)))
    pen.rectangle((x, y, x + 16, y + height - 1), outline=_FAINT)
    for value in (0, 50, 100):
        at = y + (height - 1) * (1 - value / 100)
        pen.text((x + 24, at), f"{value}", fill=_FAINT, font=font(13), anchor="lm")


def _shade(share: float) -> RGB:
    # The square root keeps confusions of a few per cent visible.
    red, green, blue = (_LOW + (_HIGH - _LOW) * np.sqrt(share)).astype(int).tolist()
    return red, green, blue
