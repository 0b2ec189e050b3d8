"""What preparing must never do: replace raw files, other people's folders, or a scene made from another file."""

import shutil

import numpy as np
import pytest

from data_prep import cloud, s3dis
from data_prep._jobs import Store, prepare_scenes
from data_prep._main import run_module
from pointseg.data.classes import load_classes
from pointseg.data.scene import open_scene

CLASSES = load_classes("s3dis")


@pytest.fixture
def raw(tmp_path):
    for room in ("Area_1/office_1", "Area_1/office_2"):
        folder = tmp_path / "raw" / room / "Annotations"
        folder.mkdir(parents=True)
        (folder / "floor_1.txt").write_text("0.1 0.2 0.3 1 2 3\n1.1 0.2 0.3 4 5 6\n")
    return tmp_path / "raw"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def prepare(raw, out):
    return prepare_scenes(s3dis.jobs(raw, CLASSES), Store(out, "s3dis", CLASSES, (0.5,)))


def test_the_raw_files_are_never_replaced(raw):
    before = {path: path.read_bytes() for path in raw.rglob("*.txt")}
    report = prepare(raw, raw)
    assert all("holds the raw files themselves" in result.error for result in report.results)
    assert {path: path.read_bytes() for path in raw.rglob("*.txt")} == before


def test_a_folder_of_something_else_is_not_replaced(raw, out):
    other = out / "Area_1" / "office_1" / "thesis.tex"
    other.parent.mkdir(parents=True)
    other.write_text("years of work")
    (failed,) = prepare(raw, out).failed
    assert "holds thesis.tex, which no prepared scene has" in failed.error
    assert other.read_text() == "years of work"


def test_another_source_of_the_same_name_does_not_replace_a_scene(tmp_path):
    classes = load_classes("asprs")
    for day, count in (("monday", 60), ("tuesday", 40)):
        (tmp_path / day).mkdir()
        np.save(tmp_path / day / "scan.npy", np.random.default_rng(0).uniform(0, 3, (count, 3)))
    store = Store(tmp_path / "out", "cloud", classes, (0.5,))
    assert not prepare_scenes(cloud.jobs([tmp_path / "monday" / "scan.npy"], classes), store).failed
    (failed,) = prepare_scenes(cloud.jobs([tmp_path / "tuesday" / "scan.npy"], classes), store).failed
    assert "monday/scan.npy, which is still there, and would be replaced by" in failed.error
    shutil.copy(tmp_path / "monday" / "scan.npy", tmp_path / "scan.npy")
    copied = prepare_scenes(cloud.jobs([tmp_path / "scan.npy"], classes), store)
    assert [result.status for result in copied.results] == ["kept"], "the same content elsewhere is the same source"
    (tmp_path / "monday" / "scan.npy").unlink()
    assert not prepare_scenes(cloud.jobs([tmp_path / "tuesday" / "scan.npy"], classes), store).failed


def test_another_format_of_the_same_name_does_not_replace_a_scene(tmp_path):
    classes, out = load_classes("asprs"), tmp_path / "out"
    (tmp_path / "scan.xyz").write_text("0 0 0\n1 2 3\n")
    (tmp_path / "scan.csv").write_text("x,y,z\n0,0,0\n1,2,3\n4,5,6\n")

    def result(name):
        return prepare_scenes(cloud.jobs([tmp_path / name], classes), Store(out, "cloud", classes, (0.5,))).results[0]

    assert result("scan.xyz").status == "written"
    refused = result("scan.csv")
    assert "scan.xyz, which is still there, and would be replaced by" in refused.error
    assert open_scene(out / "all" / "scan").num_points == 2
    (tmp_path / "scan.xyz").unlink()
    assert (result("scan.csv").status, result("scan.csv").points) == ("written", 3)


def test_a_room_may_gain_and_lose_objects(raw, out):
    second = raw / "Area_1" / "office_1" / "Annotations" / "wall_1.txt"
    points = []
    for change in (lambda: None, lambda: second.write_text("0 0 0 1 2 3\n"), second.unlink):
        change()
        report = prepare(raw, out)
        assert not report.failed
        points.append(report.results[0].points)
    assert points == [2, 3, 2]


def test_scenes_left_from_earlier_are_named(raw, out, capsys):
    command_line = ["--raw", str(raw), "--out", str(out), "--workers", "1"]
    assert run_module(s3dis.HELP, s3dis.add_arguments, s3dis.run, command_line) == 0
    shutil.rmtree(raw / "Area_1" / "office_2")
    assert run_module(s3dis.HELP, s3dis.add_arguments, s3dis.run, command_line) == 0
    assert "1 scenes of" in (printed := capsys.readouterr().out)
    assert "not part of this run and stay as they are: Area_1/office_2" in printed
