"""The pictures of docs/training.md: learning rates, class weights, label smoothing and the losses on annotated points.

python scripts/training_pictures.py --out docs/images

Every number is computed by the code that training uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from data_prep.synthetic import make_room
from data_prep.synthetic.plan import plan_area
from pointseg.atomic import replacing_file
from pointseg.data.classes import Classes, load_classes
from pointseg.data.label_weights import KINDS, class_weights
from pointseg.methods.base import labelled_cross_entropy
from pointseg.methods.lovasz import lovasz_softmax
from pointseg.training.schedule import SCHEDULES, OptimizerConfig, learning_rate
from pointseg.viewing.drawing import RGB, Style, flowing_legend, headline, nice_ticks, stacked, vertical_text
from pointseg.viewing.palettes import SAFE

STEPS, WARMUP, PEAK = 1000, 50, 0.005
SMOOTHING = 0.1
ROOMS, DENSITY, RATE = 8, 300.0, 0.001
"""Of the labels counted: rooms, points per square metre, share of the points."""

WIDTH, HEIGHT = 860, 340  # of a plot
STYLE = Style()

Lines = Mapping[str, Sequence[tuple[float, float]]]
"""Name of a line -> its points (x, y)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    classes = load_classes("s3dis")
    pictures = {
        "schedules": schedules(),
        "class_weights": weights(labelled_counts(classes), classes),
        "label_smoothing": smoothed_target(classes),
        "losses": losses(),
    }
    for name, picture in pictures.items():
        path = out / f"training_{name}.png"
        with replacing_file(path) as unfinished:
            picture.quantize(128, Image.Quantize.FASTOCTREE).save(unfinished, format="PNG", optimize=True)
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def schedules() -> Image.Image:
    """The learning rate of every step under each schedule."""
    lines = {}
    for name in SCHEDULES:
        config = OptimizerConfig(lr=PEAK, schedule=name, warmup_steps=WARMUP)
        title = name if name == "onecycle" else f"{name}, warmup_steps: {WARMUP}"
        lines[title] = [(step, learning_rate(step, STEPS, config)) for step in range(STEPS)]
    return plot(f"Learning rate, optimizer.lr: {PEAK}, steps: {STEPS:,}", [], lines, "step", "learning rate")


def losses() -> Image.Image:
    """The loss of one annotated row of two classes, by the probability of its class."""
    smoothing = torch.full((2,), SMOOTHING / 2)
    kinds: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
        "cross-entropy": labelled_cross_entropy,
        f"with label_smoothing: {SMOOTHING}": lambda x, y: labelled_cross_entropy(x, y, smoothing=smoothing),
        "Lovasz-Softmax alone": lovasz_softmax,
    }
    label, lines = torch.tensor([0]), {}
    for name, loss in kinds.items():
        shares = np.linspace(0.02, 0.995, 120)
        rows = [torch.tensor([[p, 1 - p]]).log() for p in shares.tolist()]
        lines[name] = [(p, float(loss(row, label))) for p, row in zip(shares.tolist(), rows, strict=True)]
    facts = [
        "cross-entropy grows without end; with smoothing it is lowest before certainty;",
        "Lovasz-Softmax stands for 1 - IoU and is at most 1",
    ]
    return plot("Loss of one annotated point, two classes", facts, lines, "probability of its class", "loss")


def plot(title: str, facts: Sequence[str], lines: Lines, across: str, upwards: str) -> Image.Image:
    """Lines from the origin on, one colour each, over a legend."""
    colors = dict(zip(lines, ([int(c) for c in SAFE[k]] for k in (4, 5, 2)), strict=True))
    every = np.array([point for line in lines.values() for point in line])
    x_ticks, y_ticks = nice_ticks(0, every[:, 0].max()), nice_ticks(0, every[:, 1].max())
    sheet, left, top, right, bottom = STYLE.sheet(WIDTH, HEIGHT), 80, 16, WIDTH - 20, HEIGHT - 56
    pen, small = ImageDraw.Draw(sheet), STYLE.font(14)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / x_ticks[-1], bottom - (bottom - top) * y / y_ticks[-1]

    for tick in y_ticks:
        y = place(0, tick)[1]
        pen.line((left, y, right, y), fill=STYLE.paper.grid)
        pen.text((left - 8, y), f"{tick:g}", fill=STYLE.paper.faint, font=small, anchor="rm")
    for tick in x_ticks:
        x = place(tick, 0)[0]
        pen.line((x, bottom, x, bottom + 5), fill=STYLE.paper.faint)
        pen.text((x, bottom + 17), f"{tick:,g}", fill=STYLE.paper.faint, font=small, anchor="mm")
    pen.text(((left + right) / 2, bottom + 40), across, fill=STYLE.paper.ink, font=STYLE.font(15), anchor="mm")
    vertical_text(sheet, (14, (top + bottom) / 2), upwards, STYLE.font(15))
    for name, line in lines.items():
        pen.line([place(x, y) for x, y in line], fill=tuple(colors[name]), width=3, joint="curve")
    entries = [((red, green, blue), name) for name, (red, green, blue) in colors.items()]
    return stacked([headline(title, facts, WIDTH, STYLE), sheet, flowing_legend(entries, WIDTH, STYLE)], STYLE)


