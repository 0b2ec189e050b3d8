"""What a run writes down: JSON lines, and the same in TensorBoard events as TensorBoard itself reads them."""

import json
import logging

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from pointseg.cli.main import main
from pointseg.methods import METHODS, Supervised
from pointseg.methods.base import LossTerms
from pointseg.training import Run, load_recipe, loop, train
from pointseg.training.tracking import Tracker, named_scalars

RECIPE = {
    "data": {"root": "rooms", "features": ["ones", "color"]},
    "steps": 40,
    "method": {"name": "erda", "hard": True},
}


def events(path):
    return EventAccumulator(
        str(path / "tensorboard"), size_guidance={"tensors": 0, "histograms": 0, "scalars": 0}
    ).Reload()


def text_of(accumulator, tag):
    return [event.tensor_proto.string_val[0].decode() for event in accumulator.Tensors(f"{tag}/text_summary")]


def lines_of(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_scalars_are_the_same_in_both(tmp_path):
    tracker = Tracker(tmp_path, 0)
    tracker.record("train", 10, {"loss": 2.5, "drift/wall": 0.25})
    tracker.record("eval", 20, {"miou": 0.5})
    tracker.close()
    assert lines_of(tmp_path) == [
        {"kind": "train", "step": 10, "loss": 2.5, "drift/wall": 0.25},
        {"kind": "eval", "step": 20, "miou": 0.5},
    ]
    found = events(tmp_path)
    values = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert values == {"train/loss": [(10, 2.5)], "train/drift/wall": [(10, 0.25)], "eval/miou": [(20, 0.5)]}


def test_the_recipe_is_a_text_and_a_row_of_hyper_parameters(tmp_path):
    tracker = Tracker(tmp_path, 0)
    tracker.describe(RECIPE, "eval/miou")
    tracker.record("eval", 40, {"miou": 0.625})
    tracker.close()
    found = events(tmp_path)
    (text,) = text_of(found, "recipe")
    assert yaml.safe_load(text.removeprefix("```yaml\n").removesuffix("```")) == RECIPE
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    given = HParamsPluginData.FromString(content).session_start_info.hparams
    assert given["steps"].number_value == 40
    assert given["method.name"].string_value == "erda"
    assert given["data.features"].string_value == "['ones', 'color']"
    content = found.SummaryMetadata("_hparams_/experiment").plugin_data.content
    (metric,) = HParamsPluginData.FromString(content).experiment.metric_infos
    assert found.Scalars(metric.name.tag)[-1].value == 0.625
    assert len(list((tmp_path / "tensorboard").rglob("events.*"))) == 1


def test_histograms_hold_what_is_finite(tmp_path):
    tracker = Tracker(tmp_path, 0)
    values = torch.tensor([[0.5, 1.0], [float("nan"), -float("inf")]], dtype=torch.bfloat16, requires_grad=True)
    tracker.histograms(100, {"cosine": values, "nothing": torch.zeros(0), "lost": torch.tensor([float("nan")])})
    tracker.close()
    found = events(tmp_path)
    assert found.Tags()["histograms"] == ["cosine"]
    (event,) = found.Histograms("cosine")
    assert event.step == 100
    assert (event.histogram_value.num, event.histogram_value.min, event.histogram_value.max) == (2, 0.5, 1.0)


def test_a_warning_is_a_line_and_a_text(tmp_path):
    tracker = Tracker(tmp_path, 0)
    tracker.warn("one_class_q", 90, "99% of it is wall")
    tracker.close()
    assert lines_of(tmp_path) == [{"kind": "warning", "step": 90, "name": "one_class_q", "text": "99% of it is wall"}]
    assert text_of(events(tmp_path), "warning/one_class_q") == ["99% of it is wall"]


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path):
    first = Tracker(tmp_path, 0)
    first.describe(RECIPE, "eval/miou")
    for step in (10, 20, 30):
        first.record("train", step, {"loss": float(step)})
        first.warn("kind", step, f"at {step}")
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as handle:
        handle.write('{"kind": "train", "st')
    second = Tracker(tmp_path, 20)
    assert [line["step"] for line in second.recorded("train")] == [10, 20]
    second.record("train", 30, {"loss": 7.0})
    second.close()
    assert [line.get("loss", line.get("text")) for line in lines_of(tmp_path)] == [10.0, "at 10", 20.0, "at 20", 7.0]
    found = events(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("train/loss")] == [(10, 10.0), (20, 20.0), (30, 7.0)]
    assert len(text_of(found, "recipe")) == 1


