"""How the pseudo-labels of one scene change while a network trains: uncertainty and rightness, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.captions import ramp_bar
from pointseg.viewing.cloud import IGNORED, Cloud
from pointseg.viewing.colors import CONFIDENCE_RAMP, IGNORED_COLOR, WRONG_COLOR, check_classes, ramp
from pointseg.viewing.drawing import RGB, Style, flowing_legend, headline, nice_ticks, stacked
from pointseg.viewing.opening import cut_ceiling
from pointseg.viewing.splat import fit_camera, paint, point_size_for, rasterize, top_axes, view_bounds

Snapshot = tuple[int, Cloud]

_MOST_SHOWN = 7  # as many as a training keeps
_PANEL, _GAP = 208, 14
_CURVE_WIDTH = 600  # at least
_CURVE_HEIGHT = 200
_RIGHT: RGB = (86, 180, 233)
_NONE: RGB = (224, 228, 233)
_ACCURACY: RGB = (0, 114, 178)
_COVERAGE: RGB = (180, 80, 0)


def pseudo_label_evolution(snapshots: Sequence[Snapshot], classes: Classes) -> Image.Image:
    """Entropy and rightness of a scene's pseudo-labels over training, and how many there are and how many are right.

    Up to seven snapshots are drawn from above, a ceiling cut away, the first and the last among them; the curve runs
    through all. Coverage is the share of the points with a true class that have a pseudo-label, accuracy the share of
    right ones among these. The colours of entropy run between the ends that occur, which the bar names.

    Args:
        snapshots: (step, cloud with ``pseudo``, ``entropy`` and ``gt``) of one scene, by rising step.
        classes: names and colours of the class ids.

    Raises:
        InputError: if there is no snapshot, the steps do not rise, a cloud has no points or lacks one of the parts,
            or ``classes`` does not cover its ids.
    """
    _check(snapshots, classes)
    style = Style()
    shown = [snapshots[i] for i in np.unique(np.linspace(0, len(snapshots) - 1, _MOST_SHOWN).round().astype(int))]
    width = max(len(shown) * (_PANEL + _GAP) - _GAP, _CURVE_WIDTH)
    some = f"{len(shown)} of {len(snapshots):,} snapshots shown; " if len(shown) < len(snapshots) else ""
    title = f"Pseudo-labels of {shown[0][1].name or 'a scene'} over training"
    facts = [f"{some}from above without a ceiling, numbers of the whole scene"]
    strips = [headline(title, facts, width, style), _panels(shown, classes, width, style)]
    legend: list[tuple[RGB, str]] = [(_RIGHT, "pseudo-label right"), (WRONG_COLOR, "wrong"), (_NONE, "no pseudo-label")]
    if any((cloud.gt == IGNORED).any() for _, cloud in shown):
        legend.append((IGNORED_COLOR, "no true class"))
    strips += [flowing_legend(legend, width, style), _curve(snapshots, width, style)]
    return stacked(strips, style)


def pseudo_label_scores(cloud: Cloud) -> tuple[float, float]:
    """Accuracy and coverage in [0, 1] of a cloud's pseudo-labels; NaN where nothing can be counted."""
    assert cloud.gt is not None
    assert cloud.pseudo is not None
    known = cloud.gt != IGNORED
    given = known & (cloud.pseudo != IGNORED)
    accuracy = float((cloud.pseudo[given] == cloud.gt[given]).mean()) if given.any() else float("nan")
    return accuracy, float(given.sum() / known.sum()) if known.any() else float("nan")


def _check(snapshots: Sequence[Snapshot], classes: Classes) -> None:
    if not snapshots:
        raise InputError("there is no snapshot of pseudo-labels to draw; give at least one.")
    steps = [step for step, _ in snapshots]
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise InputError(f"the snapshots' steps are {steps}; they must rise, one snapshot a step.")
    for step, cloud in snapshots:
        for part in ("pseudo", "entropy", "gt"):
            if getattr(cloud, part) is None:
                raise InputError(f"the snapshot of step {step} has no {part}; it needs pseudo, entropy and gt.")
        if cloud.num_points == 0:
            raise InputError(f"the snapshot of step {step} has no points, so there is nothing to draw.")
        check_classes(cloud, classes)


