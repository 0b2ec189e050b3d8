"""Verifying a prepared root: every scene, every voxel grid and every draw of sparse labels, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.data.classes import IGNORED, load_classes
from pointseg.data.scene import PreparedScene, hash_file, open_scene
from pointseg.data.scene_reader import ARRAYS, LABELS_FOLDER, grid_name
from pointseg.data.sparse_labels import open_labels
from pointseg.data.voxel import VoxelGrid
from pointseg.errors import InputError

CHUNK = 1 << 20
"""Rows looked at together: bounds the memory whatever a scene's size."""

_AGAIN = "delete its folder and make it again"


@dataclass(frozen=True)
class CheckReport:
    """What ``check_root`` found.

    Attributes:
        root: The root.
        scenes: How many scene folders it has.
        points: Raw points of those that could be opened.
        draws: How many draws of sparse labels it has.
        no_hashes: Scenes with files whose hash was never stored (older ones); that is not a problem.
        problems: One sentence each; none if everything is as it should be.
    """

    root: Path
    scenes: int
    points: int
    draws: int
    no_hashes: tuple[str, ...]
    problems: tuple[str, ...]


def check_root(root: str | Path, *, watch: Callable[[Sequence[Path]], Iterable[Path]] = iter) -> CheckReport:
    """Verify everything in a prepared root; a bad scene does not keep the others from being verified.

    Looked at: each array's type and length, counts per class, hashes, finite coordinates, labels against the root's
    classes, each point's voxel and each voxel's representative, what killed runs left, and the draws.

    Args:
        root: Folder of prepared scenes.
        watch: Is given the scene folders and hands them back one by one, so that a caller can show progress.

    Raises:
        InputError: There is no such folder, or it holds no scenes at all.
    """
    root = Path(root)
    folders = scene_folders(root)
    if not folders:
        raise InputError(f"{root} holds no prepared scenes to check; make some with 'pointseg prepare'")
    num_classes, problems = _num_classes(root)
    problems += _leftovers(root)
    opened: dict[str, PreparedScene] = {}
    no_hashes: list[str] = []
    for folder in watch(folders):
        key = f"{folder.parent.name}/{folder.name}"
        problems += _collected(key, _scene_problems(folder, num_classes, opened))
        no_hashes += [key] if key in opened and _unhashed(opened[key]) else []
    draws = draw_names(root)
    for name in draws:
        problems += _collected(f"draw {name}", _draw_problems(root, name, opened, num_classes))
    points = sum(scene.num_points for scene in opened.values())
    return CheckReport(root, len(folders), points, len(draws), tuple(no_hashes), tuple(problems))


def scene_folders(root: str | Path) -> list[Path]:
    """The folders of a root that are scenes, whole or damaged, sorted by split and name.

    A folder counts as a scene if it holds ``meta.json`` or ``coord.npy``.

    Raises:
        InputError: There is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"there is no folder {root}; give the root that 'pointseg prepare' wrote")
    splits = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name != LABELS_FOLDER)
    inside = [p for split in splits for p in sorted(split.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    return [p for p in inside if (p / "meta.json").is_file() or (p / "coord.npy").is_file()]


def draw_names(root: str | Path) -> list[str]:
    """Names of the folders of a root's sparse labels, sorted."""
    return sorted(p.name for p in (Path(root) / LABELS_FOLDER).glob("*") if p.is_dir() and not p.name.startswith("."))


def _num_classes(root: Path) -> tuple[int | None, list[str]]:
    try:
        return load_classes(root / "classes.yaml").num_classes, []
    except InputError as error:
        return None, [f"{error}; labels were not compared with the classes"]


def _leftovers(root: Path) -> list[str]:
    """Hidden files and folders of interrupted writes: in the root, its splits, its scenes and its draws."""
    found = sorted(p for depth in ("", "*/", "*/*/") for p in root.glob(f"{depth}.*.tmp*"))
    return [f"{path} was left by a killed run; delete it" for path in found]


