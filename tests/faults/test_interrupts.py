"""Ctrl-C, a full disk and a second process while a command writes: whole files or none, and the next run is clean."""

import errno
import importlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

from data_prep import _runner
from pointseg.cli.main import main
from pointseg.data import label_writer
from pointseg.inference import cloud_files, tile_network

# The packages have functions of these names.
evaluate = importlib.import_module("pointseg.evaluation.evaluate")
predict = importlib.import_module("pointseg.inference.predict")


def commands(root, run, model, scan, tmp_path):
    out = tmp_path / "out"
    return {
        "label": (["label", "--data", root, "--from-segment"], root / "sparse_labels"),
        "export": (["predict", run, "--export", out / "model"], out),
        "scenes": (["predict", run, "--out", out], out),
        "cloud": (["predict", scan, "--model", model, "-o", out / "cloud.las"], out),
        "evaluate": (["evaluate", run], run / "evaluation"),
        "pointcept": (["data", "export-pointcept", root, "--out", out], out),
        "prepare": (["prepare", "cloud", scan, "--classes", "asprs", "--out", out, "--workers", "1"], out),
    }


@pytest.fixture
def planned(root, run, model, scan, tmp_path):
    (tmp_path / "out").mkdir()
    return commands(root, run, model, scan, tmp_path)


def visible(content):
    """What people and programs see: nothing hidden, nothing that differs from run to run."""
    shown = {k: v for k, v in content.items() if not any(part.startswith(".") for part in k.split("/"))}
    return {name: data for name, data in shown.items() if not name.endswith(".las")} | {
        name: len(data) for name, data in shown.items() if name.endswith(".las")
    }


def interrupt():
    raise KeyboardInterrupt


def fill_the_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


STAGES = [
    *[("label", n) for n in (1, 2)],
    ("export", 1),
    ("scenes", 1),
    *[("cloud", n) for n in (1, 3, 8, 14)],
    *[("evaluate", n) for n in (1, 2, 3)],
    *[("pointcept", n) for n in (1, 2, 6)],
    *[("prepare", n) for n in (1, 3, 8)],
]


@pytest.mark.parametrize("fault", [interrupt, fill_the_disk])
@pytest.mark.parametrize(("name", "number"), STAGES)
def test_a_stop_while_writing_leaves_nothing_half_written(
    planned, command, at_writing, content_of, name, number, fault
):
    arguments, place = planned[name]
    at_writing(place, number, fault)
    code, said = command(*arguments)
    partial = visible(content_of(place)) if place.is_dir() else {}
    if fault is interrupt:
        assert (code, len(said)) == (130, 1)
        assert "interrupted" in said[0]
        assert ("the same command goes on" in said[0]) == (name == "cloud")
    else:
        # Preparing goes on with the next scene, and so ends with 1.
        assert code in (1, 2)
        assert len(said) == 1
        assert "no space left" in said[0].lower()
    assert command(*arguments) == (0, [])
    whole = visible(content_of(place))
    assert partial.items() <= whole.items(), "what a stopped command leaves is whole"
    assert len(partial) < len(whole)
    assert not list(place.rglob(".*")), "the next run removes what was left"


IN_BETWEEN = {
    "reading": ("cloud", cloud_files, "_points", 1),
    "voxels": ("cloud", cloud_files, "voxelize_to_files", 1),
    "network of a cloud": ("cloud", tile_network, "voxel_logits", 1),
    "network of scenes": ("scenes", predict, "voxel_logits", 1),
    "network of an evaluation": ("evaluate", predict, "voxel_logits", 1),
    "scores": ("evaluate", evaluate, "confusion_matrix", 2),
}
"""A command, and the n-th call of what function of it is where it stops."""


@pytest.mark.parametrize("name", IN_BETWEEN)
def test_a_stop_between_writings_leaves_nothing_half_written(planned, command, content_of, monkeypatch, name):
    what, module, function, number = IN_BETWEEN[name]
    arguments, place = planned[what]
    original, calls = getattr(module, function), []

    def stopping(*args, **kwargs):
        calls.append(function)
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, function, stopping)
        code, said = command(*arguments)
    assert (code, len(said), len(calls)) == (130, 1, number)
    assert "interrupted" in said[0]
    assert not visible(content_of(place)) if place.is_dir() else True
    assert command(*arguments) == (0, [])
    assert visible(content_of(place))
    assert not list(place.rglob(".*"))


