"""Small journals of predicting and files for benchmarks, and what reading one promises.

A journal only saves work: what is damaged in it is done again, and never an error.
"""

import json
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from fuzz_clouds import POINTS
from fuzz_containers import text_sample
from fuzz_mutations import Sample
from fuzz_own_files import prepared

from pointseg.cli.run_clouds import WrittenFiles
from pointseg.data.classes import load_classes
from pointseg.data.scene import PreparedScene, open_scene
from pointseg.evaluation.submission import check_submission
from pointseg.inference.cloud_files import LEAST_MEMORY, CloudGrid, make_grid
from pointseg.inference.finished_files import FinishedFiles
from pointseg.inference.journal import FINISHED, Journal
from pointseg.inference.predict_file import file_key
from pointseg.inference.stopwatch import Stopwatch
from pointseg.inference.tile_network import RESULT
from pointseg.inference.tiling import Blocks

_BLOCKS = Blocks(np.zeros(3, np.int64), np.arange(12, dtype=np.int32).reshape(4, 3), np.array([0, 3, 5, 9, 12]))
_KEPT = [[(0, 3)], [(5, 9)]]
_PREDICTOR = cast(
    Any, SimpleNamespace(device=SimpleNamespace(type="cpu"), fingerprint=lambda: "0", halo_voxels=lambda halo: 3)
)
MADE_BY = "predictions/made_by.jsonl"
_MAKER = {"weights": "0" * 64, "data": "root"}


def journal(folder: Path) -> None:
    """Two of four blocks, predicted."""
    kept = Journal.open(folder, 12)
    rng = np.random.default_rng(0)
    for ranges in _KEPT:
        rows = np.zeros(sum(stop - start for start, stop in ranges), RESULT)
        rows["confidence"] = rng.random(len(rows))
        kept.keep(ranges, rows)


def _made(write, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return (Path(folder) / name).read_bytes()


@cache
def journal_lines() -> list[Sample]:
    return [Sample((_made(journal, FINISHED),))]


def read_journal(path: Path) -> None:
    finished = Journal.open(path.parent, 12).finished(_BLOCKS)
    assert (finished.shape, finished.dtype) == ((4,), np.bool_)
    assert not finished[[1, 3]].any()


def grid(folder: Path) -> None:
    coord = np.random.default_rng(0).uniform(0, 2, (POINTS, 3))
    np.savetxt(folder / "cloud.xyz", coord)
    stopwatch = Stopwatch()
    settings = {"voxel_size": 0.5, "features": ("ones", "height"), "memory": LEAST_MEMORY, "stopwatch": stopwatch}
    make_grid(folder / "cloud.xyz", folder / "grid", **settings)


@cache
def grid_facts() -> list[Sample]:
    return [Sample((_made(grid, "grid/grid.json"),))]


def read_grid(path: Path) -> None:
    found = CloudGrid.open(path.parent)
    if found is not None:
        whole = json.loads(grid_facts()[0].parts[0])["facts"]
        assert (found.points, list(found.lowest), found.floor) == (POINTS, whole["lowest"], whole["floor"])


def outputs(folder: Path) -> None:
    """A cloud, its prediction, and the note that it is finished."""
    (folder / "in.xyz").write_text("1 2 3\n")
    (folder / "out.xyz").write_text("1 2 3 0\n")
    key = file_key(_PREDICTOR, folder / "in.xyz", 3)
    FinishedFiles(folder, _PREDICTOR, None).add(folder / "out.xyz", key)


@cache
def finished_lines() -> list[Sample]:
    return [Sample((_made(outputs, ".predicted.jsonl"),))]


def read_finished(path: Path) -> None:
    source, target = path.with_name("in.xyz"), path.with_name("out.xyz")
    FinishedFiles(path.parent, _PREDICTOR, None).holds(source, target)
    # Not there, so no note can make it count as finished.
    assert not FinishedFiles(path.parent, _PREDICTOR, None).holds(source, path.with_name("other.xyz"))
    FinishedFiles(path.parent, _PREDICTOR, None).add(target, file_key(_PREDICTOR, source, 3))
    assert FinishedFiles(path.parent, _PREDICTOR, None).holds(source, target)


def _written_files(folder: Path) -> WrittenFiles:
    return WrittenFiles(folder / "predictions", _MAKER)


def predictions(folder: Path) -> None:
    """A scene, a file of predictions for it, and the note of who made it."""
    prepared(folder)
    written, scene = _written_files(folder), open_scene(folder / "root" / "all" / "x")
    written.path(scene).parent.mkdir(parents=True)
    written.path(scene).write_bytes(b"ply\n")
    written.add(scene)


@cache
def made_by() -> list[Sample]:
    return [Sample((_made(predictions, MADE_BY),))]


def read_made_by(path: Path) -> None:
    scene, written = _scene(path.parents[1]), _written_files(path.parents[1])
    written.holds(scene)
    written.add(scene)
    assert written.holds(scene)
    other = WrittenFiles(written.folder, _MAKER | {"weights": "1" * 64})
    assert not other.holds(scene)


@cache
def scannet_submission() -> list[Sample]:
    return [text_sample("".join(f"{value}\n" for value in ([1, 2, 39] * POINTS)[:POINTS]))]


@cache
def sensaturban_submission() -> list[Sample]:
    return [Sample((bytes(i % 13 for i in range(POINTS)),))]


@cache
def _scene(folder: Path) -> PreparedScene:
    return open_scene(folder / "root" / "all" / "x")


def _read_submission(path: Path, data_set: str) -> None:
    classes = load_classes(data_set)
    problems = check_submission(path.parent, [_scene(path.parents[1])], classes)
    for problem in problems:
        assert len(problem.splitlines()) == 1
        problem.encode()
    if not problems:
        ids = {int(word) for word in path.read_text().split()} if data_set == "scannet20" else set(path.read_bytes())
        assert ids <= {sources[0] for sources in classes.source_ids}


def read_scannet_submission(path: Path) -> None:
    _read_submission(path, "scannet20")


def read_sensaturban_submission(path: Path) -> None:
    _read_submission(path, "sensaturban")