def labelled_counts(classes: Classes) -> np.ndarray:
    """(K,) labelled points of each class in rooms of the first area, drawn evenly."""
    segment = np.concatenate([make_room(plan, 0, DENSITY).segment for plan in plan_area(1, ROOMS, 0)])
    drawn = np.random.default_rng(0).choice(segment, round(RATE * len(segment)), replace=False)
    return np.bincount(drawn[drawn >= 0], minlength=classes.num_classes)


def weights(counts: np.ndarray, classes: Classes) -> Image.Image:
    """The part of the loss that every class carries under each setting, while all points are equally wrong."""
    there = np.flatnonzero(counts)
    rows = there[np.argsort(-counts[there], kind="stable")]
    columns = {"none": np.ones(len(counts))} | {kind: class_weights(counts, kind) for kind in KINDS}
    columns = {kind: value * counts.sum() / (value * counts).sum() for kind, value in columns.items()}
    shares = {kind: value * counts / counts.sum() for kind, value in columns.items()}
    most = max(float(share.max()) for share in shares.values())
    label, column, line = 180, 240, 28
    sheet = STYLE.sheet(label + column * len(columns), 40 + line * len(rows))
    pen, ink = ImageDraw.Draw(sheet), STYLE.paper.ink
    for number, (kind, value) in enumerate(columns.items()):
        x = label + column * number
        pen.text((x, 16), kind, fill=ink, font=STYLE.font(17), anchor="lm")
        for place, k in enumerate(rows):
            part, text = shares[kind][k], f"{100 * shares[kind][k]:.1f} %,  {value[k]:.2f}"
            bar(pen, (x, 40 + line * place), (column - 128) * part / most, color_of(classes, k), text)
    for place, k in enumerate(rows):
        y = 40 + line * place + 10
        pen.text((0, y), classes.names[k], fill=ink, font=STYLE.font(16), anchor="lm")
        pen.text((label - 16, y), f"{counts[k]:,}", fill=STYLE.paper.faint, font=STYLE.font(15), anchor="rm")
    facts = [
        f"bars: share of the loss while all {counts.sum():,} labelled points (grey: of a class) are equally wrong; "
        "then the weight of one point, 1 on average"
    ]
    return stacked([headline("loss.class_weights", facts, sheet.width, STYLE), sheet], STYLE)


def smoothed_target(classes: Classes) -> Image.Image:
    """What a point annotated as a chair is to be taken for, without and with label smoothing."""
    count, chair = classes.num_classes, classes.names.index("chair")
    targets = [target(chair, torch.full((count,), share / count)) for share in (0.0, SMOOTHING)]
    label, column, line = 110, 300, 24
    sheet = STYLE.sheet(label + 2 * column, 40 + line * count)
    pen = ImageDraw.Draw(sheet)
    for number, share in enumerate((0.0, SMOOTHING)):
        x, title = label + column * number, f"label_smoothing: {share:g}"
        pen.text((x, 16), title, fill=STYLE.paper.ink, font=STYLE.font(17), anchor="lm")
        for k in range(count):
            part = float(targets[number][k])
            bar(pen, (x, 40 + line * k), (column - 90) * part, color_of(classes, k), f"{part:.3f}")
    for k, name in enumerate(classes.names):
        pen.text((0, 50 + line * k), name, fill=STYLE.paper.ink, font=STYLE.font(16), anchor="lm")
    facts = ["probability of each class that has the least loss"]
    return stacked([headline("Target of a point annotated as chair", facts, sheet.width, STYLE), sheet], STYLE)


def target(label: int, smoothing: torch.Tensor) -> np.ndarray:
    """(K,) the probabilities at which the cross-entropy of a row is lowest: the gradient's distance from its own."""
    logits = torch.zeros(1, len(smoothing), requires_grad=True)
    labelled_cross_entropy(logits, torch.tensor([label]), smoothing=smoothing).backward()
    assert logits.grad is not None
    return (logits.softmax(1) - logits.grad)[0].detach().numpy()


def bar(pen: ImageDraw.ImageDraw, corner: tuple[float, float], length: float, color: RGB, text: str) -> None:
    """A bar from its upper left corner on, its number behind it."""
    x, y = corner
    pen.rectangle((x, y, x + max(length, 1), y + 18), fill=color, outline=STYLE.paper.faint)
    pen.text((x + max(length, 1) + 8, y + 10), text, fill=STYLE.paper.ink, font=STYLE.font(15), anchor="lm")


def color_of(classes: Classes, k: int) -> RGB:
    red, green, blue = classes.colors[k].tolist()
    return red, green, blue


if __name__ == "__main__":
    main()
