"""Odd clouds, and sources and settings that change: correct scenes or clear failures, and the others are done."""

from functools import partial

import numpy as np
import pytest

from data_prep._jobs import RawScene, SceneJob, Store, prepare_scenes
from pointseg.data.check import check_root
from pointseg.data.classes import load_classes
from pointseg.data.scene import open_scene

CLASSES = load_classes("s3dis")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def statuses(report):
    return {result.name: result.status for result in report.results}


def read_points(files, *, coord, **more):
    """A reader that has its points already; at the top of the module, as readers must be."""
    return RawScene(coord=coord, **more)


def job(tmp_path, coord, *, scene="x", settings=None, **more):
    source = tmp_path / "source.bin"
    if not source.exists():
        source.write_bytes(b"one")
    read = partial(read_points, coord=np.asarray(coord), **more)
    return SceneJob("all", scene, (source,), tmp_path, read, settings or {})


def prepare_jobs(out, *jobs, voxel_sizes=(0.5,)):
    return prepare_scenes(jobs, Store(out, "made", CLASSES, voxel_sizes))


def test_changed_settings_and_sources_are_noticed(out, tmp_path):
    first = {"benchmark": 20, "rows": [1, 2], "nested": {"a": None}}
    assert statuses(prepare_jobs(out, job(tmp_path, np.eye(3), settings=first))) == {"all/x": "written"}
    # Anything not made again keeps its three points: the reader is not asked.
    assert statuses(prepare_jobs(out, job(tmp_path, np.eye(4, 3), settings=first))) == {"all/x": "kept"}
    assert open_scene(out / "all" / "x").num_points == 3
    second = first | {"benchmark": 200}
    assert statuses(prepare_jobs(out, job(tmp_path, np.eye(4, 3), settings=second))) == {"all/x": "written"}
    assert open_scene(out / "all" / "x").meta["settings"] == second
    (tmp_path / "source.bin").write_bytes(b"two")
    assert statuses(prepare_jobs(out, job(tmp_path, np.eye(5, 3), settings=second))) == {"all/x": "written"}
    assert open_scene(out / "all" / "x").num_points == 5


def read_and_change(files):
    files[0].write_bytes(b"changed while it was read")
    return RawScene(coord=np.eye(3))


def test_a_source_that_changes_while_it_is_read_is_read_again(out, tmp_path):
    (tmp_path / "s").write_bytes(b"before")
    one = SceneJob("all", "x", (tmp_path / "s",), tmp_path, read_and_change)
    assert [statuses(prepare_jobs(out, one))["all/x"] for _ in range(3)] == ["written", "written", "kept"]


def test_a_vanished_source_is_named(out, tmp_path):
    gone = SceneJob("all", "x", (tmp_path / "gone.txt",), tmp_path, read_and_change)
    report = prepare_jobs(out, gone, job(tmp_path, np.eye(3), scene="y"))
    assert statuses(report) == {"all/x": "failed", "all/y": "written"}
    assert "gone.txt: No such file or directory" in report.failed[0].error


def read_wrongly(files):
    raise ZeroDivisionError("division by zero")


def test_a_mistake_of_a_reader_does_not_cost_the_other_scenes(out, tmp_path):
    wrong = SceneJob("all", "wrong", (), tmp_path, read_wrongly)
    report = prepare_jobs(out, wrong, job(tmp_path, np.eye(3)))
    assert statuses(report) == {"all/wrong": "failed", "all/x": "written"}
    assert "ZeroDivisionError" in report.failed[0].error


def test_one_point(out, tmp_path):
    coord = [[652_000.25, 6_862_000.5, -31.75]]
    prepare_jobs(out, job(tmp_path, coord, segment=np.array([3]), color=np.full((1, 3), 9)), voxel_sizes=(0.5, 10))
    scene = open_scene(out / "all" / "x")
    assert (scene.coord.astype(float) + scene.offset).tolist() == coord
    for size in (0.5, 10):
        grid = scene.grid(size)
        assert (grid.inverse.tolist(), grid.point.tolist(), grid.segment.tolist()) == ([0], [0], [3])
        assert grid.color.tolist() == [[9, 9, 9]]
    assert check_root(out).problems == ()


def test_a_million_identical_points(out, tmp_path):
    n = 1_000_000
    color = np.zeros((n, 3), np.uint8)
    color[: n // 2] = 255
    segment = np.repeat([-1, 2, 1], [n // 2, n // 4, n // 4])
    prepare_jobs(out, job(tmp_path, np.full((n, 3), 7.3), color=color, segment=segment))
    scene = open_scene(out / "all" / "x")
    grid = scene.grid(0.5)
    assert grid.coord.tolist() == [[0, 0, 0]]
    assert len(grid.inverse) == n
    assert not grid.inverse.any()
    assert grid.color.tolist() == [[128, 128, 128]], "127.5, rounded half up"
    assert grid.segment.tolist() == [1], "a tie goes to the lower class, ignored points do not vote"
    assert check_root(out).problems == ()


@pytest.mark.parametrize(
    ("coord", "message"),
    [
        ([[0, 0, 0], [1, np.nan, 2]], "point 1 is at [1.0, nan, 2.0]; coordinates must be finite"),
        ([[0, 0, 0], [1, -np.inf, 2]], "point 1 is at [1.0, -inf, 2.0]"),
        (np.empty((0, 3)), "all/x holds no points at all"),
        ([[0, 0, 0], [0, 0, 4e6]], "the cloud spans 8000001 voxels of 0.5 m along one axis"),
    ],
)
def test_clouds_that_cannot_be_prepared_are_named(out, tmp_path, coord, message):
    report = prepare_jobs(out, job(tmp_path, coord), job(tmp_path, np.eye(3), scene="y"))
    assert statuses(report) == {"all/x": "failed", "all/y": "written"}
    assert message in report.failed[0].error
    assert check_root(out).scenes == 1
