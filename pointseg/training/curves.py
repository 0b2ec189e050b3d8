"""Line plots of a training, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from pointseg.viewing.drawing import LIGHT, font, nice_ticks

WIDTH, HEIGHT = 520, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 40, 40
_LINE = (31, 105, 180)


@dataclass(frozen=True)
class Curve:
    """One panel: finite values over rising steps.

    Attributes:
        title: what the values are.
        points: (step, value), at least one.
    """

    title: str
    points: Sequence[tuple[int, float]]


def draw_curves(curves: Sequence[Curve]) -> Image.Image:
    """The panels side by side, each with axes of its own."""
    sheet = Image.new("RGB", (WIDTH * len(curves), HEIGHT), "white")
    for number, curve in enumerate(curves):
        sheet.paste(_panel(curve), (WIDTH * number, 0))
    return sheet


def _panel(curve: Curve) -> Image.Image:
    panel = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(panel)
    steps, values = zip(*curve.points, strict=True)
    ticks = nice_ticks(min(values), max(values))
    last = max(max(steps), 1)

    def place(step: float, value: float) -> tuple[float, float]:
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * step / last
        y = HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - ticks[0]) / (ticks[-1] - ticks[0])
        return x, y

    pen.text((_LEFT, 20), curve.title, fill=LIGHT.ink, font=font(17), anchor="lm")
    for tick in ticks:
        (x, y), (right, _) = place(0, tick), place(last, tick)
        pen.line((x, y, right, y), fill=LIGHT.grid)
        pen.text((x - 8, y), f"{tick:.4g}", fill=LIGHT.faint, font=font(13), anchor="rm")
    for tick in (t for t in nice_ticks(0, last) if t <= last):
        x, y = place(tick, ticks[0])
        pen.line((x, y, x, y + 4), fill=LIGHT.faint)
        pen.text((x, y + 14), f"{tick:g}", fill=LIGHT.faint, font=font(13), anchor="mm")
    pen.text((WIDTH - _RIGHT, HEIGHT - 10), "step", fill=LIGHT.faint, font=font(13), anchor="rm")
    line = [place(step, value) for step, value in curve.points]
    pen.line(line, fill=_LINE, width=2, joint="curve")
    if len(line) <= 60:
        for x, y in line:
            pen.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=_LINE)
    return panel
