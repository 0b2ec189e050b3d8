"""Ctrl-C at every kind of file that a training writes: one line, and the same command with --resume ends the same."""

import signal

import pytest
from PIL import Image
from safetensors.torch import load_file

from pointseg.training import notes
from pointseg.training.pictures import PredictionPictures

SETTINGS = [
    "data.voxel_size=0.1",
    "data.eval_splits=[Area_5]",
    "data.train_splits=[Area_1]",
    "model.planes=[4, 4, 4, 4, 4, 4, 4, 4]",
    "model.init_dim=4",
    "steps=3",
    "batch_size=1",
    "eval_every=2",
    "checkpoint_every=1",
    "optimizer.warmup_steps=0",
]


@pytest.fixture
def arguments(rooms_root, monkeypatch):
    """``arguments(run)`` of a training that draws no pictures, which tests of their own look at."""
    monkeypatch.setattr(notes, "explained", lambda *_: {})
    monkeypatch.setattr(notes, "draw_scene", lambda *_, **__: Image.new("RGB", (4, 4)))
    monkeypatch.setattr(PredictionPictures, "draw", lambda _: {})

    def make(run):
        data = ["--data", rooms_root, "--labels", "1pct_seed0", "--workers", "0", "--device", "cpu"]
        return ["train", "synthetic_erda", *data, "--out", run, "--set", *SETTINGS]

    return make


def weights(run):
    return {name: values.tolist() for name, values in load_file(run / "checkpoints/final/model.safetensors").items()}


def test_ctrl_c_while_a_training_writes(arguments, command, at_writing, tmp_path):
    written = []

    def count():
        written.append(None)
        at_writing(tmp_path / "whole", 1, count)

    count()
    assert command(*arguments(tmp_path / "whole")) == (0, [])
    expected, total = weights(tmp_path / "whole"), len(written) - 1
    assert total > 20
    for number in range(2, total, total // 5):
        run = tmp_path / f"stopped_{number}"
        at_writing(run, number, lambda: signal.raise_signal(signal.SIGINT))
        code, said = command(*arguments(run))
        assert (code, len(said)) == (130, 1), number
        assert "interrupted" in said[0]
        assert command(*arguments(run), "--resume") == (0, []), number
        assert weights(run) == expected, number
        assert not [path for path in run.rglob(".*") if path.name != ".lock"], number
