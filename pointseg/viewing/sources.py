"""What a path on the command line shows: scenes in order, each read only when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pointseg.data.classes import Classes, load_classes
from pointseg.data.formats import SUFFIXES, inspect_cloud
from pointseg.data.scene import PreparedScene, list_splits, open_scene
from pointseg.data.sparse_labels import SparseLabels, open_labels
from pointseg.errors import InputError
from pointseg.viewing.cloud import IGNORED, Cloud
from pointseg.viewing.cloud_file import read_view
from pointseg.viewing.colors import numbered_classes
from pointseg.viewing.holding import MAX_HELD, held
from pointseg.viewing.palettes import with_palette
from pointseg.viewing.ply import read_ply, read_ply_classes
from pointseg.viewing.scores import label_pairs

_TABLES = (".csv", ".txt", ".npy", ".npz")
"""Endings that often hold something else than points; of a folder they are taken only where it holds nothing else."""

_LAS = (".las", ".laz")
_LISTED = 12  # names in a message


@dataclass(frozen=True)
class Source:
    """A scene that can be shown.

    Attributes:
        name: Such as ``Area_5/office_1``; scenes of two sources with one name are the same scene.
        source: What it belongs to, such as ``runs/erda``.
        path: The file or folder it comes from.
        load: Reads it: the cloud, and the classes its ids are of. Raises InputError.
        place: What it is a view of, where several names are views of one place; the name if empty.
    """

    name: str
    source: str
    path: Path
    load: Callable[[], tuple[Cloud, Classes]]
    place: str = ""


@dataclass(frozen=True)
class Wishes:
    """What is to be shown of the targets, and how.

    Attributes:
        classes: Class file, by name or path, instead of a target's own.
        palette: One of ``palettes.PALETTES``.
        splits: Of prepared roots and runs; empty = all, of a run the held-out ones.
        labels: Name of stored sparse labels, shown as annotated points of prepared scenes.
        label_field: Field of cloud files that is the ground truth.
    """

    classes: str | None = None
    palette: str = "own"
    splits: tuple[str, ...] = ()
    labels: str | None = None
    label_field: str | None = None

    def classes_of(self, cloud: Cloud, own: Classes | None) -> Classes:
        """The classes given, else a target's own, else numbers; in the palette's colours."""
        classes = own if self.classes is None else load_classes(self.classes)
        return with_palette(numbered_classes(cloud.num_classes) if classes is None else classes, self.palette)


def open_target(target: Path, wishes: Wishes) -> list[Source]:
    """The scenes of a prepared scene, split or root, a cloud file, or a folder of cloud files; nothing is read yet.

    Raises:
        InputError: No such path, nothing in it that can be shown, or wishes that do not fit it.
    """
    if wishes.classes is not None:
        load_classes(wishes.classes)
    with_palette(numbered_classes(1), wishes.palette)
    if target.is_file():
        _refuse(wishes, "file", ("splits", "labels"))
        inspect_cloud(target, label_field=wishes.label_field)
        return [_file(target, target.stem, str(target), wishes)]
    if not target.is_dir():
        raise InputError(
            f"there is no {target}; give a run, a prepared scene or root, a cloud file ({', '.join(SUFFIXES)}) or a "
            "folder of them."
        )
    _check_pointcept(target)
    if (target / "meta.json").is_file():
        _refuse(wishes, "prepared scene", ("splits", "label_field"))
        return [_prepared(target, target.parent, wishes, _labels(target.resolve().parent.parent, wishes))]
    if _scenes(target):
        _refuse(wishes, "split of prepared scenes", ("splits", "label_field"))
        labels = _labels(target.resolve().parent, wishes)
        return [_prepared(path, target, wishes, labels) for path in _scenes(target)]
    if list_splits(target):
        _refuse(wishes, "root of prepared scenes", ("label_field",))
        return _root(target, wishes)
    _refuse(wishes, "folder of cloud files", ("splits", "labels"))
    return _folder(target, wishes)


def paired(first: Sequence[Source], second: Sequence[Source]) -> list[tuple[Source, Source]]:
    """The scenes two targets share, by name; one scene each are a pair whatever their names.

    Raises:
        InputError: They share none.
    """
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    others = {source.name: source for source in second}
    pairs = [(source, others[source.name]) for source in first if source.name in others]
    if not pairs:
        raise InputError(
            f"{first[0].source} and {second[0].source} have no scene in common ({first[0].name}, ... and "
            f"{second[0].name}, ...); compare results for the same scenes."
        )
    return pairs


def named(sources: Sequence[Source], name: str) -> list[Source]:
    """The scene of that name, as a list of one.

    Raises:
        InputError: There is none; it names those there are.
    """
    found = [source for source in sources if source.name == name]
    if not found:
        raise InputError(f"{sources[0].source} has no scene {name!r}; it has {listed(sources)}.")
    return found


def listed(sources: Sequence[Source]) -> str:
    """The names of scenes, of many the first and how many more there are."""
    names = ", ".join(source.name for source in sources[:_LISTED])
    return names if len(sources) <= _LISTED else f"{names} and {len(sources) - _LISTED} more"


def scene_cloud(
    scene: PreparedScene, annotation: tuple[np.ndarray, np.ndarray] | None = None, *, max_points: int = MAX_HELD
) -> Cloud:
    """A prepared scene as a cloud; of a larger one an even share and every annotated point, and the name says so.

    Args:
        scene: N points.
        annotation: index (L,) of annotated points and their classes (L,); None where nothing is known of any.
        max_points: The share.
    """
    annotated = None
    if annotation is not None:
        annotated = np.full(scene.num_points, IGNORED, np.int16)
        annotated[annotation[0]] = annotation[1]
    index = held(scene.num_points, annotated, max_points)
    rows = slice(None) if index is None else index
    name = f"{scene.split}/{scene.name}"
    x, y, z = scene.offset.tolist()
    return Cloud(
        coord=np.array(scene.coord[rows]),
        color=None if scene.color is None else scene.color[rows],
        gt=None if scene.segment is None else scene.segment[rows],
        annotated=None if annotated is None else annotated[rows],
        normal=None if scene.normal is None else scene.normal[rows],
        name=name
        if index is None
        else f"{name} ({len(index) / 1e6:.1f} of {scene.num_points / 1e6:.1f} M points read)",
        offset=(x, y, z),
        whole=None if index is None else label_pairs(scene.segment, None, scene.num_points),
    )


def reference_system(path: Path) -> Path | str | None:
    """What is known of the coordinate reference system of a source's path, as ``write_las`` takes it.

    A LAS file stands for itself, a prepared scene for the LAS file it was made from or else the WKT it was made with.
    """
    if path.is_file():
        return path if path.suffix.lower() in _LAS else None
    if not (path / "meta.json").is_file():
        return None
    scene = open_scene(path)
    made_from = scene.sources
    if len(made_from) == 1 and made_from[0].suffix.lower() in _LAS and made_from[0].is_file():
        return made_from[0]
    crs = str(scene.meta.get("facts", {}).get("crs", ""))
    return crs if "[" in crs else None


def files_behind(source: Source) -> list[Path]:
    """What a source shows: its file; of a prepared scene all its files and the raw ones it was made from.

    Raises:
        InputError: A damaged scene.
    """
    path = source.path
    if not (path / "meta.json").is_file():
        return [path]
    return [*(file for file in path.rglob("*") if file.is_file()), *open_scene(path).sources]


def _refuse(wishes: Wishes, what: str, others: tuple[str, ...]) -> None:
    for other in others:
        if getattr(wishes, other):
            raise InputError(f"--{other.replace('_', '-')} says nothing about a {what}; leave it out.")


def _file(path: Path, name: str, source: str, wishes: Wishes) -> Source:
    return Source(name, source, path, partial(_load_file, path, name, wishes))


def _load_file(path: Path, name: str, wishes: Wishes) -> tuple[Cloud, Classes]:
    ply = path.suffix.lower() == ".ply"
    if ply and wishes.label_field is None and inspect_cloud(path).num_points <= MAX_HELD:
        cloud = read_ply(path)
    else:
        given = None if wishes.classes is None else load_classes(wishes.classes)
        cloud = read_view(path, label_field=wishes.label_field, classes=given)
        cloud = replace(cloud, name=name + cloud.name.removeprefix(path.stem))
    return cloud, wishes.classes_of(cloud, read_ply_classes(path) if ply else None)


def _prepared(path: Path, above: Path, wishes: Wishes, labels: SparseLabels | None) -> Source:
    place = path.resolve()
    return Source(f"{place.parent.name}/{place.name}", str(above), path, partial(_load_scene, path, wishes, labels))


def _load_scene(path: Path, wishes: Wishes, labels: SparseLabels | None) -> tuple[Cloud, Classes]:
    scene = open_scene(path)
    # A draw covers the training splits; other scenes of the root are shown without.
    covered = labels is not None and f"{scene.split}/{scene.name}" in labels.spec["scenes"]
    cloud = scene_cloud(scene, labels.for_scene(scene) if labels is not None and covered else None)
    class_file = path.resolve().parent.parent / "classes.yaml"
    return cloud, wishes.classes_of(cloud, load_classes(class_file) if class_file.is_file() else None)


def _root(root: Path, wishes: Wishes) -> list[Source]:
    there = list_splits(root)
    unknown = [split for split in wishes.splits if split not in there]
    if unknown:
        raise InputError(f"{root} has no split {unknown[0]!r}; it has {', '.join(there)}.")
    labels = _labels(root, wishes)
    splits = [split for split in there if split in wishes.splits or not wishes.splits]
    return [_prepared(path, root, wishes, labels) for split in splits for path in _scenes(root / split)]


def _labels(root: Path, wishes: Wishes) -> SparseLabels | None:
    return None if wishes.labels is None else open_labels(root, wishes.labels)


def _scenes(split: Path) -> list[Path]:
    return sorted(p for p in split.iterdir() if not p.name.startswith(".") and (p / "meta.json").is_file())


def _check_pointcept(target: Path) -> None:
    """Refuse scenes as Pointcept's preprocessing leaves them, whose arrays would be drawn as clouds of their own."""
    for place in ("coord.npy", "*/coord.npy", "*/*/coord.npy"):
        scenes = [path.parent for path in target.glob(place) if len(list(path.parent.glob("*.npy"))) > 1]
        if any((scene / "meta.json").is_file() for scene in scenes):
            return
        if scenes:
            raw = target if "*" in place else target.resolve().parent
            raise InputError(
                f"{scenes[0]} holds coord.npy and no meta.json, as Pointcept's folders do; make prepared scenes of "
                f"them with 'pointseg prepare pointcept --raw {raw} --out ROOT --classes NAME' and view ROOT."
            )


def _folder(folder: Path, wishes: Wishes) -> list[Source]:
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = sorted(p for p in inside if p.suffix.lower() in SUFFIXES and not any(n.startswith(".") for n in p.parts))
    files = [path for path in files if path.suffix.lower() not in _TABLES] or files
    if not files:
        raise InputError(
            f"{folder} holds no cloud file ({', '.join(SUFFIXES)}) and is no run, prepared scene or root; give one."
        )
    stems = Counter(path.with_suffix("") for path in files)
    names = [(path.with_suffix("") if stems[path.with_suffix("")] == 1 else path).as_posix() for path in files]
    return [_file(folder / path, name, str(folder), wishes) for path, name in zip(files, names, strict=True)]