SMALL_DISK = {"export": 40, "scenes": 40, "cloud": 100, "pointcept": 60, "prepare": 80}
"""KiB that are left on it, too few for each command."""


@pytest.mark.parametrize("name", SMALL_DISK)
def test_on_a_disk_that_is_really_full(disk, root, run, model, scan, tmp_path, command, name):
    arguments, place = commands(root, run, model, scan, tmp_path)[name]
    disk(SMALL_DISK[name])
    code, said = command(*arguments)
    assert code in (1, 2)
    assert len(said) == 1
    assert "no space left" in said[0].lower()
    assert "free some" in said[0] or "free space" in said[0]
    disk(50_000)
    assert command(*arguments) == (0, [])
    assert not list(place.rglob(".*"))


@pytest.mark.parametrize(
    "name", ["label", "export", "scenes", "cloud", "evaluate", "pointcept", "prepare", "train", "view"]
)
def test_on_a_disk_that_is_read_only(disk, root, run, model, scan, tmp_path, command, name):
    """Told in one line before anything is computed for long; nothing else needs repair before the next run."""
    disk(50_000)
    place = tmp_path / "out"
    root, run = (shutil.copytree(folder, place / folder.name) for folder in (root, run))
    data = ["--data", root, "--labels", "1pt_seed0", "--out", place / "new", "--workers", "0"]
    arguments = {name: arguments for name, (arguments, _) in commands(root, run, model, scan, tmp_path).items()} | {
        "train": ["train", "synthetic_supervised", *data, "--set", "data.voxel_size=0.1", "data.eval_splits=[Area_5]"],
        "view": ["view", scan, "--png", place / "a.png"],
    }
    before = sorted(place.rglob("*"))
    disk(50_000, "ro")
    code, said = command(*arguments[name])
    assert (code, len(said)) == (2, 1)
    assert "read-only" in said[0].lower()
    assert str(place) in said[0]
    assert sorted(place.rglob("*")) == before
    disk(50_000)
    if name != "train":
        assert command(*arguments[name]) == (0, [])


def test_a_second_run_does_not_disturb_the_first(planned, command, tmp_path, monkeypatch):
    arguments, place = planned["prepare"]
    others, original = [], _runner.prepare_scene

    def meanwhile(job, store):
        others.append(command(*arguments))
        return original(job, store)

    monkeypatch.setattr(_runner, "prepare_scene", meanwhile)
    assert main([str(a) for a in arguments]) == 0
    ((code, (line,)),) = others
    assert code == 2
    assert f"another run is preparing scenes in {place}; wait for it, or choose another --out folder" in line
    monkeypatch.undo()
    assert command("data", "check", place) == (0, [])


def test_labels_are_stored_by_one_run_at_a_time(planned, command, monkeypatch):
    arguments, place = planned["label"]
    others, original = [], label_writer._write

    def meanwhile(*args):
        if not others:
            others.append(None)
            others[0] = command(*arguments)
        return original(*args)

    monkeypatch.setattr(label_writer, "_write", meanwhile)
    assert main([str(a) for a in arguments]) == 0
    code, (line,) = others[0]
    assert code == 2
    assert "another run is storing the labels 'segment'" in line
    assert not list(place.glob(".*"))


KILLED = """
    import os, signal, sys
    seen, number, place = 0, int(sys.argv[1]), sys.argv[2]
    def kill(event, args):
        global seen
        writing = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wxa+")
        if writing and str(args[0]).startswith(place):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(kill)
    from pointseg.cli.main import main
    sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(("name", "number"), [("label", 2), ("export", 1), ("cloud", 12)])
def test_a_killed_command_is_finished_by_the_next_one(planned, command, content_of, name, number):
    arguments, place = planned[name]
    script = [sys.executable, "-c", textwrap.dedent(KILLED), str(number), str(place), *map(str, arguments)]
    assert subprocess.run(script, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert list(place.rglob(".*")), "the kill left something for the next run to remove"
    partial = visible(content_of(place))
    assert command(*arguments) == (0, [])
    whole = visible(content_of(place))
    assert partial.items() < whole.items()
    assert not list(place.rglob(".*"))
    shutil.rmtree(place)
