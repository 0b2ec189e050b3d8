"""Anyone's own clouds, one scene a file, to prepared scenes.

    python -m data_prep.cloud scans/*.laz --classes asprs --out data/mine

PLY, LAS, LAZ, E57, PCD, XYZ, CSV, TXT, NPY and NPZ are read; colour, intensity, normals and labels are optional.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep._jobs import RawScene, SceneJob, add_store_arguments, join_scenes, run_prepare
from data_prep._main import run_module
from pointseg.data.classes import IGNORED, Classes, SourceId
from pointseg.data.formats import SUFFIXES, inspect_cloud, iter_cloud
from pointseg.data.normals import unit_normals
from pointseg.errors import InputError

HELP = "Your own clouds (PLY, LAS, LAZ, E57, PCD, XYZ, CSV, TXT, NPY, NPZ) to prepared, voxelised scenes."

CHUNK_POINTS = 1_000_000
_LISTED = 20


def jobs(
    files: Sequence[str | Path], classes: Classes, *, split: str = "all", label_field: str | None = None
) -> list[SceneJob]:
    """One job a file, its scene named after it.

    Args:
        files: Cloud files, and folders whose cloud files are all taken.
        classes: Their source ids are the class ids in the files, numbers or words.
        split: Of all scenes.
        label_field: The field of the class ids; None = the first with a usual name, if there is one.

    Raises:
        InputError: No such file, a folder without clouds, or two files of one name.
    """
    labels = classes.labels_by_source()
    scenes: dict[str, Path] = {}
    for path in _expanded(files):
        other = scenes.setdefault(path.stem, path)
        if os.path.realpath(other) != os.path.realpath(path):
            raise InputError(
                f"{other} and {path} would both be the scene {path.stem!r}; rename one, or prepare them as two splits"
            )
    read = partial(read_scene, labels=labels, label_field=label_field)
    chunks = partial(read_chunks, labels=labels, label_field=label_field)
    settings = {"label_field": label_field}
    return [SceneJob(split, name, (path,), path.parent, read, settings, chunks) for name, path in scenes.items()]


def read_scene(
    sources: tuple[Path, ...], *, labels: Mapping[SourceId, int], label_field: str | None = None
) -> RawScene:
    """Read one cloud whole; see ``read_chunks``."""
    return join_scenes(read_chunks(sources, CHUNK_POINTS, labels=labels, label_field=label_field))


def read_chunks(
    sources: tuple[Path, ...], points: int, *, labels: Mapping[SourceId, int], label_field: str | None = None
) -> Iterator[RawScene]:
    """Read one cloud in chunks; the last has no points but says what was noted of the others.

    Args:
        sources: The one file.
        points: Of a chunk, at most.
        labels: Class id in the file -> class, -1 for those that are ignored.
        label_field: The field of the class ids; None = the first with a usual name, if there is one.

    Yields:
        Scenes; the facts are the file's format, fields and reference system.

    Raises:
        InputError: A file that cannot be read, or class ids that the class file does not know; all of them are listed
            with their number of points once the file has been read to its end.
    """
    (path,) = sources
    info = inspect_cloud(path, label_field=label_field)
    notes: Counter[str] = Counter()
    found: Counter[SourceId] = Counter()
    label_from = None
    for cloud in iter_cloud(path, label_field=label_field, chunk_points=points):
        notes.update(cloud.notes)
        label_from = cloud.label_field
        yield RawScene(
            coord=cloud.coord,
            color=cloud.color,
            intensity=cloud.intensity,
            normal=None if cloud.normal is None else _unit(cloud.normal, notes),
            segment=None if cloud.label is None else _classes(cloud.label, labels, found),
        )
    unknown = {i: n for i, n in sorted(found.items(), key=_by_kind) if i not in labels}
    if unknown:
        raise InputError(
            f"{path}: the class file does not know these ids of {label_from}: {_listed(unknown)}; add each to "
            "the 'source' of a class or to 'ignore'"
        )
    repairs = [{"file": path.name, "what": f"{what} ({count:,} points)"} for what, count in notes.items()]
    ignored = {i: n for i, n in sorted(found.items(), key=_by_kind) if labels[i] == IGNORED}
    if ignored:
        repairs.append({"file": path.name, "what": f"ignored, by the class file: {_listed(ignored)}"})
    facts: dict[str, Any] = {"format": info.format, "fields": list(info.fields), "label_field": label_from}
    nothing = np.empty((0, 3))
    yield RawScene(nothing, repairs=tuple(repairs), facts=facts | ({"crs": info.crs} if info.crs else {}))


def _classes(label: np.ndarray, labels: Mapping[SourceId, int], found: Counter[SourceId]) -> np.ndarray:
    """(n,) int16 classes of class ids, which are counted; those without an entry become ignored."""
    ids, inverse, counts = np.unique(label, return_inverse=True, return_counts=True)
    found.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
    table = np.array([labels.get(i, IGNORED) for i in ids.tolist()], dtype=np.int16)
    return table[inverse]


def _unit(normal: np.ndarray, notes: Counter[str]) -> np.ndarray:
    """(n, 3) normals of length 1; how many were not is noted."""
    normal, scaled = unit_normals(normal)
    if scaled:
        notes["normals of another length than 1: scaled to it"] += scaled
    return normal


def _by_kind(entry: tuple[SourceId, int]) -> tuple[bool, Any]:
    return isinstance(entry[0], str), entry[0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this module's flags."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="cloud files, or folders of them")
    parser.add_argument("--split", default="all", help="of all these scenes (default: %(default)s)")
    parser.add_argument(
        "--label-field", metavar="NAME", help="field that holds the class ids (default: the first with a usual name)"
    )
    add_store_arguments(parser, classes=None, streaming=True)


def run(args: argparse.Namespace) -> int:
    """Prepare and print what was done."""
    return run_prepare(
        args,
        "cloud",
        lambda classes: jobs(args.files, classes, split=args.split, label_field=args.label_field),
    )


def _expanded(files: Sequence[str | Path]) -> list[Path]:
    paths: list[Path] = []
    for path in (Path(file).absolute() for file in files):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                raise InputError(f"{path} holds no clouds; files that can be read end in {', '.join(SUFFIXES)}")
            paths += inside
        elif path.is_file():
            paths.append(path)
        else:
            raise InputError(f"there is no file {path}")
    return paths


def _listed(counts: Mapping[SourceId, int]) -> str:
    shown = [f"{name} ({count:,} points)" for name, count in list(counts.items())[:_LISTED]]
    return ", ".join(shown) + (f" and {len(counts) - _LISTED} more" if len(counts) > _LISTED else "")


if __name__ == "__main__":
    sys.exit(run_module(HELP, add_arguments, run))
