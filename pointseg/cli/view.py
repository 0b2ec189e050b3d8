"""``pointseg view``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.data.classes import Classes, load_classes
from pointseg.data.scene import open_scene
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import numbered_classes
from pointseg.viewing.figure import scene_png
from pointseg.viewing.html import scene_html
from pointseg.viewing.ply import read_ply, read_ply_classes

HELP = """Draw a cloud as a picture (PNG) and as a page for any browser (HTML), both readable offline.

  pointseg view runs/erda/predictions/Area_5/office_1.ply
  pointseg view runs/erda/predictions --out pictures
  pointseg view prepared/Area_5/office_1 --html office.html
  pointseg view scan.ply --classes s3dis

TARGET is a PLY file with x, y, z (colours and labels are shown where it has them), a folder of PLY files, or a
prepared scene folder. Without --png and --html both are written, beside the target or into --out."""


@dataclass(frozen=True)
class _Target:
    """One cloud to draw: where it lies, and the path without suffix that its picture and page get by default."""

    source: Path
    result: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("target", metavar="TARGET", type=Path, help="PLY file, folder of PLY files or prepared scene")
    parser.add_argument("--png", metavar="FILE", type=Path, help="write only the picture (and the page with --html)")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write only the page (and the picture with --png)")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for pictures and pages; made if absent")
    parser.add_argument(
        "--classes", metavar="NAME_OR_FILE", help="class names and colours, instead of the target's own"
    )


def run(args: argparse.Namespace) -> int:
    """Draw everything in the target; 1 if some but not all of a folder's files could be drawn."""
    targets = _targets(args.target, args.out)
    one_file = args.png is not None or args.html is not None
    if one_file and len(targets) > 1:
        raise InputError(
            f"{args.target} holds {len(targets)} PLY files; --png and --html name one file, use --out DIR."
        )
    if one_file and args.out is not None:
        raise InputError("--out says where both files go, --png and --html name each; give one or the other.")
    pages, failed = [], []
    for target in targets:
        png = args.png if one_file else target.result.with_name(target.result.name + ".png")
        page = args.html if one_file else target.result.with_name(target.result.name + ".html")
        try:
            _draw(target.source, png, page, args.classes)
        except InputError as error:
            if len(targets) == 1:
                raise
            print(f"error: {error}", file=sys.stderr)
            failed.append(target.source)
            continue
        pages += [page] if page is not None else []
    if len(failed) == len(targets):
        raise InputError(f"none of the {len(targets)} PLY files in {args.target} could be drawn.")
    if pages:
        print(f"\nOpen {pages[0]} in a browser; it needs no network, so it can be copied or mailed as it is.")
    return 1 if failed else 0


def _targets(target: Path, out: Path | None) -> list[_Target]:
    if target.is_file():
        if target.suffix.lower() != ".ply":
            raise InputError(f"{target} is not a PLY file; give a .ply, a folder of them or a prepared scene folder.")
        return [_Target(target, (out or target.parent) / target.stem)]
    if not target.is_dir():
        raise InputError(f"there is no {target}; give a PLY file, a folder of them or a prepared scene folder.")
    if (target / "coord.npy").is_file():
        return [_Target(target, (out or target.resolve().parent) / target.resolve().name)]
    files = sorted(path for path in target.rglob("*") if path.suffix.lower() == ".ply" and path.is_file())
    if not files:
        raise InputError(f"{target} holds no PLY file and is no prepared scene folder (it has no coord.npy).")
    return [_Target(path, (out or target) / path.relative_to(target).with_suffix("")) for path in files]


def _draw(source: Path, png: Path | None, page: Path | None, given: str | None) -> None:
    cloud = _load(source)
    classes = load_classes(given) if given is not None else _own_classes(source)
    if classes is None:
        classes = numbered_classes(cloud.num_classes)
        if cloud.num_classes:
            print(
                f"{source}: no class names are known, so ids are shown as 'class 0' and on; name them with --classes."
            )
    for path, write in ((png, scene_png), (page, scene_html)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            print(write(path, cloud, classes))


def _load(source: Path) -> Cloud:
    if source.is_file():
        return read_ply(source)
    scene = open_scene(source)
    x, y, z = scene.meta["offset"]
    return Cloud(
        coord=np.asarray(scene.coord),
        color=scene.color,
        gt=scene.segment,
        name=f"{scene.split}/{scene.name}",
        offset=(x, y, z),
    )


def _own_classes(source: Path) -> Classes | None:
    """The classes written inside a PLY file, or those of the prepared root a scene lies in."""
    if source.is_file():
        return read_ply_classes(source)
    class_file = source.resolve().parent.parent / "classes.yaml"
    return load_classes(class_file) if class_file.is_file() else None
