"""A disk that fills up while a network trains: one sentence, and the same command with --resume goes on."""

import os

import pytest

from pointseg.training import notes

SETTINGS = [
    "data.voxel_size=0.1",
    "data.eval_splits=[]",
    "data.train_splits=[Area_1]",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=20",
    "batch_size=1",
    "checkpoint_every=1",
    "optimizer.warmup_steps=0",
]


@pytest.mark.parametrize("filling", ["checkpoints", "events"])
def test_a_disk_that_fills_up_while_training(disk, rooms_root, tmp_path, no_pictures, monkeypatch, capsys, filling):
    from pointseg.cli.main import main

    run = tmp_path / "out" / "run"
    command = ["train", "synthetic_supervised", "--data", str(rooms_root), "--labels", "1pct_seed0", "--out", str(run)]
    command += ["--workers", "0", "--device", "cpu", "--set", *SETTINGS]

    def fill(self, done, *_):
        if done == 3:
            (tmp_path / "out" / "filler").write_bytes(b"x" * free_bytes(tmp_path / "out"))
            for number in range(200):
                self.tracker.writer.add_text("long", "x" * 10_000, number)
            self.tracker.writer.flush()

    if filling == "events":
        monkeypatch.setattr(notes.RunNotes, "pseudo_labels", fill)
    disk(50_000 if filling == "events" else 1500)
    assert main(command) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and not line.startswith("step ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("pointseg train: error: no space left on the disk")
    assert lines[0].endswith("then continue from the last checkpoint with the same command and --resume")
    monkeypatch.setattr(notes.RunNotes, "pseudo_labels", lambda *_: None)
    (tmp_path / "out" / "filler").unlink(missing_ok=True)
    disk(50_000)
    assert main([*command, "--resume"]) == 0
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]


def free_bytes(place):
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize
