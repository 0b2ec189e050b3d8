"""A training killed with SIGKILL, again and again, at chosen and at random moments, ends as one that never was."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

PLACES = [
    ("rename", 1),
    ("loss", 4),
    ("optimizer", 2),
    ("average", 1),
    ("checkpoint", 3),
    ("rename", 1),
    ("rename", 2),
    ("evaluation", 1),
    ("metrics", 1),
    ("old checkpoints", 1),
    ("report", 1),
]
"""Where a life ends, and the how manieth time it gets there: far enough for some to get past a checkpoint."""

KILLED = -9


@pytest.fixture(scope="module")
def live(rooms_root):
    """``live(run, resume=True, at=None, after=None)``: the exit status of one life, and the steps done in it."""
    command = [sys.executable, str(Path(__file__).with_name("training_lives.py")), str(rooms_root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def one(run, *, resume=True, at=None, after=None):
        process.stdin.write(json.dumps({"run": str(run), "resume": resume, "at": at, "after": after}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield one
    process.stdin.close()
    process.wait()


@pytest.fixture(scope="module")
def straight(live, tmp_path_factory):
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("straight") / "run"
    assert live(run, resume=False) == [0, 12]
    return run


def what_counts(run):
    """The weights, scores and records of a run, and that nothing unfinished lies about."""
    assert not [path for path in run.rglob("*.tmp*") if "tensorboard" not in path.parts]
    files = {path: (run / path).read_bytes() for path in kept(run)}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return files, [line for line in lines if line["kind"] != "time"]


def kept(run):
    return sorted(str(path.relative_to(run)) for path in (run / "checkpoints").rglob("*") if path.is_file())


def test_killed_at_every_kind_of_moment_in_a_row(live, straight, tmp_path):
    run = tmp_path / "run"
    for number, (place, count) in enumerate(PLACES):
        status, _ = live(run, resume=number > 0, at=[place, count])
        assert status == KILLED, place
    assert not (run / "checkpoints" / "final").exists()
    assert live(run)[0] == 0
    assert what_counts(run) == what_counts(straight)


def test_killed_at_random_moments_in_a_row(live, straight, tmp_path):
    rng, runs, lives = random.Random(0), [tmp_path / "run"], []
    # A machine that is busy elsewhere may let a life come to its end: then another run is killed.
    while sum(status == KILLED for status, _ in lives) < 4 and len(lives) < 20:
        lives.append(live(runs[-1], after=[len(lives) % 4, rng.uniform(0, 0.1)]))
        if lives[-1][0] == 0:
            runs.append(tmp_path / f"run_{len(lives)}")
    assert sum(status == KILLED for status, _ in lives) == 4
    assert {status for status, _ in lives} <= {KILLED, 0}
    for run in runs:
        assert live(run)[0] == 0
        assert what_counts(run) == what_counts(straight)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(live, straight, tmp_path):
    run = tmp_path / "run"
    assert live(run, resume=False, at=["loss", 8])[0] == KILLED
    assert kept_steps(run) == ["step_000004", "step_000006"]
    model = run / "checkpoints" / "step_000006" / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-5] ^= 4
    model.write_bytes(content)
    assert live(run)[0] == 0
    assert what_counts(run) == what_counts(straight)


def kept_steps(run):
    return sorted(path.name for path in (run / "checkpoints").glob("step_*"))
