"""Pointcept's preprocessed folders, ``RAW/<split>/<scene>/*.npy``, to prepared scenes.

    python -m data_prep.pointcept --raw RAW --out data/scannet --classes scannet20 --segment-name segment20

Its preprocessing scripts (``pointcept/datasets/preprocessing`` in the Pointcept repository) write coord float32 (N, 3),
color uint8 (N, 3), normal float32 (N, 3), and whole numbers of various types for the labels: (N,) from ScanNet's,
(N, 1) from S3DIS's. Labels number the classes from 0, and -1 is ignored. ``.pth`` files of older releases are pickles
and not read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from data_prep._jobs import RawScene, SceneJob, add_store_arguments, run_prepare
from data_prep._main import run_module
from pointseg.data.classes import IGNORED, Classes
from pointseg.data.normals import unit_normals
from pointseg.data.npy import map_npy
from pointseg.errors import InputError

HELP = "Folders as Pointcept's preprocessing writes them (RAW/<split>/<scene>/coord.npy ...) to prepared scenes."

_READ = ("coord", "color", "normal", "instance", "strength")
_COLUMNS = {"coord": 3, "color": 3, "normal": 3}


def jobs(raw: str | Path, classes: Classes, *, segment_name: str = "segment", split: str = "all") -> list[SceneJob]:
    """One job a scene folder.

    Args:
        raw: Folder of the splits, or of the scenes themselves.
        classes: A label is the number of a class in this file.
        segment_name: Name of the label files without ``.npy``.
        split: Of the scenes that lie in ``raw`` itself.

    Raises:
        InputError: No such folder, or no scenes in it.
    """
    raw = Path(raw).absolute()
    if not raw.is_dir():
        raise InputError(f"there is no folder {raw}; give the one that holds Pointcept's splits with --raw")
    flat = _scenes(raw)
    found = [(split, scene) for scene in flat]
    found += [(part.name, scene) for part in _folders(raw) if part not in flat for scene in _scenes(part)]
    if not found:
        raise InputError(_nothing(raw))
    read = partial(read_folder, base=raw, segment_name=segment_name, num_classes=classes.num_classes)
    return [
        SceneJob(
            part,
            scene.name,
            tuple(p for p in (scene / f"{name}.npy" for name in (*_READ, segment_name)) if p.exists()),
            raw,
            partial(read, folder=scene),
            {"segment_name": segment_name},
        )
        for part, scene in found
    ]


def read_folder(files: Sequence[Path], *, folder: Path, base: Path, segment_name: str, num_classes: int) -> RawScene:
    """Read one of Pointcept's scene folders.

    Args:
        files: Those of its arrays that are there.
        folder: Where they are.
        base: Repairs name files relative to it.
        segment_name: Name of the label file without ``.npy``; none of any such name means no ground truth.
        num_classes: K.

    Raises:
        InputError: No coordinates, an array that cannot be read or does not fit, or a label outside -1..K-1.
    """
    paths = {path.stem: path for path in files}
    if "coord" not in paths:
        raise InputError(f"{folder} holds no coord.npy; preprocess the scene again with Pointcept")
    points = len(_array(paths["coord"], None, _COLUMNS["coord"]))
    given = {name: _array(path, points, _COLUMNS.get(name, 1)) for name, path in paths.items()}
    for name in {"coord", "strength"} & set(given):
        _check_finite(paths[name], given[name])
    if segment_name not in given:
        _check_unlabelled(folder, segment_name)
    normal, whats = _normals(given["normal"]) if "normal" in given else (None, [])
    return RawScene(
        coord=given["coord"].astype(np.float64),
        color=None if "color" not in given else _colors(paths["color"], given["color"]),
        intensity=None if "strength" not in given else given["strength"].astype(np.float32),
        normal=normal,
        segment=None if segment_name not in given else _labels(paths[segment_name], given[segment_name], num_classes),
        instance=None if "instance" not in given else _whole(paths["instance"], given["instance"]),
        repairs=tuple({"file": paths["normal"].relative_to(base).as_posix(), "what": what} for what in whats),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this module's flags."""
    parser.add_argument("--raw", required=True, type=Path, help="folder that holds Pointcept's splits, or scenes")
    parser.add_argument(
        "--segment-name",
        default="segment",
        metavar="NAME",
        help="of the label files: segment (the default), or segment20 and segment200 for ScanNet",
    )
    parser.add_argument("--split", default="all", help="of scenes that lie in RAW itself (default: %(default)s)")
    add_store_arguments(parser, classes=None)


