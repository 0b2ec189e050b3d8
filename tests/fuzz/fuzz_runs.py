"""Small recipes, checkpoints and metrics of a training, model folders, and what reading one promises."""

import json
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

import torch
import yaml
from fuzz_containers import safetensors_sample, text_sample
from fuzz_mutations import Sample
from fuzz_own_files import CLASSES
from torch import nn

from pointseg.data.classes import save_classes
from pointseg.data.scene import hash_file
from pointseg.inference import ModelSpec, Predictor, save_model
from pointseg.inference.model_folder import build
from pointseg.training import Run, TrainConfig, load_recipe
from pointseg.training.checkpoint import load_checkpoint, newest_undamaged, save_checkpoint
from pointseg.training.recipe import to_dict
from pointseg.training.tracking import Tracker

STEP = "checkpoints/step_000003"
_OVERRIDES = ["data.voxel_size=0.04", "method={name: erda, weight: 0.2}", "data.eval_splits=[]", "steps=1e3", "seed=7"]
_OWN = {
    "base": "synthetic_erda",
    "data": {"root": "somewhere", "labels": "1pct_seed0", "features": ["ones", "height"], "max_voxels": 5000},
    "model": {"name": "MinkUNet14", "planes": [8] * 8, "init_dim": 8},
    "method": {"name": "mean_teacher"},
    "optimizer": {"lr": 0.01, "warmup_steps": 3},
    "loss": {"label_smoothing": 0.1},
}


@cache
def recipe() -> list[Sample]:
    resolved = yaml.safe_dump(to_dict(load_recipe("synthetic_erda")), sort_keys=False)
    return [Sample((yaml.safe_dump(_OWN).encode(),)), Sample((resolved.encode(),))]


def _check_config(config: TrainConfig, again: Path) -> None:
    """It is what its own written form says, as a resumed run needs it."""
    again.write_text(yaml.safe_dump(to_dict(config), sort_keys=False))
    assert to_dict(load_recipe(again)) == to_dict(config)
    assert config.steps > 0
    assert config.data.voxel_size > 0


def read_recipe(path: Path) -> None:
    _check_config(load_recipe(path), path.with_name("again.yaml"))


@cache
def overrides() -> list[Sample]:
    return [text_sample("\n".join(["steps=20", *_OVERRIDES[:3], "seed=7"]))]


def read_overrides(path: Path) -> None:
    # As the system hands over arguments that are no UTF-8.
    words = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    _check_config(load_recipe("synthetic_erda", words), path.with_name("again.yaml"))


def beside_config(folder: Path) -> None:
    save_classes(CLASSES, folder / "classes.yaml")


def read_run(path: Path) -> None:
    run = Run.open(path.parent)
    _check_config(run.config, path.with_name("again.yaml"))


def _trio(seed: int) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model, method = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), nn.Linear(2, 1)
    return model, method, torch.optim.AdamW([*model.parameters(), *method.parameters()])


def checkpoint(folder: Path) -> None:
    """Steps 2 and 3 of a training."""
    model, method, optimizer = _trio(0)
    method(model(torch.ones(2, 3))).sum().backward()
    optimizer.step()
    for step in (2, 3):
        kept = {"model": model, "method": method, "optimizer": optimizer}
        save_checkpoint(folder / "checkpoints", step=step, **kept, state={"best": {"miou": 0.5}, "scaler": {}})


@cache
def _checkpoint_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        checkpoint(Path(name))
        return {path.name: path.read_bytes() for path in (Path(name) / STEP).iterdir()}


def checkpoint_json(name: str) -> list[Sample]:
    return [Sample((_checkpoint_files()[name],))]


def checkpoint_tensors(name: str) -> list[Sample]:
    return [safetensors_sample(_checkpoint_files()[name])]


def read_newest(path: Path) -> None:
    """Damage costs a checkpoint, never an error: the one before it is whole."""
    assert newest_undamaged(path.parent.parent) in (path.parent, path.parent.with_name("step_000002"))


def read_checkpoint(path: Path) -> None:
    """What resuming reads, behind the manifest that would have told."""
    model, method, optimizer = _trio(1)
    state = load_checkpoint(path.parent, model=model, method=method, optimizer=optimizer)
    assert isinstance(state, dict)


@cache
def metrics() -> list[Sample]:
    lines = [
        {"kind": "train", "step": 1, "loss": 0.5},
        {"kind": "eval", "step": 2, "miou": 0.25, "iou/wall": 1.0},
        {"kind": "warning", "step": 2, "name": "pseudo labels", "text": "few"},
    ]
    return [text_sample("".join(json.dumps(line) + "\n" for line in lines))]


def read_metrics(path: Path) -> None:
    """A run that goes on leaves out what is damaged or comes after its checkpoint, and writes on behind the rest."""
    # TensorBoard reads nothing here, and its thread would not start within the bound on memory.
    with patch("pointseg.training.tracking.SummaryWriter"):
        tracker = Tracker(path.parent, start=1)
        tracker.record("eval", 3, {"miou": 0.5})
    lines = tracker.lines()
    assert lines[-1] == {"kind": "eval", "step": 3, "miou": 0.5}
    assert all(line["step"] <= 1 for line in lines[:-1])
    assert len(tracker.recorded("train")) <= len(lines)


def model_folder(folder: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(CLASSES, 0.1, ("ones", "height"), "MinkUNet14", (8,) * 8, 8, 3)
    save_model(build(spec), spec, folder / "model")


@cache
def _model_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        model_folder(Path(name))
        return {path.name: path.read_bytes() for path in (Path(name) / "model").iterdir()}


def model_json() -> list[Sample]:
    return [Sample((_model_files()["model.json"],))]


def model_weights() -> list[Sample]:
    return [safetensors_sample(_model_files()["model.safetensors"])]


def read_model(path: Path) -> None:
    predictor = Predictor.load(path.parent)
    spec = predictor.spec
    assert len(set(spec.classes.names)) == len(spec.classes.names) == len(spec.classes.colors)
    "".join(spec.classes.names).encode()
    assert spec.voxel_size > 0
    assert all(value.device.type == "cpu" for value in predictor.model.state_dict().values())
    assert predictor.halo_voxels(None) > 0


def read_model_of_any_hash(path: Path) -> None:
    """Weights whose hash is right, whatever has been done to them."""
    document = json.loads(_model_files()["model.json"])
    path.with_name("model.json").write_text(json.dumps(document | {"sha256": hash_file(path)}))
    read_model(path)
