"""Folders of benchmark files: written from predictions, and checked before they are sent in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.atomic import replacing_folder
from pointseg.data.classes import Classes
from pointseg.data.scene import PreparedScene
from pointseg.errors import InputError
from pointseg.evaluation import submission_scannet, submission_sensaturban


@dataclass(frozen=True)
class Benchmark:
    """The form of a benchmark's files, one a scene.

    Attributes:
        suffix: of the file names.
        encode: ids (N,) -> content.
        decode: content -> ids (N,) int64; ``InputError`` if it cannot be read.
        test_files: scenes of the hidden test set.
    """

    suffix: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]
    test_files: int


_SCANNET = Benchmark(
    submission_scannet.SUFFIX, submission_scannet.encode, submission_scannet.decode, submission_scannet.TEST_FILES
)
_SENSATURBAN = Benchmark(
    submission_sensaturban.SUFFIX,
    submission_sensaturban.encode,
    submission_sensaturban.decode,
    submission_sensaturban.TEST_FILES,
)
BENCHMARKS = {"scannet": _SCANNET, "scannet200": _SCANNET, "sensaturban": _SENSATURBAN}
"""By the data set of the class file."""

_BYTES_A_POINT = 12


def write_submission(
    folder: Path,
    scenes: Iterable[PreparedScene],
    predict: Callable[[PreparedScene], np.ndarray],
    classes: Classes,
) -> Path:
    """Predict scenes into a folder of benchmark files, which appears whole or not at all.

    Args:
        folder: to make; it must not be there yet, or be empty.
        scenes: with or without ground truth; no two of one name.
        predict: scene -> class of every raw point (N,), in the raw file's order.
        classes: of the data set.

    Returns:
        The folder.

    Raises:
        InputError: the data set has no benchmark here, the folder holds something, or scenes share a name.
    """
    benchmark, ids = _benchmark(classes), benchmark_ids(classes)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds something already; name a new folder for the submission")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as unfinished:
        for scene in scenes:
            file = unfinished / (scene.name + benchmark.suffix)
            if file.exists():
                raise InputError(f"two scenes are called {scene.name}; name splits that hold each scene once")
            pred = predict(scene)
            if len(pred) != scene.num_points:
                raise InputError(f"scene {scene.name} has {scene.num_points} points and {len(pred)} predictions")
            file.write_bytes(benchmark.encode(ids[pred]))
        if not any(unfinished.iterdir()):
            raise InputError("there is no scene to predict; name splits that hold prepared scenes")
    return folder


def check_submission(folder: Path, scenes: Sequence[PreparedScene], classes: Classes) -> list[str]:
    """What is wrong with a folder of benchmark files: names, numbers of labels, ids.

    Args:
        folder: to look at.
        scenes: that the benchmark asks for, prepared.
        classes: of the data set.

    Returns:
        One sentence a problem; none if the folder is fit to be sent in.

    Raises:
        InputError: the data set has no benchmark here, or there is no such folder.
    """
    benchmark, allowed = _benchmark(classes), benchmark_ids(classes)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; write one with --submission")
    wanted = {scene.name + benchmark.suffix: scene for scene in scenes}
    there = {path.name: path for path in sorted(folder.iterdir())}
    problems = [f"{name} is missing" for name in wanted if name not in there]
    problems += [f"{name} does not belong there" for name in there if name not in wanted]
    for name, scene in wanted.items():
        if name in there:
            problem = _check_file(there[name], scene.num_points, benchmark, allowed)
            problems += [f"{name}: {problem}"] if problem else []
    hidden = sum(scene.segment is None for scene in scenes)
    if hidden and hidden != benchmark.test_files:
        problems.append(
            f"{hidden} test scenes are prepared, but the benchmark has {benchmark.test_files}; prepare all of them"
        )
    return problems


def benchmark_ids(classes: Classes) -> np.ndarray:
    """(K,) int64: the id that the benchmark gives each class, the first source id of the class file.

    Raises:
        InputError: a class has no number there.
    """
    for name, sources in zip(classes.names, classes.source_ids, strict=True):
        if not sources or not isinstance(sources[0], int):
            raise InputError(
                f"class {name} of {classes.dataset} has the source ids {list(sources)}; the first must be the "
                "benchmark's number for it"
            )
    return np.array([sources[0] for sources in classes.source_ids], dtype=np.int64)


def _benchmark(classes: Classes) -> Benchmark:
    if classes.dataset not in BENCHMARKS:
        raise InputError(
            f"there is no benchmark for the data set {classes.dataset}; there is one for {', '.join(BENCHMARKS)}"
        )
    return BENCHMARKS[classes.dataset]


def _check_file(path: Path, points: int, benchmark: Benchmark, allowed: np.ndarray) -> str | None:
    """What is wrong with a file of one scene, or None."""
    if not path.is_file():
        return "it is not a file"
    if path.stat().st_size > _BYTES_A_POINT * (points + 1):
        return f"its {path.stat().st_size:,} bytes are too many for the scene's {points:,} points"
    try:
        ids = benchmark.decode(path.read_bytes())
    except InputError as error:
        return str(error)
    if len(ids) != points:
        return f"it holds {len(ids):,} labels, but the scene has {points:,} points"
    wrong = np.setdiff1d(ids, allowed)
    return f"it holds the ids {wrong[:5].tolist()}, which are no class of the benchmark" if len(wrong) else None