def test_vectors_are_named_by_class_and_what_is_not_finite_is_left_out():
    log = {
        "loss": torch.tensor(0.5, requires_grad=True),
        "drift": torch.tensor([0.25, float("nan")], dtype=torch.float64),
        "classes": torch.tensor(3),
        "threshold": torch.tensor(float("inf")),
        "half": torch.tensor(1.5, dtype=torch.bfloat16),
    }
    assert named_scalars(log, ["wall", "floor"]) == {"loss": 0.5, "drift/wall": 0.25, "classes": 3.0, "half": 1.5}
    with pytest.raises(ValueError, match="zip"):
        named_scalars({"drift": torch.zeros(3)}, ["wall", "floor"])


class Collapsed(Supervised):
    """Supervised-only that reports a collapse from the start, a vector, and a value in its first record alone."""

    def loss(self, model, batch):
        terms = super().loss(model, batch)
        log = terms.log | {"largest_share_q": torch.tensor(0.995), "drift": torch.arange(float(self.num_classes))}
        if batch.step == 0:
            log["early"] = torch.tensor(1.0)
        return LossTerms(terms.total, log)

    def histograms(self):
        return {"counts": self.label_counts}


SMALL = ["data.voxel_size=0.1", "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]", "model.init_dim=8", "optimizer.warmup_steps=2"]
SETTINGS = [*SMALL, "data.max_voxels=1000", "steps=10", "batch_size=1", "eval_every=10", "checkpoint_every=8"]


class StopHereError(Exception):
    pass


@pytest.fixture
def collapsing(monkeypatch):
    """Every step is recorded, so that the eighth record of a collapse, the one that warns, is step 8."""
    monkeypatch.setitem(METHODS, "supervised", Collapsed)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


def test_a_collapsing_run_warns_once_whether_interrupted_or_not(rooms_root, tmp_path, collapsing, caplog):
    settings = [*SETTINGS, f"data.root={rooms_root}", "data.labels=1pct_seed0"]
    recipe = load_recipe("synthetic_supervised", settings)

    def interrupt(done, scalars):
        if done == 9:
            raise StopHereError

    run = Run.create(tmp_path / "run", recipe)
    with caplog.at_level(logging.WARNING), pytest.raises(StopHereError):
        train(run, device=torch.device("cpu"), workers=0, on_step=interrupt)
    train(run, device=torch.device("cpu"), workers=0)
    (record,) = [r for r in caplog.records if r.name == "pointseg.training.notes"]
    assert "99.5% of the predictions were of one class" in record.getMessage()
    lines = lines_of(run.path)
    (warning,) = [line for line in lines if line["kind"] == "warning"]
    assert (warning["step"], warning["name"], warning["text"]) == (8, "one_class_q", record.getMessage())
    recorded = [line for line in lines if line["kind"] == "train"]
    assert ["early" in line for line in recorded] == [True] + [False] * 9
    assert recorded[0]["drift/floor"] == 1
    found = events(run.path)
    assert text_of(found, "warning/one_class_q") == [warning["text"]]
    assert [e.step for e in found.Histograms("counts")] == [10]
    (final,) = found.Scalars("eval/miou")
    assert final.value == pytest.approx([line for line in lines if line["kind"] == "eval"][-1]["miou"])
    assert len(text_of(found, "recipe")) == 1


def test_the_command_shows_a_warning_once(rooms_root, tmp_path, collapsing, capfd):
    command = ["train", "synthetic_supervised", "--data", str(rooms_root), "--labels", "1pct_seed0", "--workers", "0"]
    command += ["--device", "cpu", "--out", str(tmp_path / "run"), "--set", *SETTINGS]
    assert main(command) == 0
    shown = [line for line in capfd.readouterr().err.splitlines() if "WARNING" in line]
    assert len(shown) == 1
    assert shown[0].startswith("WARNING: at step 8, as in the 7 records before, 99.5% of the predictions")
    assert shown[0].endswith("usually helps")
