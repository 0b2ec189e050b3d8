"""Lists that come with ScanNet: the scenes of a split or a subset, and the annotated points of every scene."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_prep._scannet_torch import load_arrays
from pointseg.data.formats.numpy_zip import read_npz
from pointseg.data.npy import map_npy
from pointseg.errors import InputError

SPLITS = {"train": "scannetv2_train.txt", "val": "scannetv2_val.txt", "test": "scannetv2_test.txt"}

_MOST_DIGITS = 18
"""Of the number of a point: more would not fit into 64 bits."""

_SCENE = re.compile(r"scene[0-9]{4}_[0-9]{2}")


def read_scene_list(path: str | Path) -> tuple[str, ...]:
    """Read names of scenes, one a line; ``scene0000_00.ply`` counts as ``scene0000_00``.

    Args:
        path: An official split or a list of the limited-reconstruction benchmark.

    Returns:
        The names, in the file's order.

    Raises:
        InputError: No such file, a line that is no scene's name, a scene that occurs twice, or no scene at all.
    """
    path = Path(path)
    seen: dict[str, int] = {}
    for line, text in _lines(path):
        name = text.removesuffix(".ply")
        if not _SCENE.fullmatch(name):
            raise InputError(f"{path}, line {line}: {text[:60]!r} is no scene's name; expected one like scene0000_00")
        if name in seen:
            raise InputError(f"{path}, line {line}: {name} is on line {seen[name]} already; each scene may occur once")
        seen[name] = line
    if not seen:
        raise InputError(f"{path} names no scene; fetch it again")
    return tuple(seen)


def read_point_lists(path: str | Path) -> dict[str, np.ndarray]:
    """Read which points of every scene are annotated.

    What a file is shows in its first bytes, not in its name. Nothing in it is ever executed.

    Args:
        path: One of these:
            the benchmark's own files (``points20`` and so on), dictionaries saved by ``torch.save``;
            text, a scene a line: its name, then the numbers of its points;
            an ``.npz`` archive with an array for each scene;
            one scene's list: an ``.npy`` file or text of numbers alone, named after the scene;
            a folder of such lists.

    Returns:
        For every scene the numbers of its points, (L,) int64, as the file has them: in its order, and twice where it
        says them twice (as some of the benchmark's do). They count vertices of the mesh, which are the points of the
        prepared scene.

    Raises:
        InputError: No such file, none of these, or an entry that is not a list of whole numbers from 0.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        lists = {p.stem: _one_scene(p) for p in files}
    elif path.is_file():
        lists = dict(_from_file(path))
    else:
        raise InputError(f"there is no file or folder {path}; give a list of annotated points")
    if not lists:
        raise InputError(f"{path} holds no lists of points")
    return {scene: _checked(path, scene, indices) for scene, indices in lists.items()}


def _from_file(path: Path) -> Mapping[str, np.ndarray]:
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x80") or (start.startswith(b"PK") and not _is_npz(path)):
        return load_arrays(path)
    if start.startswith(b"PK"):
        return read_npz(path)
    if _SCENE.fullmatch(path.stem):
        return {path.stem: _one_scene(path)}
    if start.startswith(b"\x93NUMPY"):
        raise InputError(f"{path} is the list of one scene, but not named after one; expected scene0000_00.npy")
    lists: dict[str, np.ndarray] = {}
    for line, text in _lines(path):
        scene, *words = text.replace(",", " ").split()
        if scene in lists:
            raise InputError(f"{path}, line {line}: {scene} has a line already; each scene may occur once")
        lists[scene] = _numbers(path, line, words)
    return lists


def _one_scene(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        is_array = file.read(6) == b"\x93NUMPY"
    if is_array:
        try:
            return map_npy(path)
        except ValueError as error:
            raise _damaged(path, error) from error
    parts = [_numbers(path, line, text.replace(",", " ").split()) for line, text in _lines(path)]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except zipfile.BadZipFile as error:
        raise _damaged(path, error) from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is neither text nor a known kind of list; fetch it again") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _numbers(path: Path, line: int, words: list[str]) -> np.ndarray:
    for word in words:
        if not word.isdecimal():
            raise InputError(
                f"{path}, line {line}: {word[:40]!r} is not the number of a point; whole numbers from 0 are"
            )
        if len(word) > _MOST_DIGITS:
            raise InputError(f"{path}, line {line}: {word[:40]!r} is too large for the number of a point")
    return np.array([int(word) for word in words], dtype=np.int64)


def _checked(path: Path, scene: str, indices: np.ndarray) -> np.ndarray:
    if not _SCENE.fullmatch(scene):
        raise InputError(f"{path}: {scene[:60]!r} is no scene's name; expected one like scene0000_00")
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise InputError(
            f"{path}: the entry of {scene} is {indices.dtype} of shape {indices.shape}; a plain list of whole numbers "
            "is needed"
        )
    values = indices.astype(np.int64)
    if len(values) and values.min() < 0:
        raise InputError(f"{path}: the entry of {scene} has point {values.min()}; points are numbered from 0")
    return values


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged ({' '.join(str(error).split())}); fetch it again")
