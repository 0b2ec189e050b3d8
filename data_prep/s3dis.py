"""S3DIS's native rooms, ``RAW/Area_k/<room>/Annotations/<class>_<i>.txt``, to prepared scenes.

    python -m data_prep.s3dis --raw Stanford3dDataset_v1.2_Aligned_Version --out data/s3dis

Only the annotation files are read: the room files ``<room>.txt`` hold the same points once more without classes (and
have defects of their own), and ``Area_k_alignmentAngle.txt`` describes a rotation the aligned release has applied.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from data_prep._jobs import SceneJob, add_store_arguments, run_prepare
from data_prep._main import run_module
from data_prep._s3dis_counts import missing
from data_prep._s3dis_room import annotation_files, read_room
from pointseg.data.classes import Classes
from pointseg.errors import InputError

HELP = "S3DIS's native rooms (Area_*/<room>/Annotations/*.txt) to prepared, voxelised scenes."

_AREA = re.compile(r"Area_[0-9]+")


def jobs(
    raw: str | Path, classes: Classes, areas: Sequence[str] | None = None, *, normals: bool = False
) -> list[SceneJob]:
    """One job a room.

    Args:
        raw: Folder that holds ``Area_1``, ``Area_2``, ...
        classes: Their source ids are the words in the files' names.
        areas: Only these; None = whatever areas there are.
        normals: Whether to estimate normals.

    Raises:
        InputError: No such folder or area, or no rooms.
    """
    raw = Path(raw).absolute()
    found = _areas(raw, areas)
    result = [_job(raw, area, room, classes, normals) for area in found for room in _rooms(raw / area)]
    if not result:
        raise InputError(
            f"{raw} holds no rooms; expected folders such as {raw / found[0] / 'office_1' / 'Annotations'}"
        )
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this module's flags."""
    parser.add_argument("--raw", required=True, type=Path, help="folder that holds Area_1 ... Area_6")
    parser.add_argument("--areas", nargs="+", metavar="AREA", help="only these, such as Area_1 Area_5")
    parser.add_argument(
        "--normals", action="store_true", help="estimate normals, turned towards the middle of the room"
    )
    add_store_arguments(parser, classes="s3dis")


def run(args: argparse.Namespace) -> int:
    """Prepare and print what was done."""
    return run_prepare(
        args,
        "s3dis",
        lambda classes: jobs(args.raw, classes, args.areas, normals=args.normals),
        lambda: missing(args.raw, args.areas),
    )


def _job(raw: Path, area: str, room: str, classes: Classes, normals: bool) -> SceneJob:
    folder = raw / area / room / "Annotations"
    read = partial(read_room, folder=folder, raw=raw, labels=classes.labels_by_source(), normals=normals)
    settings = {"normals": "16 neighbours"} if normals else {}
    return SceneJob(area, room, tuple(annotation_files(folder)), raw, read, settings)


def _areas(raw: Path, wanted: Sequence[str] | None) -> list[str]:
    if not raw.is_dir():
        raise InputError(f"there is no folder {raw}; give the one that holds Area_1 ... Area_6 with --raw")
    found = sorted((p.name for p in raw.iterdir() if p.is_dir() and _AREA.fullmatch(p.name)), key=lambda n: int(n[5:]))
    if not found:
        inside = sorted(p.parent for p in raw.glob("*/Area_*") if p.is_dir())
        hint = f"did you mean {inside[0]}?" if inside else "give the folder that holds Area_1 ... Area_6 with --raw"
        raise InputError(f"{raw} holds no areas; {hint}")
    if wanted is None:
        return found
    for area in wanted:
        if area not in found:
            raise InputError(f"{raw} has no area {area!r}; it has {', '.join(found)}")
    return [area for area in found if area in wanted]


def _rooms(area: Path) -> list[str]:
    return sorted(p.name for p in area.iterdir() if p.is_dir() and not p.name.startswith("."))


if __name__ == "__main__":
    sys.exit(run_module(HELP, add_arguments, run))