def _panels(shown: Sequence[Snapshot], classes: Classes, width: int, style: Style) -> Image.Image:
    """A column a snapshot: its step, its entropy and the mean of it, its pseudo-labels' rightness, its numbers."""
    cut = [cloud.take(cut_ceiling(cloud.coord).keep) for _, cloud in shown]
    low, high = view_bounds(cut[0].coord, top_axes())
    extent = np.maximum(high - low, 1e-6)
    size = (_PANEL, int(_PANEL * np.clip(extent[1] / extent[0] * 1.02, 0.4, 1.4)))
    camera = fit_camera(cut[0].coord, top_axes(), size)
    ends = _entropy_ends([cloud for _, cloud in shown], classes)
    sheet = style.sheet(width, 2 * size[1] + 164)
    pen, ink, letters = ImageDraw.Draw(sheet), style.paper.ink, style.font(16)
    for column, ((step, whole), cloud) in enumerate(zip(shown, cut, strict=True)):
        x = column * (_PANEL + _GAP)
        raster = rasterize(cloud.coord, camera, size, point_size_for(cloud.coord, camera))
        middle = x + _PANEL / 2
        assert whole.entropy is not None
        pen.text((middle, 14), f"step {step:,}", fill=ink, font=style.font(18), anchor="mm")
        sheet.paste(Image.fromarray(paint(raster, _uncertainty(cloud, *ends))), (x, 30))
        mean = f"mean entropy {float(whole.entropy.mean()):.2f}"
        pen.text((middle, 44 + size[1]), mean, fill=ink, font=letters, anchor="mm")
        sheet.paste(Image.fromarray(paint(raster, _rightness(cloud))), (x, 98 + size[1]))
        accuracy, coverage = pseudo_label_scores(whole)
        for line, text in enumerate((f"{_percent(coverage)} labelled", f"{_percent(accuracy)} of them right")):
            pen.text((middle, 114 + 22 * line + 2 * size[1]), text, fill=ink, font=letters, anchor="mm")
    text = "entropy H(p) of the class probabilities p:"
    pen.text((0, 74 + size[1]), text, fill=ink, font=style.font(15), anchor="lm")
    bar = ramp_bar("entropy", f"{ends[0]:.2f}", f"{ends[1]:.2f} nats", 260, style)
    sheet.paste(bar, (round(style.font(15).getlength(text)), 62 + size[1]))
    return sheet


def _entropy_ends(clouds: Sequence[Cloud], classes: Classes) -> tuple[float, float]:
    """Nats between which the ramp runs: what occurs but for a hundredth at either end, a tenth of log K at least."""
    most = float(np.log(max(classes.num_classes, 2)))
    entropy = np.concatenate([cloud.entropy for cloud in clouds if cloud.entropy is not None])
    low, high = (float(end) for end in np.percentile(entropy, [1, 99]))
    low = max(min(low, high - most / 10), 0.0)
    return low, max(high, low + most / 10)


def _uncertainty(cloud: Cloud, low: float, high: float) -> np.ndarray:
    """(N, 3) uint8 colours of the entropy between two ends: sure is light."""
    assert cloud.entropy is not None
    return ramp(1 - np.clip((cloud.entropy - low) / (high - low), 0, 1), CONFIDENCE_RAMP)


def _rightness(cloud: Cloud) -> np.ndarray:
    """(N, 3) uint8 colours: right, wrong, without a pseudo-label, without a true class."""
    assert cloud.gt is not None
    assert cloud.pseudo is not None
    state = np.where(cloud.pseudo == cloud.gt, 0, 1)
    state[cloud.pseudo == IGNORED] = 2
    state[cloud.gt == IGNORED] = 3
    return np.array([_RIGHT, WRONG_COLOR, _NONE, IGNORED_COLOR], dtype=np.uint8)[state]


def _curve(snapshots: Sequence[Snapshot], width: int, style: Style) -> Image.Image:
    """Accuracy and coverage in percent over the steps of all snapshots."""
    sheet = style.sheet(width, _CURVE_HEIGHT + 70)
    pen, left, top, small = ImageDraw.Draw(sheet), 56, 20, style.font(14)
    steps = [step for step, _ in snapshots]
    last, right = max(steps[-1], 1), width - 130

    def place(step: float, share: float) -> tuple[float, float]:
        return left + (right - left) * step / last, top + _CURVE_HEIGHT * (1 - share)

    for percent in range(0, 101, 25):
        x, y = place(0, percent / 100)
        pen.line((x, y, right, y), fill=style.paper.grid)
        pen.text((x - 8, y), f"{percent} %", fill=style.paper.faint, font=small, anchor="rm")
    for tick in (t for t in nice_ticks(0, last) if t <= last):
        x, y = place(tick, 0)
        pen.line((x, y, x, y + 4), fill=style.paper.faint)
        pen.text((x, y + 15), f"{tick:,g}", fill=style.paper.faint, font=small, anchor="mm")
    pen.text((right, top + _CURVE_HEIGHT + 36), "step", fill=style.paper.faint, font=small, anchor="rm")
    scores = np.array([pseudo_label_scores(cloud) for _, cloud in snapshots])
    ends = []
    for name, color, values in (("accuracy", _ACCURACY, scores[:, 0]), ("coverage", _COVERAGE, scores[:, 1])):
        dots = [place(step, value) for step, value in zip(steps, values, strict=True) if np.isfinite(value)]
        if len(dots) > 1:
            pen.line(dots, fill=color, width=3, joint="curve")
        for x, y in dots:
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=color)
        ends += [(dots[-1][1], name, color)] if dots else []
    if len(ends) == 2 and abs(ends[0][0] - ends[1][0]) < 18:
        # Names of lines that end together stand above each other, in the lines' order.
        middle, sign = (ends[0][0] + ends[1][0]) / 2, 1 if ends[0][0] <= ends[1][0] else -1
        ends = [(middle - 9 * sign, *ends[0][1:]), (middle + 9 * sign, *ends[1][1:])]
    for y, name, color in ends:
        pen.text((right + 12, y), name, fill=color, font=style.font(16), anchor="lm")
    return sheet


def _percent(share: float) -> str:
    return "none" if np.isnan(share) else f"{100 * share:.1f} %"
