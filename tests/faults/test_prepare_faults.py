"""Preparing when things go wrong: full disks, kills, interrupts.

Faults are set off where a file below the root is opened for writing, so they do not depend on what writes it.
"""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from raw_rooms import command, content, prepare, statuses, undisturbed, write_room, write_rooms

from pointseg.data.check import check_root
from pointseg.data.scene import list_scenes

REPOSITORY = Path(__file__).resolve().parents[2]
FILES_OF_A_SCENE = 10
"""coord, color, segment, instance; five of its grid; meta.json."""


@pytest.fixture
def raw(tmp_path):
    return write_rooms(tmp_path / "raw")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


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
