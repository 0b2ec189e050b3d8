"""Preparing when things go wrong: full disks, kills, interrupts, bad sources, odd paths, damage afterwards.

Faults are set off where a file below the root is opened for writing, so they do not depend on what writes it.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from data_prep import s3dis
from data_prep._jobs import Store, prepare_scenes
from data_prep._main import run_module
from pointseg.data.check import check_root
from pointseg.data.classes import load_classes
from pointseg.data.scene import list_scenes

CLASSES = load_classes("s3dis")
REPOSITORY = Path(__file__).resolve().parents[2]
FILES_OF_A_SCENE = 10
"""coord, color, segment, instance; five of its grid; meta.json."""


def write_room(raw, room, n=60, seed=0):
    """A room of a floor and a chair in S3DIS's native layout."""
    rng = np.random.default_rng(seed)
    folder = raw / room / "Annotations"
    folder.mkdir(parents=True)
    for name, count in (("floor_1", n), ("chair_1", n // 2)):
        rows = np.hstack([rng.uniform(-3, 3, (count, 3)), rng.integers(0, 256, (count, 3))])
        np.savetxt(folder / f"{name}.txt", rows, fmt="%.3f %.3f %.3f %d %d %d")
    return folder


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / "raw"
    for seed, room in enumerate(("Area_1/office_1", "Area_1/office_2", "Area_5/hall_1")):
        write_room(raw, room, 60 + 30 * seed, seed)
    return raw


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def prepare(raw, out, *, voxel_sizes=(0.5,), workers=1):
    return prepare_scenes(s3dis.jobs(raw, CLASSES), Store(out, "s3dis", CLASSES, voxel_sizes), workers=workers)


def command(raw, out, *more):
    arguments = ["--raw", str(raw), "--out", str(out), "--voxel-size", "0.5", "--workers", "1", *more]
    return run_module(s3dis.HELP, s3dis.add_arguments, s3dis.run, arguments)


def statuses(report):
    return {result.name: result.status for result in report.results}


def content(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def undisturbed(raw, tmp_path):
    """What the root holds after a run in which nothing goes wrong."""
    prepare(raw, tmp_path / "undisturbed")
    return content(tmp_path / "undisturbed")


class Fault:
    """Calls ``act`` at the n-th opening of a file for writing below ``root``; 0 = never."""

    def __init__(self):
        self.root, self.number, self.act, self.seen = Path("/nowhere"), 0, None, 0

    def __call__(self, event, args):
        if event == "open" and self.number and isinstance(args[1], str) and set(args[1]) & set("wxa"):
            path = Path(os.fsdecode(args[0]))
            self.seen += path.is_relative_to(self.root)
            if self.seen == self.number and path.is_relative_to(self.root):
                self.act(path)


FAULT = Fault()


@pytest.fixture
def fail_at(out):
    """``fail_at(n, error)``: the n-th file opened for writing below the root raises the error, and later ones too."""
    if not getattr(FAULT, "installed", False):
        sys.addaudithook(FAULT)
        FAULT.installed = True

    def plan(number, error):
        def act(path):
            FAULT.number += isinstance(error, OSError)  # a full disk stays full
            raise OSError(error.errno, error.strerror, str(path)) if isinstance(error, OSError) else error

        FAULT.root, FAULT.number, FAULT.act, FAULT.seen = out, number, act, 0

    yield plan
    FAULT.number = 0


FULL = OSError(errno.ENOSPC, "No space left on device")


def whole(root, raw, tmp_path, fail_at):
    """Nothing is half-written, and the same command finishes the root as if nothing had happened."""
    fail_at(0, FULL)
    assert not list(root.rglob(".*"))
    if list_scenes(root):
        assert check_root(root).problems == ()
    assert prepare(raw, root).failed == ()
    assert content(root) == undisturbed(raw, tmp_path)


@pytest.mark.parametrize("number", [2, 5, 1 + FILES_OF_A_SCENE, 2 + FILES_OF_A_SCENE, 3 * FILES_OF_A_SCENE])
def test_a_full_disk_leaves_whole_scenes_and_one_clear_sentence(raw, out, tmp_path, fail_at, capsys, number):
    fail_at(number, FULL)
    assert command(raw, out) == 1
    captured = capsys.readouterr()
    finished = (number - 2) // FILES_OF_A_SCENE
    assert f"{finished} scenes written, 0 up to date, {3 - finished} failed" in captured.out
    lines = [line for line in captured.err.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 3 - finished
    assert all(f"no space left on the disk of {out}; free some and run the command again" in line for line in lines)
    assert len(list_scenes(out)) == finished
    whole(out, raw, tmp_path, fail_at)


def test_a_full_disk_before_the_first_scene_is_bad_input(raw, out, fail_at, capsys):
    fail_at(1, FULL)
    assert command(raw, out) == 2
    assert f"cannot make the folder {out}: No space left on device" in capsys.readouterr().err


def test_a_full_disk_while_adding_a_grid_keeps_the_scene(raw, out, fail_at):
    prepare(raw, out)
    before = content(out)
    fail_at(3, FULL)
    report = prepare(raw, out, voxel_sizes=(0.25,))
    fail_at(0, FULL)
    assert set(statuses(report).values()) == {"failed"}
    assert "no space left" in report.failed[0].error
    assert content(out) == before
    assert set(statuses(prepare(raw, out, voxel_sizes=(0.25,))).values()) == {"kept"}
    assert all(scene.voxel_sizes == (0.25, 0.5) for scene in list_scenes(out))
    assert check_root(out).problems == ()


def test_a_full_disk_while_a_scene_is_replaced_keeps_the_old_one(raw, out, tmp_path, fail_at):
    prepare(raw, out)
    before = content(out)
    with (raw / "Area_1/office_1/Annotations/chair_1.txt").open("a") as file:
        file.write("1 2 3 4 5 6\n")
    fail_at(4, FULL)
    assert statuses(prepare(raw, out))["Area_1/office_1"] == "failed"
    assert content(out) == before
    whole(out, raw, tmp_path, fail_at)


@pytest.mark.parametrize("limit", [2000, 4000])
def test_files_that_cannot_be_written_whole_are_failures_with_a_reason(out, tmp_path, limit):
    pytest.importorskip("resource", reason="needs limits on the size of files")
    for number in range(8):
        write_room(tmp_path / "many", f"Area_1/office_{number}", 40 + 50 * number)
    script = f"""
        import resource, sys
        from data_prep import s3dis
        from data_prep._main import run_module
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        sys.exit(run_module(s3dis.HELP, s3dis.add_arguments, s3dis.run))
    """
    arguments = ["--raw", str(tmp_path / "many"), "--out", str(out), "--voxel-size", "0.5", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    failures = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert done.returncode == 1
    assert failures
    assert all("File too large" in line for line in failures), failures
    assert f"{len(list_scenes(out))} scenes written, 0 up to date, {len(failures)} failed" in done.stdout
    assert len(list_scenes(out)) + len(failures) == 8


@pytest.mark.parametrize("number", [2, 6, 1 + FILES_OF_A_SCENE, 5 + FILES_OF_A_SCENE, 1 + 3 * FILES_OF_A_SCENE])
def test_an_interrupt_leaves_whole_scenes_and_the_next_run_finishes(raw, out, tmp_path, fail_at, capsys, number):
    fail_at(number, KeyboardInterrupt())
    assert command(raw, out) == 130
    captured = capsys.readouterr()
    assert "interrupted; finished scenes are kept" in captured.err
    assert len(list_scenes(out)) == (number - 2) // FILES_OF_A_SCENE
    whole(out, raw, tmp_path, fail_at)


KILL = """
    import os, signal, sys
    from data_prep import s3dis
    from data_prep._main import run_module
    event, number, root = sys.argv.pop(1), int(sys.argv.pop(1)), sys.argv[sys.argv.index("--out") + 1]
    seen = 0
    def kill(name, args):
        global seen
        if name == event and str(args[0]).startswith(root) and (name != "open" or "w" in str(args[1])):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(kill)
    sys.exit(run_module(s3dis.HELP, s3dis.add_arguments, s3dis.run))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("event", "number", "finished"),
    [("open", 4, 0), ("open", 1 + 2 * FILES_OF_A_SCENE, 1), ("os.rename", 3, 1), ("os.rename", 4, 2)],
)
def test_a_killed_run_is_finished_by_the_next_one(raw, out, tmp_path, event, number, finished):
    arguments = ["--raw", str(raw), "--out", str(out), "--voxel-size", "0.5", "--workers", "1"]
    script = [sys.executable, "-c", textwrap.dedent(KILL), event, str(number), *arguments]
    assert subprocess.run(script, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
    assert len(list_scenes(out)) == finished
    assert list(out.rglob(".*")), "the kill left something for the next run to remove"
    assert prepare(raw, out).failed == ()
    assert content(out) == undisturbed(raw, tmp_path)
    assert check_root(out).problems == ()


def in_place_of_a_file(folder):
    (folder / "wall_1.txt").mkdir()


def without_permission(folder):
    if os.geteuid() == 0:
        pytest.skip("permissions do not stop the superuser")
    (folder / "floor_1.txt").chmod(0)


def append(text):
    def damage(folder):
        with (folder / "floor_1.txt").open("a") as file:
            file.write(text)

    return damage


BAD_SOURCES = {
    "wall_1.txt: Is a directory": in_place_of_a_file,
    "floor_1.txt: Permission denied": without_permission,
    "floor_1.txt, line 91: '1 2 3 4 5' is not six finite numbers": append("1 2 3 4 5\n"),
    "floor_1.txt, line 91: '1 nan 3 4 5 6'": append("1 nan 3 4 5 6\n"),
    "there is no folder": shutil.rmtree,
    "holds no points at all": lambda folder: [path.write_text("") for path in folder.iterdir()],
}


ONE_WORKER = [(message, 1) for message in BAD_SOURCES]


@pytest.mark.parametrize(("message", "workers"), [*ONE_WORKER, ("holds no points at all", 2)])
def test_one_bad_scene_is_named_at_the_end_and_the_others_are_done(raw, out, capsys, message, workers):
    BAD_SOURCES[message](raw / "Area_1" / "office_2" / "Annotations")
    assert command(raw, out, "--workers", str(workers)) == 1
    captured = capsys.readouterr()
    assert "2 scenes written, 0 up to date, 1 failed" in captured.out
    last = captured.err.splitlines()[-1]
    assert last.startswith("failed: Area_1/office_2: ")
    assert message in last
    assert "Traceback" not in captured.err
    assert [scene.name for scene in list_scenes(out)] == ["office_1", "hall_1"]
    assert check_root(out).problems == ()


def test_a_scene_that_has_become_bad_keeps_what_was_prepared(raw, out):
    prepare(raw, out)
    before = content(out)
    append("1 2 3\n")(raw / "Area_1" / "office_2" / "Annotations")
    assert statuses(prepare(raw, out))["Area_1/office_2"] == "failed"
    assert content(out) == before


def test_paths_with_spaces_and_letters_of_every_kind(tmp_path, capsys):
    raw, out = tmp_path / "Rohdaten größer [1] 点群 %d", tmp_path / "aus gabe ß"
    write_room(raw, "Area_1/кабинет 1 (neu) [x]")
    assert command(raw, out, "--workers", "2") == 0
    assert command(raw, out) == 0
    assert "0 scenes written, 1 up to date" in capsys.readouterr().out
    (scene,) = list_scenes(out)
    assert (scene.name, scene.num_points) == ("кабинет 1 (neu) [x]", 90)
    assert scene.meta["sources"][0]["name"] == "Area_1/кабинет 1 (neu) [x]/Annotations/chair_1.txt"
    assert command(raw, out, "--check") == 0
    assert "everything is as it should be" in capsys.readouterr().out


def test_damage_that_only_the_check_can_see_is_mended_by_deleting_the_scene(raw, out, tmp_path, capsys):
    prepare(raw, out)
    file = out / "Area_1" / "office_1" / "color.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert command(raw, out, "--check") == 1
    assert "problem: Area_1/office_1: color.npy was changed" in capsys.readouterr().err
    shutil.rmtree(file.parent)
    assert command(raw, out) == 0
    assert content(out) == undisturbed(raw, tmp_path)
