"""Paper, ink and letters: what all pictures that Pillow draws have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]
MARGIN = 28  # around a picture, in pixels of the usual size


@dataclass(frozen=True)
class Paper:
    """The colours of a picture's ground, its text, its lesser text and its lines; both texts have contrast 4.5:1."""

    ground: RGB
    ink: RGB
    faint: RGB
    grid: RGB


LIGHT = Paper((255, 255, 255), (30, 36, 44), (100, 108, 118), (222, 226, 231))
DARK = Paper((20, 24, 30), (234, 238, 243), (165, 173, 183), (62, 69, 78))


@dataclass(frozen=True)
class Style:
    """How a picture is drawn.

    Attributes:
        paper: its colours.
        unit: pixels that one pixel of a picture of the usual size takes; letters, lines and margins grow with it.
    """

    paper: Paper = LIGHT
    unit: float = 1.0

    def px(self, length: float) -> int:
        """A length of the usual size in whole pixels of this picture."""
        return round(length * self.unit)

    def font(self, size: float) -> ImageFont.FreeTypeFont:
        """Letters of the usual ``size``."""
        return font(max(self.px(size), 1))

    def sheet(self, width: int, height: int) -> Image.Image:
        """Empty paper of that many pixels."""
        return Image.new("RGB", (width, height), self.paper.ground)


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The letters Pillow brings along, ``size`` pixels high."""
    letters = ImageFont.load_default(size=size)
    assert isinstance(letters, ImageFont.FreeTypeFont)
    return letters


def fitted_font(style: Style, text: str, size: float, smallest: float, width: float) -> ImageFont.FreeTypeFont:
    """Letters between ``smallest`` and ``size``, as large as lets ``text`` fit ``width`` pixels where any do."""
    full = style.font(size).getlength(text)
    return style.font(size if full <= width else max(smallest, size * width / full * 0.98))


def wrapped(text: str, letters: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """``text`` in lines of at most ``width`` pixels, broken after a space, "/", "-" or "_" where there is one.

    Every character is kept, spaces at a break excepted.
    """
    lines, line = [], ""
    for character in text:
        if line and letters.getlength(line + character) > width:
            place = max(line.rfind(mark) for mark in " /_-") + 1 or len(line)
            # A break near the line's start would leave it all but empty.
            place = place if place > len(line) // 2 else len(line)
            lines.append(line[:place].rstrip())
            line = line[place:].lstrip()
        line += character
    return [*lines, line.rstrip()]


def flowing_legend(entries: Sequence[tuple[RGB, str]], width: int, style: Style) -> Image.Image:
    """Swatches with their names, over as many lines of ``width`` pixels as they need; one pixel high without any."""
    letters, line, box = style.font(17), style.px(30), style.px(16)
    text_at, apart = style.px(24), style.px(26)
    places, x, y = [], 0.0, 0
    for color, text in entries:
        for part, piece in enumerate(wrapped(text, letters, width - text_at)):
            need = text_at + letters.getlength(piece)
            if x > 0 and (part or x + need > width):
                x, y = 0.0, y + line
            places.append((x, y, None if part else color, piece))
            x += need + apart
    strip = style.sheet(width, y + line + style.px(10) if places else 1)
    pen = ImageDraw.Draw(strip)
    for x, y, swatch, text in places:
        middle = y + style.px(20)
        if swatch is not None:
            corners = (x, middle - box / 2, x + box, middle + box / 2)
            pen.rounded_rectangle(corners, radius=style.px(3), fill=swatch, outline=style.paper.faint)
        pen.text((x + text_at, middle), text, fill=style.paper.ink, font=letters, anchor="lm")
    return strip


def headline(title: str, facts: Sequence[str], width: int, style: Style) -> Image.Image:
    """A large title over small facts, wrapped to ``width`` pixels."""
    large, small = style.font(22), style.font(15)
    lines = [(line, large, style.paper.ink, style.px(28)) for line in wrapped(title, large, width)]
    lines += [(line, small, style.paper.faint, style.px(22)) for fact in facts for line in wrapped(fact, small, width)]
    sheet = style.sheet(width, sum(height for *_, height in lines) + style.px(8))
    pen, y = ImageDraw.Draw(sheet), 0
    for line, letters, color, height in lines:
        pen.text((0, y + height / 2), line, fill=color, font=letters, anchor="lm")
        y += height
    return sheet


def stacked(strips: Sequence[Image.Image], style: Style) -> Image.Image:
    """The strips below each other, with a margin around them."""
    margin = style.px(MARGIN)
    width = max(strip.width for strip in strips)
    sheet = style.sheet(width + 2 * margin, sum(strip.height for strip in strips) + 2 * margin)
    top = margin
    for strip in strips:
        sheet.paste(strip, (margin, top))
        top += strip.height
    return sheet


def vertical_text(
    sheet: Image.Image, middle: tuple[float, float], text: str, letters: ImageFont.FreeTypeFont, paper: Paper = LIGHT
) -> None:
    """Text that reads upwards around ``middle``."""
    ascent, descent = letters.getmetrics()
    strip = Image.new("RGB", (math.ceil(letters.getlength(text)) + 2, ascent + descent), paper.ground)
    ImageDraw.Draw(strip).text((0, strip.height / 2), text, fill=paper.ink, font=letters, anchor="lm")
    turned = strip.rotate(90, expand=True)
    sheet.paste(turned, (round(middle[0] - turned.width / 2), round(middle[1] - turned.height / 2)))


def scale_bar(pen: ImageDraw.ImageDraw, scale: float, right: int, y: int, longest: float, style: Style) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres, at most ``longest`` pixels, that ends at ``right``.

    Args:
        pen: draws on the picture.
        scale: metres per pixel.
        right: pixel.
        y: pixel of the bar's middle.
        longest: pixels.
        style: of the picture.
    """
    metres = 10.0 ** math.floor(math.log10(scale * longest))
    metres *= max(step for step in (1, 2, 5) if step * metres <= scale * longest)
    left, thick, tick = right - metres / scale, style.px(3), style.px(5)
    pen.line((left, y, right, y), fill=style.paper.ink, width=thick)
    for x in (left, right):
        pen.line((x, y - tick, x, y + tick), fill=style.paper.ink, width=style.px(2))
    pen.text((left - style.px(10), y), length_text(metres), fill=style.paper.ink, font=style.font(14), anchor="rm")


def length_text(metres: float) -> str:
    """A length for people: "20 m", "5 cm", "1 mm"."""
    unit, factor = next(
        ((unit, factor) for unit, factor in (("km", 1e3), ("m", 1), ("cm", 1e-2)) if metres >= factor), ("mm", 1e-3)
    )
    return f"{metres / factor:g} {unit}"


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that cover ``low`` to ``high``, about ``wanted`` of them."""
    span = high - low if high > low else max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= wanted)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [k * step for k in range(first, last + 1)]


def contrast(one: RGB, other: RGB) -> float:
    """The contrast of two colours, 1 to 21, as the Web Content Accessibility Guidelines 2.1 define it."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def readable_on(fill: RGB) -> RGB:
    """Black or white ink, whichever stands out more from ``fill``."""
    return max(((0, 0, 0), (255, 255, 255)), key=lambda ink: contrast(ink, fill))


def _luminance(color: RGB) -> float:
    channels = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
