"""ScanNet v2's native scenes, ``RAW/scans/<scene>/`` and ``RAW/scans_test/<scene>/``, to prepared scenes.

    python -m data_prep.scannet --raw ScanNet --out data/scannet

A scene's points are the vertices of ``<scene>_vh_clean_2.ply``, in that file's order, so that lists of vertex numbers
count its points. Coordinates are those of the file unless ``--axis-align`` is given.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep._jobs import SceneJob, add_store_arguments, run_prepare
from data_prep._main import run_module
from data_prep._scannet_lists import SPLITS, read_scene_list
from data_prep._scannet_objects import AGGREGATION, INFO, LABEL_TABLE, LABELS, MESH, SEGMENTS
from data_prep._scannet_scene import Reading, read_scene
from pointseg.data.classes import Classes
from pointseg.errors import InputError

HELP = "ScanNet v2's native scenes (meshes, labels, annotated objects) to prepared, voxelised scenes."

COLUMNS = {20: "nyu40id", 200: "id"}
"""Column of the label table that holds a benchmark's source ids."""

CLASSES_OF_BENCHMARK = "scannet20 or scannet200, as --benchmark says"

FOLDERS = ("scans", "scans_test")
_SHOWN = 3


@dataclass(frozen=True)
class Plan:
    """Which scenes there are to prepare, and what the user should know about the others.

    Attributes:
        scenes: Split and folder of every scene.
        label_table: Where it is; None = nowhere.
        notes: One sentence each.
    """

    scenes: tuple[tuple[str, Path], ...]
    label_table: Path | None
    notes: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this module's flags."""
    parser.add_argument("--raw", required=True, type=Path, help="folder that holds scans (and scans_test)")
    parser.add_argument(
        "--benchmark",
        type=int,
        choices=sorted(COLUMNS),
        default=20,
        help="number of classes (default: %(default)s)",
    )
    splits = parser.add_mutually_exclusive_group()
    splits.add_argument(
        "--splits-from",
        type=Path,
        metavar="META",
        help=f"folder of {', '.join(SPLITS.values())} (default: RAW, RAW/meta or RAW/..)",
    )
    splits.add_argument("--split", metavar="NAME", help="without lists: every scene of scans belongs to this split")
    parser.add_argument(
        "--train-list",
        type=Path,
        metavar="FILE",
        help="of the train split only the scenes in this list, such as limited_reconstruction/10.txt",
    )
    parser.add_argument(
        "--labels-from",
        choices=("ply", "aggregation"),
        help="the 20 classes from labels.ply or from the annotated objects (default: ply); the 200 are always from "
        "the objects",
    )
    parser.add_argument(
        "--axis-align", action="store_true", help="turn every scene by the axisAlignment of its info file"
    )
    add_store_arguments(parser, classes=CLASSES_OF_BENCHMARK)


def run(args: argparse.Namespace) -> int:
    """Prepare and print what was done."""
    if args.benchmark == 200 and args.labels_from == "ply":
        raise InputError(
            "--labels-from ply is for --benchmark 20: labels.ply holds NYU40 ids, which the 200 classes cannot be told "
            "from; leave it out"
        )
    own, other = (f"scannet{k}" for k in (args.benchmark, 220 - args.benchmark))
    if args.classes == other:
        raise InputError(f"--classes is {other}, but --benchmark is {args.benchmark}; choose the same for both")
    if args.classes == CLASSES_OF_BENCHMARK:
        args.classes = own
    labels_from = args.labels_from or ("ply" if args.benchmark == 20 else "aggregation")
    notes: list[str] = []

    def jobs(classes: Classes) -> list[SceneJob]:
        found = plan(args.raw, splits_from=args.splits_from, split=args.split, train_list=args.train_list)
        notes.extend([*found.notes, *lacking(found, labels_from)])
        return scene_jobs(
            found, args.raw, classes, benchmark=args.benchmark, labels_from=labels_from, axis_align=args.axis_align
        )

    dataset = "scannet" if args.benchmark == 20 else "scannet200"
    return run_prepare(args, dataset, jobs, lambda: notes)


def plan(
    raw: Path, *, splits_from: Path | None = None, split: str | None = None, train_list: Path | None = None
) -> Plan:
    """Find the scenes and the split of each.

    Args:
        raw: Folder that holds ``scans``.
        splits_from: Folder of the official lists; None = ``raw``, ``raw/meta`` or the folder above, the first with one.
        split: Instead of lists: the split of every scene below ``scans``; those below ``scans_test`` are ``test``.
        train_list: Of the scenes of the train split only those in this file.

    Raises:
        InputError: No such folder, no lists, or no scenes.
    """
    # Absolute, because workers elsewhere may start in another folder.
    raw, splits_from = raw.absolute(), splits_from and splits_from.absolute()
    folders = _scene_folders(raw)
    if split is not None:
        scenes = tuple(("test" if p.parent.name == "scans_test" else split, p) for p in folders.values())
        return Plan(_limited(scenes, train_list), _label_table(raw, None), ())
    meta = _meta(raw, splits_from)
    lists = {name: read_scene_list(meta / file) for name, file in SPLITS.items() if (meta / file).is_file()}
    scenes = tuple((name, folders[scene]) for name, listed in lists.items() for scene in listed if scene in folders)
    if not scenes:
        raise InputError(f"none of the {len(folders)} scenes in {raw} is in the lists of {meta}; give --split NAME")
    notes = []
    for name, file in SPLITS.items():
        absent = [scene for scene in lists.get(name, ()) if scene not in folders]
        if absent:
            notes.append(f"{len(absent)} of the {len(lists[name])} scenes of {file} are not there: {_some(absent)}")
        if name not in lists:
            notes.append(f"{meta} has no {file}, so no scene is in the split {name}")
    unlisted = sorted(set(folders) - {folder.name for _, folder in scenes})
    if unlisted:
        notes.append(f"{len(unlisted)} scenes are in none of the lists and left out: {_some(unlisted)}")
    return Plan(_limited(scenes, train_list), _label_table(raw, meta), tuple(notes))


