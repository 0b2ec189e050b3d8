"""Prepared scenes as the folders that Pointcept's datasets read.

What these expect, as found in the Pointcept repository (github.com/Pointcept/Pointcept):

- ``pointcept/datasets/defaults.py``, ``DefaultDataset``: each entry of ``<data_root>/<split>/`` is a scene folder. Of
  its ``.npy`` files those named coord, color, normal, strength, segment, instance and pose are loaded and the others
  passed over. coord, color and normal become float32, segment and instance are flattened to int32; without them all
  labels are -1, which is also the index it ignores. strength is taken as it is and joined to other features by
  columns, so it has to be (N, 1).
- ``pointcept/datasets/s3dis.py``, ``S3DISDataset``: the same, since folders of arrays replaced its ``.pth`` files; a
  split is ``Area_1`` and so on.
- ``pointcept/datasets/scannet.py``, ``ScanNetDataset`` and ``ScanNet200Dataset``: color and normal must be there;
  labels are in segment20 or segment200.

So the first two read a prepared root as it is: coord, color, normal, segment and instance have these names, and grids,
``meta.json``, ``classes.yaml`` and draws are passed over. Written apart, files differ in two ways only: labels may have
another name, and intensity becomes ``strength.npy``, float32 (N, 1).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.atomic import remove_unfinished, replacing_file, replacing_folder
from pointseg.data.classes import load_classes
from pointseg.data.npy import save_array
from pointseg.data.scene import PreparedScene, list_scenes
from pointseg.errors import InputError
from pointseg.untrusted import parse_json

RECORD = "pointseg.json"
"""Written beside the splits: what the numbers and coordinates of the folders mean."""

_LABEL_NAME = re.compile(r"segment[A-Za-z0-9_]*")


@dataclass(frozen=True)
class Export:
    """What ``export_root`` wrote.

    Attributes:
        scenes: How many.
        files: How many.
        notes: What the reader of the folders should know.
    """

    scenes: int
    files: int
    notes: tuple[str, ...]


def export_root(
    root: str | Path,
    out: str | Path,
    *,
    segment_name: str = "segment",
    watch: Callable[[Sequence[PreparedScene]], Iterable[PreparedScene]] = iter,
) -> Export:
    """Write ``<out>/<split>/<scene>/*.npy`` for every scene of a root, and ``pointseg.json`` beside the splits.

    Coordinates stay those of the prepared scenes; ``pointseg.json`` holds the offset of each, the number of its points
    and the classes' names. Rows keep their order, so a prediction of Pointcept's is one of the prepared scene's points.
    A scene that was exported before is replaced.

    Args:
        root: Folder of prepared scenes.
        out: Folder to write; must not be inside the root.
        segment_name: Of the label files: ``segment``, or ``segment20`` and ``segment200`` for the ScanNet datasets.
        watch: Is given the scenes and hands them back one by one, so that a caller can show progress.

    Raises:
        InputError: No such root, a damaged scene, a bad name or folder, or a disk that is full.
    """
    root, out = Path(root), Path(out)
    if not _LABEL_NAME.fullmatch(segment_name):
        raise InputError(f"--segment-name is {segment_name!r}; it must be 'segment' or begin with it, as 'segment20'")
    if out.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{out} lies in the prepared root {root}; choose a folder outside of it")
    classes, scenes = load_classes(root / "classes.yaml"), list_scenes(root)
    if not scenes:
        raise InputError(f"{root} holds no prepared scenes; make some with 'pointseg prepare'")
    _refuse_foreign(out, scenes)
    try:
        out.mkdir(parents=True, exist_ok=True)
        record = {
            "dataset": classes.dataset,
            "classes": list(classes.names),
            "segment_name": segment_name,
            "scenes": {f"{s.split}/{s.name}": {"points": s.num_points, "offset": s.meta["offset"]} for s in scenes},
        }
        with replacing_file(out / RECORD) as unfinished:
            unfinished.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        files = sum(_export_scene(scene, out, segment_name) for scene in watch(scenes))
    except OSError as error:
        raise InputError(
            f"cannot write to {out}: {error.strerror}; free space or choose another folder, and export again"
        ) from error
    return Export(len(scenes), files, _notes(scenes, segment_name))


def _export_scene(scene: PreparedScene, out: Path, segment_name: str) -> int:
    """Write one scene and say how many files it has."""
    target = out / scene.split / scene.name
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(target.parent, scene.name)
    names = {"segment": segment_name}
    with replacing_folder(target) as folder:
        # Copies, not links: whoever writes to the export must not change the prepared scene.
        for name in scene.meta["arrays"]:
            if name != "intensity":
                shutil.copyfile(scene.path / f"{name}.npy", folder / f"{names.get(name, name)}.npy")
        if (intensity := scene.intensity) is not None:
            save_array(folder / "strength.npy", np.asarray(intensity)[:, None])
    return len(scene.meta["arrays"])


def _refuse_foreign(out: Path, scenes: Sequence[PreparedScene]) -> None:
    """See that no folder is replaced that an earlier export did not write."""
    record = out / RECORD
    try:
        ours = parse_json(record.read_text(encoding="utf-8"))["scenes"] if record.exists() else {}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{record} is damaged ({error}); choose another folder") from error
    for scene in scenes:
        name = f"{scene.split}/{scene.name}"
        if name not in ours and (out / name).exists():
            raise InputError(f"{out / name} exists and was not exported from here; choose another --out folder")


def _notes(scenes: Sequence[PreparedScene], segment_name: str) -> tuple[str, ...]:
    notes = []
    intensity = any("intensity" in scene.meta["arrays"] for scene in scenes)
    if segment_name == "segment" and not intensity:
        notes.append("Pointcept's DefaultDataset and S3DISDataset also read the prepared root itself; no export needed")
    lacking = sum(not {"color", "normal"} <= set(scene.meta["arrays"]) for scene in scenes)
    if segment_name != "segment" and lacking:
        notes.append(f"{lacking} scenes lack color or normal, without which Pointcept's ScanNet datasets read nothing")
    return tuple(notes)