def run(args: argparse.Namespace) -> int:
    """Prepare and print what was done."""
    return run_prepare(
        args,
        "pointcept",
        lambda classes: jobs(args.raw, classes, segment_name=args.segment_name, split=args.split),
    )


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _scenes(parent: Path) -> list[Path]:
    """Folders that hold arrays; one without coordinates is a scene too, which will be reported."""
    return [p for p in _folders(parent) if any(p.glob("*.npy"))]


def _nothing(raw: Path) -> str:
    if any(raw.glob("*.npy")):
        return f"{raw} is a scene itself; give the folder that holds its split, {raw.parent.parent}, with --raw"
    if any(raw.glob("*/*.pth")):
        return (
            f"{raw} holds .pth files of an older Pointcept, which can run code when read; preprocess again with a "
            "release that writes a folder of .npy files for each scene"
        )
    return f"{raw} holds no scenes; expected folders such as {raw / 'train' / 'scene0000_00'} with coord.npy in them"


def _array(path: Path, points: int | None, columns: int) -> np.ndarray:
    """The numbers in a file, (N,) or (N, columns); (N, 1) counts as (N,)."""
    try:
        array = map_npy(path)
    except ValueError as error:
        raise InputError(f"{path} is damaged or no array of numbers ({error}); preprocess the scene again") from error
    if columns == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    expected = ("N" if points is None else str(points)) + (",)" if columns == 1 else f", {columns})")
    shape = (len(array) if points is None and array.ndim else points,) + ((columns,) if columns > 1 else ())
    if array.shape != shape or array.dtype.kind not in "iuf":
        raise InputError(
            f"{path} holds {array.dtype} {array.shape}, expected numbers ({expected}; preprocess the scene again"
        )
    return np.asarray(array)


def _check_finite(path: Path, array: np.ndarray) -> None:
    good = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(f"{path}, row {row}: {array[row].tolist()} is not finite; correct or remove the point")


def _colors(path: Path, color: np.ndarray) -> np.ndarray:
    """Colours as uint8; other types must hold whole numbers in 0..255, which is Pointcept's convention."""
    if color.dtype != np.uint8:
        if not ((color >= 0) & (color <= 255)).all() or not (color == np.rint(color)).all():
            raise InputError(
                f"{path} holds colours from {color.min():g} to {color.max():g} that are not all whole numbers in "
                "0..255, as Pointcept's are; scale and round them first"
            )
        color = color.astype(np.uint8)
    return color


def _normals(normal: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(N, 3) float32 of length 1 or 0, and what was done to them."""
    broken = np.count_nonzero(~np.isfinite(normal).all(axis=1))
    normal, scaled = unit_normals(normal)
    whats = {
        "that are not finite set to zero": broken,
        "of another length than 1 scaled to it": scaled,
    }
    return normal, [f"{count} normals {what}" for what, count in whats.items() if count]


def _labels(path: Path, label: np.ndarray, num_classes: int) -> np.ndarray:
    label = _whole(path, label)
    ids, counts = np.unique(label[(label < IGNORED) | (label >= num_classes)], return_counts=True)
    if len(ids):
        listed = ", ".join(f"{i} ({n} points)" for i, n in zip(ids[:5].tolist(), counts[:5].tolist(), strict=True))
        raise InputError(
            f"{path} holds labels that are not in -1..{num_classes - 1}, the classes of the class file: {listed}; use "
            "the class file these labels were made for"
        )
    return label


def _whole(path: Path, values: np.ndarray) -> np.ndarray:
    """Whole numbers as int64, whatever their type."""
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise InputError(f"{path} holds numbers that are not whole, but labels must be; preprocess the scene again")
    return values.astype(np.int64)


def _check_unlabelled(folder: Path, segment_name: str) -> None:
    others = sorted(path.stem for path in folder.glob("segment*.npy"))
    if others:
        raise InputError(
            f"{folder} holds no {segment_name}.npy but {', '.join(others)}; name the labels to use with --segment-name"
        )


if __name__ == "__main__":
    sys.exit(run_module(HELP, add_arguments, run))
