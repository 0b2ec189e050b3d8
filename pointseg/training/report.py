"""``report.md``: what came of a run, for people: scores, curves, pictures of predictions, warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pointseg.atomic import remove_unfinished, replacing_file, replacing_folder
from pointseg.training.config import TrainConfig
from pointseg.training.curves import Curve, draw_curves

REPORT, PICTURES = "report.md", "report"

HEADLINES = {"miou": "mIoU", "macc": "mean accuracy", "oacc": "overall accuracy", "miou_voxel": "mIoU of voxels"}


def write_report(
    folder: Path,
    config: TrainConfig,
    classes: Sequence[str],
    lines: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, Mapping[str, Image.Image]],
) -> Path:
    """Write ``report.md`` and its pictures into a run folder, over an older one.

    Args:
        folder: the run folder.
        config: the recipe.
        classes: K names.
        lines: of ``metrics.jsonl``.
        pictures: of each section, by what they show.

    Returns:
        The report's path.
    """
    by_kind = {kind: [line for line in lines if line["kind"] == kind] for kind in ("train", "eval", "time", "warning")}
    drawn = _write_pictures(folder, by_kind["train"], by_kind["eval"], pictures)
    parts = [
        f"# {folder.name}",
        f"{config.method_name}, {config.model.name}, labels {config.data.labels}, seed {config.seed}, "
        f"{config.steps} steps of {config.batch_size * config.accumulate} samples, {config.precision}. "
        "All settings: `config.yaml`.",
        *_scores(by_kind["eval"], classes),
        "## Curves" if "curves" in drawn else "",
        *(f"![{name}]({file})" for name, file in drawn.items() if name == "curves"),
        *_sections(pictures, drawn),
        *_warnings(by_kind["warning"]),
        f"Steps waited for data {by_kind['time'][-1]['data_wait']:.0%} of their time." if by_kind["time"] else "",
    ]
    with replacing_file(folder / REPORT) as unfinished:
        unfinished.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return folder / REPORT


def _sections(pictures: Mapping[str, Mapping[str, Image.Image]], drawn: Mapping[str, str]) -> list[str]:
    return [
        text
        for title, images in pictures.items()
        if images
        for text in (f"## {title}", *(f"![{name}]({drawn[name]})" for name in images))
    ]


def _scores(evaluations: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[str]:
    if not evaluations:
        return ["## Scores", "Nothing was scored: the recipe holds no split out."]
    last, best = evaluations[-1], max(evaluations, key=lambda line: line["miou"] if _there(line, "miou") else -1.0)
    head = [f"| | last, step {last['step']} | best mIoU, step {best['step']} |", "|---|---:|---:|"]
    headlines = [f"| {text} | {_percent(last, key)} | {_percent(best, key)} |" for key, text in HEADLINES.items()]
    of_classes = [f"| {name} | {_percent(last, f'iou_{name}')} | {_percent(best, f'iou_{name}')} |" for name in classes]
    return [
        "## Scores",
        "\n".join([*head, *headlines]),
        "IoU of each class on raw points, %; - where no scored point is of it. The best step was chosen by looking at "
        "these scores.",
        "\n".join([head[0].replace("| |", "| class |"), head[1], *of_classes]),
    ]


def _percent(line: Mapping[str, Any], key: str) -> str:
    return f"{100 * line[key]:.1f}" if _there(line, key) else "-"


def _there(line: Mapping[str, Any], key: str) -> bool:
    """Whether a line has a number for a key; the score of nothing is NaN."""
    return math.isfinite(line.get(key, math.nan))


def _warnings(warnings: Sequence[Mapping[str, Any]]) -> list[str]:
    return ["## Warnings", "\n".join(f"- {line['text']}" for line in warnings)] if warnings else []


def _write_pictures(
    folder: Path,
    training: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, Mapping[str, Image.Image]],
) -> dict[str, str]:
    """Draw and write all pictures; the file of each, relative to the run folder."""
    series = {"training loss": (training, "loss", 1), "mIoU of the held-out scenes, %": (evaluations, "miou", 100)}
    curves = [
        Curve(title, [(line["step"], factor * line[key]) for line in lines if _there(line, key)])
        for title, (lines, key, factor) in series.items()
        if any(_there(line, key) for line in lines)
    ]
    images = {"curves": draw_curves(curves)} if curves else {}
    images |= {name: image for section in pictures.values() for name, image in section.items()}
    files = {name: f"{PICTURES}/{number}.png" for number, name in enumerate(images)}
    remove_unfinished(folder, PICTURES)
    with replacing_folder(folder / PICTURES) as unfinished:
        for name, image in images.items():
            image.save(unfinished / Path(files[name]).name, format="PNG")
    return files
