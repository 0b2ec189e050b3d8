"""S3DIS's areas to a root of prepared scenes: what is kept, done again, refused and left by an interrupt."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from s3dis_rooms import prepare, statuses, write_areas

from data_prep import s3dis
from data_prep._main import run_module
from data_prep._s3dis_counts import missing
from pointseg.data.classes import load_classes
from pointseg.data.scene import list_scenes, open_scene
from pointseg.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def raw(tmp_path):
    return write_areas(tmp_path / "raw")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def hidden(folder):
    return [p for p in folder.rglob(".*") if p.name.startswith(".")]


BAD_ROOMS = {
    "a line that cannot be repaired": (lambda f: (f / "floor_1.txt").write_text("1 2 3 4 5\n"), "floor_1.txt, line 1"),
    "an unknown class": (
        lambda f: (f / "throne_1.txt").write_text("1 2 3 4 5 6\n"),
        "no class has the source name 'throne'",
    ),
    "no annotation files": (lambda f: [p.unlink() for p in f.iterdir()], "holds no annotation files"),
    "no Annotations folder": (shutil.rmtree, "there is no folder"),
    "no points at all": (lambda f: [p.write_text("") for p in f.iterdir()], "holds no points at all"),
    "a folder in place of a file": (lambda f: (f / "wall_1.txt").mkdir(), "Is a directory"),
}


@pytest.mark.parametrize("name", BAD_ROOMS)
def test_one_bad_room_does_not_stop_the_others(raw, out, capsys, name):
    damage, message = BAD_ROOMS[name]
    damage(raw / "Area_1" / "office_1" / "Annotations")
    arguments = ["--raw", str(raw), "--out", str(out), "--workers", "1"]
    assert run_module(s3dis.HELP, s3dis.add_arguments, s3dis.run, arguments) == 1
    captured = capsys.readouterr()
    assert "2 scenes written, 0 up to date, 1 failed" in captured.out
    assert "failed: Area_1/office_1: " in captured.err
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert [(s.split, s.name) for s in list_scenes(out)] == [("Area_1", "hallway_2"), ("Area_5", "office_1")]
    assert hidden(out) == []


def test_processes_and_one_process_give_the_same_files(raw, out, tmp_path):
    prepare(raw, out, workers=2)
    prepare(raw, tmp_path / "one", workers=1)
    files = sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    for file in files:
        assert (out / file).read_bytes() == (tmp_path / "one" / file).read_bytes()


def stamps(folder):
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in folder.rglob("*.npy")}


def test_a_second_run_keeps_everything(raw, out):
    prepare(raw, out)
    before = stamps(out)
    report = prepare(raw, out)
    assert set(statuses(report).values()) == {"kept"}
    assert sum(result.points for result in report.results) == 210
    assert stamps(out) == before


CHANGES = {
    "another content of the same length": lambda f: f.write_bytes(f.read_bytes().replace(b"-", b" ")),
    "one point more": lambda f: f.write_bytes(f.read_bytes() + b"1 2 3 4 5 6\n"),
    "a file more": lambda f: shutil.copy(f, f.with_name("chair_7.txt")),
    "a file less": lambda f: f.unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_rooms_are_done_again_and_only_they(raw, out, name):
    prepare(raw, out)
    CHANGES[name](raw / "Area_1" / "office_1" / "Annotations" / "chair_1.txt")
    report = prepare(raw, out)
    assert statuses(report) == {"Area_1/hallway_2": "kept", "Area_1/office_1": "written", "Area_5/office_1": "kept"}
    fresh = prepare(raw, out.with_name("fresh"))
    assert [r.points for r in report.results] == [r.points for r in fresh.results]


def test_touched_but_equal_files_are_kept(raw, out):
    prepare(raw, out)
    os.utime(raw / "Area_1" / "office_1" / "Annotations" / "chair_1.txt", (1, 1))
    assert set(statuses(prepare(raw, out)).values()) == {"kept"}


def test_a_damaged_scene_is_done_again(raw, out):
    prepare(raw, out)
    file = out / "Area_1" / "office_1" / "coord.npy"
    file.write_bytes(file.read_bytes()[:-1])
    assert statuses(prepare(raw, out))["Area_1/office_1"] == "written"
    assert open_scene(file.parent).num_points == 70


def test_a_new_voxel_size_is_added_without_parsing_again(raw, out):
    prepare(raw, out)
    before = stamps(out)
    report = prepare(raw, out, voxel_sizes=[0.25])
    assert set(statuses(report).values()) == {"kept"}
    assert all(scene.voxel_sizes == (0.25, 0.5) for scene in list_scenes(out))
    assert {file: stamp for file, stamp in stamps(out).items() if file in before} == before


def test_only_the_areas_that_were_named(raw, out):
    report = prepare(raw, out, areas=["Area_5"])
    assert list(statuses(report)) == ["Area_5/office_1"]
    assert missing(raw)[0] == "not in the raw folder, so not prepared: Area_2, Area_3, Area_4, Area_6"


def test_what_a_killed_run_left_is_removed(raw, out):
    prepare(raw, out)
    (out / "Area_1" / ".office_9.abc.tmp").mkdir()
    prepare(raw, out)
    assert hidden(out) == []


def test_refusals(raw, out, tmp_path):
    for change, message in [
        ({"raw": tmp_path / "nowhere"}, "there is no folder .*nowhere"),
        ({"raw": tmp_path}, r"holds no areas; did you mean .*raw\?"),
        ({"raw": raw / "Area_1"}, r"holds no areas; give the folder"),
        ({"areas": ["Area_7"]}, r"no area 'Area_7'; it has Area_1, Area_5"),
        ({"voxel_sizes": [0.0]}, "voxel size is 0.0"),
        ({"workers": 0}, "--workers is 0"),
    ]:
        with pytest.raises(InputError, match=message):
            prepare(**({"raw": raw, "out": out} | change))
    assert not out.exists()
    (tmp_path / "empty" / "Area_1").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no rooms"):
        prepare(tmp_path / "empty", out)


def test_a_root_of_other_classes_or_of_another_data_set_is_refused(raw, out, tmp_path):
    prepare(raw, out, dataset="synthetic")
    report = prepare(raw, out)
    assert set(statuses(report).values()) == {"failed"}
    assert "was prepared from synthetic, not s3dis" in report.failed[0].error
    other = tmp_path / "other.yaml"
    other.write_text((out / "classes.yaml").read_text().replace("name: board", "name: poster"))
    with pytest.raises(InputError, match="was prepared with other classes"):
        prepare(raw, out, classes=load_classes(other))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_an_interrupt_leaves_whole_scenes_only_and_prints_one_line(raw, out):
    # Nobody ever writes to the pipe, so this room is in work until the interrupt.
    (raw / "Area_9" / "endless_1" / "Annotations").mkdir(parents=True)
    os.mkfifo(raw / "Area_9" / "endless_1" / "Annotations" / "wall_1.txt")
    command = [sys.executable, "-m", "data_prep.s3dis", "--raw", str(raw), "--out", str(out), "--workers", "2"]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(list(out.glob("*/*/meta.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    (out / "Area_9").mkdir()
    (out / "Area_9" / ".endless_1.abc.tmp").mkdir()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.count("interrupted; finished scenes are kept") == 1
    assert len(list_scenes(out)) == 3
    assert hidden(out) == []
