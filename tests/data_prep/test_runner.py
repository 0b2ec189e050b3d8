"""Preparing many scenes: worker processes, a Dask cluster, and what happens when one of them dies."""

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from data_prep import s3dis
from data_prep._jobs import RawScene, SceneJob, Store, prepare_scenes
from data_prep._runner import _in_processes
from pointseg.data.classes import load_classes
from pointseg.data.scene import open_scene
from pointseg.errors import InputError

CLASSES = load_classes("s3dis")


@pytest.fixture
def raw(tmp_path):
    for area, room in (("Area_1", "office_1"), ("Area_1", "office_2"), ("Area_3", "lobby_1")):
        folder = tmp_path / "raw" / area / room / "Annotations"
        folder.mkdir(parents=True)
        rows = np.random.default_rng(len(room)).uniform(0, 3, (40, 3))
        (folder / "floor_1.txt").write_text("".join(f"{x:.3f} {y:.3f} {z:.3f} 1 2 3\n" for x, y, z in rows))
    return tmp_path / "raw"


def store(out):
    return Store(out, "s3dis", CLASSES, (0.5,))


def content(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed", reason="needs pointseg[cluster]")
    # It leaves OMP_NUM_THREADS=1 in the environment of the process that starts it.
    before = dict(os.environ)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as workers:
        yield workers
    os.environ.clear()
    os.environ.update(before)


def test_a_cluster_of_two_workers_makes_the_same_root(raw, tmp_path, cluster):
    jobs = s3dis.jobs(raw, CLASSES)
    (raw / "Area_3" / "lobby_1" / "Annotations" / "floor_1.txt").write_text("1 2 three 1 2 3\n")
    report = prepare_scenes(jobs, store(tmp_path / "far"), scheduler=cluster.scheduler_address)
    assert {result.name: result.status for result in report.results} == {
        "Area_1/office_1": "written",
        "Area_1/office_2": "written",
        "Area_3/lobby_1": "failed",
    }
    prepare_scenes(jobs, store(tmp_path / "near"))
    assert content(tmp_path / "far") == content(tmp_path / "near")


def test_a_scheduler_that_does_not_answer(raw, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs pointseg[cluster]")

    def refuse(address, timeout):
        raise OSError(f"timed out at {address}")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1'; start one with"):
        prepare_scenes(s3dis.jobs(raw, CLASSES), store(tmp_path / "out"), scheduler="tcp://127.0.0.1:1")


def test_a_killed_worker_costs_its_own_item_only():
    # eval, because a spawned process must be able to import the function.
    items = ["1 + 2", "__import__('os')._exit(1)", "2 + 2"]
    results = list(_in_processes(eval, items, 2, died=lambda item: f"{item} died"))
    assert sorted(map(str, results)) == ["3", "4", "__import__('os')._exit(1) died"]


def test_workers_leave_an_interrupt_to_the_process_that_started_them():
    assert list(_in_processes(signal.getsignal, [signal.SIGINT], 1, died=str)) == [signal.SIG_IGN]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def job(name, read, tmp_path, **settings):
    source = tmp_path / f"{name}.raw"
    source.touch()
    return SceneJob("all", name, (source,), tmp_path, read, settings)


def points(sources, coord=((0.0, 0.0, 0.0), (1.0, 2.0, 3.0)), **parts):
    return RawScene(np.array(coord).reshape(-1, 3), **parts)


def test_scenes_without_colour_and_with_intensity(tmp_path):
    read = partial(points, intensity=np.array([10.0, 30.0], np.float32), facts={"crs": "EPSG:2154"})
    report = prepare_scenes([job("a", read, tmp_path)], Store(tmp_path / "out", "mine", CLASSES, (5.0,)))
    assert not report.failed
    scene = open_scene(tmp_path / "out" / "all" / "a")
    assert scene.color is None
    assert scene.segment is None
    assert scene.intensity.tolist() == [10, 30]
    assert scene.grid(5.0).intensity.tolist() == [20]
    assert scene.meta["facts"] == {"crs": "EPSG:2154"}
    assert [entry["name"] for entry in scene.meta["sources"]] == ["a.raw"]


def test_other_settings_redo_a_scene(tmp_path):
    out = Store(tmp_path / "out", "mine", CLASSES, (0.5,))
    runs = [prepare_scenes([job("a", points, tmp_path, k=k)], out).results[0].status for k in (1, 1, 2)]
    assert runs == ["written", "kept", "written"]
    assert open_scene(tmp_path / "out" / "all" / "a").meta["settings"] == {"k": 2}


def test_a_reader_that_breaks_costs_its_own_scene_only(tmp_path):
    def broken(sources):
        return {}["nothing"]

    jobs = [job("a", broken, tmp_path), job("b", points, tmp_path), job("c", partial(points, coord=()), tmp_path)]
    report = prepare_scenes(jobs, Store(tmp_path / "out", "mine", CLASSES, (0.5,)))
    assert {result.name: result.status for result in report.results} == {
        "all/a": "failed",
        "all/b": "written",
        "all/c": "failed",
    }
    assert "KeyError: 'nothing'; this is a mistake in the program" in report.failed[0].error
    assert "all/c holds no points at all" in report.failed[1].error


def test_two_sources_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="two sources would become one scene: all/a"):
        prepare_scenes([job("a", points, tmp_path)] * 2, Store(tmp_path / "out", "mine", CLASSES, (0.5,)))
    with pytest.raises(InputError, match="no scenes to prepare"):
        prepare_scenes([], Store(Path(tmp_path / "out"), "mine", CLASSES, (0.5,)))


def test_relative_folders_mean_the_caller_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare_scenes([job("a", points, tmp_path)], Store(Path("out"), "mine", CLASSES, (0.5,)))
    monkeypatch.chdir("/")
    assert open_scene(tmp_path / "out" / "all" / "a").num_points == 2


def test_a_size_added_under_a_bound_is_made_under_it(tmp_path, monkeypatch):
    one = job("a", points, tmp_path)
    streamed = SceneJob(one.split, one.scene, one.sources, tmp_path, points, {}, lambda sources, n: [points(sources)])
    prepare_scenes([streamed], Store(tmp_path / "out", "mine", CLASSES, (0.5,)))
    monkeypatch.setattr("data_prep._scene_job.add_grids", None)
    report = prepare_scenes([streamed], Store(tmp_path / "out", "mine", CLASSES, (0.5, 1.0), 2**28))
    assert report.results[0].status == "written"
    assert open_scene(tmp_path / "out" / "all" / "a").voxel_sizes == (0.5, 1.0)
