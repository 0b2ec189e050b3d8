"""One scene to prepare: what it is made from, who reads it, and whether what is stored is still up to date."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_prep._streaming import chunk_points, write_scene_streaming
from pointseg.data.classes import Classes
from pointseg.data.scene import PreparedScene, add_grids, hash_file, open_scene, write_scene
from pointseg.data.scene_reader import ARRAYS
from pointseg.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RawScene:
    """What a reader found: N points.

    Attributes:
        coord: (N, 3) float64 metres, in the source's coordinates.
        color: (N, 3) uint8.
        intensity: (N,) float32, in the source's unit.
        normal: (N, 3) float32 unit vectors.
        segment: (N,) class, -1 = ignored; None = no ground truth.
        instance: (N,) object number, -1 = on no object.
        repairs: What was mended, mapped to ignored or left out: ``file``, ``what`` and perhaps ``line``.
        facts: What else is known of the source, such as its reference system; must fit into JSON.
    """

    coord: np.ndarray
    color: np.ndarray | None = None
    intensity: np.ndarray | None = None
    normal: np.ndarray | None = None
    segment: np.ndarray | None = None
    instance: np.ndarray | None = None
    repairs: tuple[Mapping[str, Any], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def join_scenes(chunks: Iterable[RawScene]) -> RawScene:
    """One scene of its chunks, which all have the same optional arrays; empty ones add repairs and facts alone.

    Args:
        chunks: In order.
    """
    parts = list(chunks)
    full = [part for part in parts if len(part.coord)] or parts[:1]
    arrays = {key: [getattr(part, key) for part in full] for key in _POINT_ARRAYS}
    return RawScene(
        **{key: each[0] if len(each) == 1 else np.concatenate(each) for key, each in arrays.items() if _given(each)},
        repairs=tuple(repair for part in parts for repair in part.repairs),
        facts={key: value for part in parts for key, value in part.facts.items()},
    )


_POINT_ARRAYS = ("coord", "color", "intensity", "normal", "segment", "instance")


def _given(arrays: list[np.ndarray | None]) -> bool:
    return arrays[0] is not None


@dataclass(frozen=True)
class SceneJob:
    """What it takes to prepare one scene; sent to worker processes and to other machines.

    Attributes:
        split: Folder of the scene below the root.
        scene: Its name.
        sources: Every file it is made from.
        base: The names of the sources in ``meta.json`` are relative to it.
        read: Reads the sources; a module's function or a ``functools.partial`` of one.
        settings: What besides the sources decides the result; must fit into JSON. Others than those of the stored
            scene mean that it is made again.
        chunks: Reads the sources so many points at a time; the last chunk may have no points. None = they cannot be.
    """

    split: str
    scene: str
    sources: tuple[Path, ...]
    base: Path
    read: Callable[[tuple[Path, ...]], RawScene]
    settings: Mapping[str, Any] = field(default_factory=dict)
    chunks: Callable[[tuple[Path, ...], int], Iterable[RawScene]] | None = None

    @property
    def name(self) -> str:
        """``<split>/<scene>``."""
        return f"{self.split}/{self.scene}"

    def source_bytes(self) -> int:
        """Size of the sources, for progress and order; 0 for one that cannot be read."""
        return sum(path.stat().st_size for path in self.sources if path.exists())


@dataclass(frozen=True)
class Store:
    """Where scenes go and what is kept of them.

    Attributes:
        out: Root of the prepared scenes.
        dataset: Name written to every scene.
        classes: Of the root.
        voxel_sizes: Grids to store, metres.
        memory: Bytes that preparing one scene may take; only for jobs with ``chunks``. None = read scenes whole.
    """

    out: Path
    dataset: str
    classes: Classes
    voxel_sizes: tuple[float, ...]
    memory: int | None = None


@dataclass(frozen=True)
class SceneResult:
    """What became of a scene.

    Attributes:
        name: ``<split>/<scene>``.
        status: ``written``, ``kept`` (it was up to date) or ``failed``.
        points: N, 0 if it failed.
        repairs: What was mended or left out in reading it.
        error: Why it failed, else "".
        source_bytes: Size of what it was made from.
    """

    name: str
    status: str
    points: int = 0
    repairs: tuple[Mapping[str, Any], ...] = ()
    error: str = ""
    source_bytes: int = 0


def prepare_scene(job: SceneJob, store: Store) -> SceneResult:
    """Prepare a scene unless it is there, whole, and made from the same sources with the same settings.

    A scene that cannot be prepared does not raise: the reason is the result's ``error``, so that the others go on.
    """
    try:
        scene = _up_to_date(job, store)
        if scene is not None and not _needs_bound(scene, job, store):
            add_grids(scene, store.voxel_sizes)
            repairs = tuple(scene.meta["repairs"])
            return SceneResult(job.name, "kept", scene.num_points, repairs, source_bytes=job.source_bytes())
        return _write(job, store)
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = _system_error(error, store)
    except MemoryError as error:
        message = f"out of memory ({error or 'no details'}); use fewer --workers"
    except Exception as error:  # a defect of a reader must not cost the other scenes
        logger.exception("%s", job.name)
        message = f"{type(error).__name__}: {error}; this is a mistake in the program, not in your data: report it"
    return SceneResult(job.name, "failed", error=message, source_bytes=job.source_bytes())


def _needs_bound(scene: PreparedScene, job: SceneJob, store: Store) -> bool:
    """Whether grids are missing that may not be made from the whole scene at once."""
    bound = store.memory is not None and job.chunks is not None
    return bound and not set(store.voxel_sizes) <= set(scene.voxel_sizes)


def _system_error(error: OSError, store: Store) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no space left on the disk of {store.out}; free some and run the command again: finished scenes are kept"
        )
    return f"{error.filename}: {error.strerror}" if error.filename else f"{type(error).__name__}: {error}"


def _up_to_date(job: SceneJob, store: Store) -> PreparedScene | None:
    folder = store.out / job.split / job.scene
    if not folder.exists():
        return None
    _refuse_foreign(folder, job)
    try:
        scene = open_scene(folder)
    except InputError:
        return None
    if scene.meta["dataset"] != store.dataset:
        raise InputError(
            f"{folder} was prepared from {scene.meta['dataset']}, not {store.dataset}; choose another --out folder"
        )
    try:
        recorded = {entry["name"]: entry for entry in scene.meta["sources"]}
        names = {_source_name(job, path): path for path in job.sources}
        # As JSON gives them back: a tuple is a list there.
        settings = json.loads(json.dumps(dict(job.settings)))
        same = set(recorded) == set(names) and scene.meta["settings"] == settings
        unchanged = same and all(_unchanged(path, recorded[name]) for name, path in names.items())
        return scene if unchanged and isinstance(scene.meta["repairs"], list) else None
    except (KeyError, TypeError):
        return None  # written by an earlier version, or damaged


def _refuse_foreign(folder: Path, job: SceneJob) -> None:
    """See that writing the scene replaces nothing but a scene that was made from the same files."""
    if any(path.resolve().is_relative_to(folder.resolve()) for path in job.sources):
        raise InputError(f"{folder} holds the raw files themselves; choose an --out folder apart from them")
    ours = {"meta.json", *(f"{name}.npy" for name in ARRAYS)}
    foreign = [path for path in folder.iterdir() if path.name not in ours and not path.name.startswith(("grid_", "."))]
    if foreign:
        raise InputError(f"{folder} holds {foreign[0].name}, which no prepared scene has; choose another --out folder")
    try:
        stored = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["sources"]
        sources = {entry["name"]: (Path(entry["path"]), entry["sha256"]) for entry in stored}
    except (OSError, ValueError, KeyError, TypeError):
        return  # damaged, or written by an earlier version: to be made again
    # A file exported anew under another ending is another file; a room of many files may gain and lose some.
    only = next(iter(sources.values())) if len(sources) == len(job.sources) == 1 else None
    for path in job.sources:
        before, content = only or sources.get(_source_name(job, path), (path, ""))
        moved = before != path.absolute() and before.exists() and not before.samefile(path)
        if moved and hash_file(path) != content:
            raise InputError(
                f"{folder} was made from {before}, which is still there, and would be replaced by {path}; rename one "
                "of the two, or choose another --out folder or --split"
            )


def _unchanged(path: Path, recorded: Mapping[str, Any]) -> bool:
    stat = path.stat()
    if stat.st_size != recorded["bytes"]:
        return False
    return stat.st_mtime_ns == recorded["mtime_ns"] or hash_file(path) == recorded["sha256"]


def _write(job: SceneJob, store: Store) -> SceneResult:
    # Described before they are read: a file that changes meanwhile is then noticed by the next run.
    sources = [_described(job, path) for path in job.sources]
    shared: dict[str, Any] = {
        "dataset": store.dataset,
        "sources": sources,
        "settings": job.settings,
        "voxel_sizes": store.voxel_sizes,
    }
    if store.memory is not None and job.chunks is not None:
        chunks = job.chunks(job.sources, chunk_points(store.memory))
        folder = write_scene_streaming(store.out, job.split, job.scene, chunks, memory=store.memory, **shared)
    else:
        raw = job.read(job.sources)
        if len(raw.coord) == 0:
            raise InputError(f"{job.name} holds no points at all; fetch it again or leave it out")
        folder = write_scene(store.out, job.split, job.scene, **vars(raw), **shared)
    meta = open_scene(folder).meta
    return SceneResult(job.name, "written", meta["num_points"], tuple(meta["repairs"]), source_bytes=job.source_bytes())


def _described(job: SceneJob, path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {
        "name": _source_name(job, path),
        "path": str(path.absolute()),
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "sha256": hash_file(path),
    }


def _source_name(job: SceneJob, path: Path) -> str:
    return path.relative_to(job.base).as_posix() if path.is_relative_to(job.base) else path.as_posix()