def _collected(where: str, problems: Iterator[str]) -> list[str]:
    """The problems with ``where`` before each, up to and including one that ends the search."""
    found: list[str] = []
    try:
        for problem in problems:
            found.append(f"{where}: {problem}")
    except InputError as error:
        found.append(f"{where}: {error}")
    except OSError as error:
        found.append(f"{where}: {error.filename} cannot be read ({error.strerror}); {_AGAIN}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found.append(f"{where}: its JSON file holds other entries than it should ({error!r}); {_AGAIN}")
    return found


def _scene_problems(folder: Path, num_classes: int | None, opened: dict[str, PreparedScene]) -> Iterator[str]:
    """The problems of one scene, which is put among the opened ones if it can be opened."""
    scene = open_scene(folder)
    opened[f"{folder.parent.name}/{folder.name}"] = scene
    yield from _hash_problems(scene)
    listed = {grid_name(size) for size in scene.voxel_sizes}
    for extra in sorted(path.name for path in folder.glob("grid_*") if path.name not in listed):
        yield f"{extra} is not among the grids of meta.json, so a killed run left it; delete it"
    for name in scene.meta["arrays"]:
        if np.issubdtype(ARRAYS[name][0], np.floating):
            yield from _not_finite(f"{name}.npy", getattr(scene, name))
    if scene.segment is not None:
        yield from _label_problems("segment.npy", scene.segment, num_classes)
        yield from _count_problems(scene, scene.segment)
    for size in scene.voxel_sizes:
        for problem in _grid_problems(scene, scene.grid(size), num_classes):
            yield f"{grid_name(size)}/{problem}"


def _hash_problems(scene: PreparedScene) -> Iterator[str]:
    for name, stored in scene.meta.get("sha256", {}).items():
        file = scene.path / name
        if not file.is_file():
            yield f"{name} is gone although its hash is stored; {_AGAIN}"
        elif hash_file(file) != stored:
            yield f"{name} was changed after it was written (its SHA-256 is another); {_AGAIN}"


def _unhashed(scene: PreparedScene) -> bool:
    hashed = scene.meta.get("sha256", {})
    folders = ["", *(f"{grid_name(size)}/" for size in scene.voxel_sizes)]
    return any(f"{folder}{p.name}" not in hashed for folder in folders for p in (scene.path / folder).glob("*.npy"))


def _not_finite(file: str, array: np.ndarray) -> Iterator[str]:
    bad = _first_bad(len(array), lambda rows: np.isfinite(array[rows].reshape(-1, array[0].size)).all(axis=1))
    if bad is not None:
        yield f"{file} holds {np.asarray(array[bad]).tolist()} at point {bad}, but it must be finite; {_AGAIN}"


def _label_problems(file: str, segment: np.ndarray, num_classes: int | None) -> Iterator[str]:
    if num_classes is None:
        return
    bad = _first_bad(len(segment), lambda rows: (segment[rows] >= IGNORED) & (segment[rows] < num_classes))
    if bad is not None:
        yield (
            f"{file} holds class {segment[bad]} in row {bad}, but classes.yaml allows -1..{num_classes - 1}; {_AGAIN}, "
            "or put back the root's own class file"
        )


def _count_problems(scene: PreparedScene, segment: np.ndarray) -> Iterator[str]:
    found: Counter[int] = Counter()
    for start in range(0, len(segment), CHUNK):
        ids, counts = np.unique(segment[start : start + CHUNK], return_counts=True)
        found.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
    stored = {int(label): int(count) for label, count in scene.meta["counts"].items()}
    differing = sorted(label for label in found.keys() | stored.keys() if found[label] != stored.get(label, 0))
    if differing:
        label = differing[0]
        yield (
            f"segment.npy holds {found[label]} points of class {label}, but meta.json counts {stored.get(label, 0)}; "
            f"{_AGAIN}"
        )


def _grid_problems(scene: PreparedScene, grid: VoxelGrid, num_classes: int | None) -> Iterator[str]:
    voxels, points, coord = len(grid.coord), scene.num_points, scene.coord
    stored = {float(size): entry["num_voxels"] for size, entry in scene.meta["grids"].items()}[grid.voxel_size]
    if stored != voxels:
        yield f"coord.npy holds {voxels} voxels, but meta.json counts {stored}; {_AGAIN}"
    if grid.segment is not None:
        yield from _label_problems("segment.npy", grid.segment, num_classes)
    if grid.intensity is not None:
        yield from _not_finite("intensity.npy", grid.intensity)
    for name, index, limit in (("inverse.npy", grid.inverse, voxels), ("point.npy", grid.point, points)):
        bad = _out_of_range(index, limit)
        if bad is not None:
            yield f"{name} holds {index[bad]} in row {bad}, but it must be in 0..{limit - 1}; {_AGAIN}"
            return
    bad = _first_bad(points, lambda rows: _same(grid.coord[grid.inverse[rows]], _cells(coord[rows], grid.voxel_size)))
    if bad is not None:
        yield f"inverse.npy puts point {bad} into voxel {grid.inverse[bad]}, in which it does not lie; {_AGAIN}"
    bad = _first_bad(voxels, lambda rows: _same(grid.coord[rows], _cells(coord[grid.point[rows]], grid.voxel_size)))
    if bad is not None:
        yield f"point.npy gives voxel {bad} the representative {grid.point[bad]}, which does not lie in it; {_AGAIN}"
    lowest = np.min([grid.coord[start : start + CHUNK].min(axis=0) for start in range(0, voxels, CHUNK)], axis=0)
    bad = _first_bad(voxels - 1, lambda rows: _rises(grid.coord[rows.start : rows.stop + 1] - lowest.astype(np.int64)))
    if bad is not None:
        yield f"coord.npy has the voxels {bad} and {bad + 1} twice or out of Morton order; {_AGAIN}"


def _draw_problems(
    root: Path, name: str, scenes: Mapping[str, PreparedScene], num_classes: int | None
) -> Iterator[str]:
    try:
        labels = open_labels(root, name)
    except InputError as error:
        yield str(error)
        return
    for key, entry in labels.spec["scenes"].items():
        if key not in scenes:
            yield f"it covers {key}, which is no readable scene of this root; prepare that scene, or draw again"
            continue
        try:
            _, label = labels.for_scene(scenes[key])
        except InputError as error:
            yield str(error)
            continue
        if "sha256" in entry and hash_file(labels.path / f"{key}.npy") != entry["sha256"]:
            yield f"the labels of {key} were changed after they were drawn; delete {labels.path} and draw again"
        if num_classes is not None and len(label) and not 0 <= label.min() <= label.max() < num_classes:
            yield (
                f"the labels of {key} reach from {label.min()} to {label.max()}, but classes.yaml allows "
                f"0..{num_classes - 1}; delete {labels.path} and draw again"
            )


def _first_bad(length: int, good: Callable[[slice], np.ndarray]) -> int | None:
    """The first row for which ``good`` of the rows around it is false, or None."""
    for start in range(0, length, CHUNK):
        fine = good(slice(start, min(start + CHUNK, length)))
        if not fine.all():
            return start + int(np.argmin(fine))
    return None


def _out_of_range(index: np.ndarray, limit: int) -> int | None:
    return _first_bad(len(index), lambda rows: (index[rows] >= 0) & (index[rows] < limit))


def _cells(coord: np.ndarray, voxel_size: float) -> np.ndarray:
    """(n, 3) float64 voxel coordinates; not a number stays one and so equals no voxel."""
    with np.errstate(invalid="ignore"):
        return np.floor(coord.astype(np.float64) / voxel_size)


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a == b).all(axis=1)


def _rises(coord: np.ndarray) -> np.ndarray:
    """For each row but the last whether the next one comes later along the Morton curve.

    The axis with the highest differing bit decides, z before y before x where these bits are equal.

    Args:
        coord: (n, 3) int64 voxel coordinates, counted from the lowest corner of the whole grid.

    Returns:
        (n - 1,) bool.
    """
    differing = coord[:-1] ^ coord[1:]
    steps = coord[1:] - coord[:-1]
    top, step = differing[:, 2], steps[:, 2]
    for axis in (1, 0):
        other = differing[:, axis]
        # The highest set bit of ``other`` is above that of ``top``.
        higher = (top < other) & (top < (top ^ other))
        top, step = np.where(higher, other, top), np.where(higher, steps[:, axis], step)
    return step > 0