def _limited(scenes: tuple[tuple[str, Path], ...], train_list: Path | None) -> tuple[tuple[str, Path], ...]:
    if train_list is None:
        return scenes
    wanted = set(read_scene_list(train_list))
    if not any(split == "train" and folder.name in wanted for split, folder in scenes):
        raise InputError(f"none of the {len(wanted)} scenes of {train_list} is in the train split here; leave it out")
    return tuple((split, folder) for split, folder in scenes if split != "train" or folder.name in wanted)


def scene_jobs(
    scenes: Plan, raw: Path, classes: Classes, *, benchmark: int, labels_from: str, axis_align: bool
) -> list[SceneJob]:
    """One job a scene.

    Args:
        scenes: What there is.
        raw: Folder that holds ``scans``.
        classes: Their source ids are NYU40 ids (``benchmark`` 20) or ids of the label table (200).
        benchmark: 20 or 200.
        labels_from: ``ply`` or ``aggregation``.
        axis_align: Turn the scenes' axes to their walls.

    Raises:
        InputError: The label table is needed and not there, or the class file's source ids are words.
    """
    raw, labels = raw.absolute(), _numbered(classes)
    settings = {"benchmark": benchmark, "labels_from": labels_from, "axis_align": axis_align}
    jobs = []
    for split, folder in scenes.scenes:
        sources = _sources(folder, scenes.label_table, labelled=split != "test", axis_align=axis_align)
        needs_table = split != "test" and (
            labels_from == "aggregation" or folder / f"{folder.name}{LABELS}" not in sources
        )
        if needs_table and scenes.label_table is None:
            raise InputError(
                f"there is no {LABEL_TABLE} in {raw} or beside the lists, which classes from aggregation.json need; "
                "ScanNet's download script fetches it with --label_map"
            )
        truth = labels_from if split != "test" else "none"
        reading = Reading(labels, COLUMNS[benchmark], truth, axis_align)
        read = functools.partial(read_scene, reading=reading)
        jobs.append(SceneJob(split, folder.name, sources, raw, read, settings))
    return jobs


def lacking(scenes: Plan, labels_from: str) -> list[str]:
    """What the labelled scenes lack: a sentence each, for scenes without instances or with classes from elsewhere."""
    labelled = [folder for split, folder in scenes.scenes if split != "test"]
    no_labels = [p.name for p in labelled if not (p / f"{p.name}{LABELS}").is_file()]
    no_objects = [p.name for p in labelled if not all((p / f"{p.name}{k}").is_file() for k in (AGGREGATION, SEGMENTS))]
    notes = []
    if no_labels and labels_from == "ply":
        notes.append(
            f"{len(no_labels)} scenes have no labels.ply; their classes are their objects': {_some(no_labels)}"
        )
    if no_objects and labels_from == "ply":
        notes.append(f"{len(no_objects)} scenes have no annotated objects, so no instances: {_some(no_objects)}")
    return notes


def _sources(folder: Path, label_table: Path | None, *, labelled: bool, axis_align: bool) -> tuple[Path, ...]:
    """The mesh, there or not, and what else is there of what the scene is made from."""
    optional = [folder / f"{folder.name}{INFO}"] if axis_align else []
    if labelled:
        optional += [folder / f"{folder.name}{kind}" for kind in (LABELS, AGGREGATION, SEGMENTS)]
        optional += [label_table] if label_table else []
    return (folder / f"{folder.name}{MESH}", *(path for path in optional if path.is_file()))


def _scene_folders(raw: Path) -> dict[str, Path]:
    if not raw.is_dir():
        raise InputError(f"there is no folder {raw}; give the one that holds scans with --raw")
    found = [p for part in FOLDERS if (raw / part).is_dir() for p in sorted((raw / part).iterdir()) if p.is_dir()]
    folders = {p.name: p for p in found if not p.name.startswith(".")}
    if not folders:
        hint = f"did you mean {raw.parent}?" if raw.name in FOLDERS else "give the folder that holds scans with --raw"
        raise InputError(f"{raw} holds no scenes such as {raw / 'scans' / 'scene0000_00'}; {hint}")
    return folders


def _meta(raw: Path, given: Path | None) -> Path:
    places = (raw, raw / "meta", raw.parent) if given is None else (given,)
    for place in places:
        if any((place / file).is_file() for file in SPLITS.values()):
            return place
    raise InputError(
        f"there is no {', '.join(SPLITS.values())} in {', '.join(map(str, places))}; they are in the folder "
        "Tasks/Benchmark of the repository github.com/ScanNet/ScanNet: give a folder that holds them with "
        "--splits-from, or --split NAME to do without"
    )


def _label_table(raw: Path, meta: Path | None) -> Path | None:
    places = [place / LABEL_TABLE for place in (meta, raw, raw / "meta") if place is not None]
    return next((path for path in places if path.is_file()), None)


def _numbered(classes: Classes) -> Mapping[int, int]:
    labels: dict[int, int] = {}
    for source, label in classes.labels_by_source().items():
        if not isinstance(source, int):
            raise InputError(
                f"the class file has the source id {source!r}; ScanNet's are numbers: NYU40 ids for --benchmark 20, "
                "ids of the label table for 200"
            )
        labels[source] = label
    return labels


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


if __name__ == "__main__":
    sys.exit(run_module(HELP, add_arguments, run))
