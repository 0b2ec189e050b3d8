"""An allocation that fails on the CPU, where torch raises a plain RuntimeError: one sentence, and what to do."""

import importlib

import pytest
import torch

from pointseg.training import loop

# The package has a function of this name.
predict = importlib.import_module("pointseg.inference.predict")

TRAINING = ["data.voxel_size=0.1", "data.eval_splits=[]", "steps=2", "optimizer.warmup_steps=0", "model.init_dim=8"]


def take_too_much(*_, **__):
    torch.empty(2**50, dtype=torch.uint8)


@pytest.mark.parametrize("name", ["train", "evaluate", "predict"])
def test_too_little_memory_is_told_in_one_line(name, rooms_root, run, tmp_path, command, monkeypatch):
    out, remedy = tmp_path / "out", "use smaller crops, batches or scenes, or another --device"
    monkeypatch.setattr(predict, "voxel_logits", take_too_much)
    arguments = [name, run]
    if name == "train":
        monkeypatch.setattr(loop, "training_step", take_too_much)
        arguments = [name, "synthetic_supervised", "--data", rooms_root, "--labels", "full", "--out", out]
        arguments += ["--workers", "0", "--set", *TRAINING]
        remedy = "continue from the last checkpoint with the same command and --resume"
    code, (line,) = command(*arguments, "--device", "cpu")
    assert code == 2
    assert line.startswith(f"pointseg {name}: error: out of memory (")
    assert remedy in line


def test_other_errors_of_torch_are_not_taken_for_it(run, command, monkeypatch):
    monkeypatch.setattr(predict, "voxel_logits", lambda *_, **__: torch.ones(2, 3) @ torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        command("evaluate", run, "--device", "cpu")
