"""What is refused before anything is loaded, the lock of a run folder, and the report at the end."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pointseg.cli.main import main
from pointseg.data.classes import load_classes
from pointseg.data.label_import import import_segment
from pointseg.data.scene import open_scene, write_scene
from pointseg.errors import InputError
from pointseg.evaluation import Calibration, Evaluation, confusion_matrix
from pointseg.evaluation.evaluate import SceneEvaluation
from pointseg.training import Run, explained, load_recipe, notes, train, waiting
from pointseg.training.curves import Curve, draw_curves
from pointseg.training.lock import locked
from pointseg.training.pictures import PredictionPictures
from pointseg.training.report import write_report
from pointseg.training.waiting import DataClock
from pointseg.viewing.drawing import nice_ticks

SMALL = [
    "data.voxel_size=0.1",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=4",
    "batch_size=1",
    "eval_every=2",
    "optimizer.warmup_steps=2",
]


def recipe(root, *extra, labels="1pct_seed0"):
    return load_recipe("synthetic_supervised", [*SMALL, f"data.root={root}", f"data.labels={labels}", *extra])


@pytest.fixture
def copied(rooms_root, tmp_path):
    return shutil.copytree(rooms_root, tmp_path / "data")


def change_labels(root, split, change):
    for file in root.glob(f"{split}/*/segment.npy"):
        segment = np.load(file)
        np.save(file, change(segment).astype(segment.dtype))


@pytest.mark.parametrize(("split", "labels"), [("Area_5", "1pct_seed0"), ("Area_1", "full"), ("Area_1", "1pct_seed0")])
@pytest.mark.parametrize("wrong", [13, -2])
def test_label_ids_outside_the_class_file(copied, tmp_path, split, labels, wrong):
    change_labels(copied, split, lambda s: np.where(np.arange(len(s)) == 5, wrong, s))
    with pytest.raises(InputError, match=rf"{split}/office_1 has the label {wrong}, but the class file has 0 to 12"):
        Run.create(tmp_path / "run", recipe(copied, labels=labels))
    assert not (tmp_path / "run").exists()


def test_a_split_without_labelled_points(copied, tmp_path):
    change_labels(copied, "Area_2", lambda s: np.full_like(s, -1))
    with pytest.raises(InputError, match="split Area_2 has no labelled point in 'full'"):
        Run.create(tmp_path / "run", recipe(copied, labels="full"))
    Run.create(tmp_path / "run", recipe(copied, "data.train_splits=[Area_1]", labels="full"))


@pytest.mark.parametrize("split", ["Area_2", "Area_5"])
def test_a_scene_without_the_colours_that_the_network_takes(copied, tmp_path, split):
    scene = open_scene(copied / split / "office_1")
    kept = {"coord": np.array(scene.coord) + scene.offset, "segment": np.array(scene.segment)}
    shutil.rmtree(scene.path)
    write_scene(copied, split, "office_1", **kept, dataset="s3dis", sources=[], repairs=[], voxel_sizes=[0.1])
    with pytest.raises(InputError, match=rf"{split}/office_1 has no colour, but data.features contains 'color'"):
        Run.create(tmp_path / "run", recipe(copied, "data.features=[ones, color]", labels="full"))
    assert not (tmp_path / "run").exists()
    Run.create(tmp_path / "run", recipe(copied, "data.features=[ones, height]", labels="full"))


def test_a_scored_split_without_truth(copied, tmp_path):
    change_labels(copied, "Area_5", lambda s: np.full_like(s, -1))
    with pytest.raises(InputError, match="ground truth of split Area_5 is empty"):
        Run.create(tmp_path / "run", recipe(copied))


def test_a_scored_split_of_which_every_label_is_trained_on(copied, tmp_path):
    change_labels(copied, "Area_1", lambda s: np.where(np.arange(len(s)) % 100 == 0, s, -1))
    import_segment(copied, splits=["Area_1", "Area_2"])
    both = ["data.train_splits=[Area_1, Area_2]", "data.eval_splits=[Area_1]"]
    with pytest.raises(InputError, match=r"every point of split Area_1 that has a class is annotated in 'segment'"):
        Run.create(tmp_path / "run", recipe(copied, *both, labels="segment"))
    assert not (tmp_path / "run").exists()
    Run.create(tmp_path / "run", recipe(copied, *both, "data.eval_splits=[Area_5]", labels="segment"))


def evaluation(pred):
    """Of one scene of 4 points, all of class 1, predicted as ``pred``; None = no point is scored."""
    truth = np.full(4 if pred else 0, 1)
    pred = np.array(pred or [], int)
    matrix = confusion_matrix(truth, pred, 13)
    scene = SceneEvaluation(matrix, matrix, Calibration.of(np.full(len(truth), 0.5, np.float32), pred == truth))
    return Evaluation(load_classes("s3dis").names, {"Area_5/office_1": scene})


def test_scores_of_nothing_end_no_training_and_keep_no_best_from_being_found(rooms_root, tmp_path):
    run = Run.create(tmp_path / "run", recipe(rooms_root))
    method, network = SimpleNamespace(label_counts=torch.ones(13)), torch.nn.Linear(1, 1)
    # As a run of before has it.
    kept = notes.RunNotes(run, method, 0, {"step": 1, "miou": float("nan")}, scored=True)
    for step, pred in enumerate((None, [1, 1, 0, 0], None, [1, 0, 0, 0]), 2):
        kept.evaluation(step, evaluation(pred), network)
        best = json.loads((run.checkpoints / "best" / "state.json").read_text()) if step > 2 else None
        assert step == 2 or best == {"step": 3, "miou": 0.5, "macc": 0.5, "oacc": 0.5, "miou_voxel": 0.5}
    lines = [*kept.tracker.lines(), {"kind": "eval", "step": 9, "miou": float("nan"), "iou_floor": float("nan")}]
    assert "NaN" not in (run.path / "metrics.jsonl").read_text()
    text = write_report(run.path, run.config, run.classes.names, [lines[-1], *lines], {}).read_text()
    assert "| | last, step 9 | best mIoU, step 3 |" in text
    assert "| mIoU | - | 50.0 |" in text
    assert "![curves](" in text
    kept.tracker.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--set", "stepz=3"], "no setting 'stepz'"),
        (["--set", "steps=many"], "steps is 'many'"),
        (["--labels", "nothing"], "no sparse labels named 'nothing'"),
        (["--data", "/nowhere/at/all"], "holds no prepared scenes"),
    ],
)
def test_the_command_refuses_a_bad_recipe_in_one_line(rooms_root, tmp_path, capsys, change, message):
    out = tmp_path / "run"
    command = ["train", "synthetic_supervised", "--data", str(rooms_root), "--labels", "1pct_seed0", "--out", str(out)]
    assert main([*command, "--set", *SMALL, *change]) != 0
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not out.exists()


HOLDER = """
import sys, time
from pathlib import Path
from pointseg.training.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_never_train_one_run_and_a_dead_one_locks_nothing(rooms_root, tmp_path):
    run = Run.create(tmp_path / "run", recipe(rooms_root))
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"is in use by process {holder.pid} on .*another --out"):
            train(run, device=torch.device("cpu"), workers=0)
        assert not (run.path / "metrics.jsonl").exists()
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert (run.path / ".lock").exists()
    with locked(run.path):
        assert str(os.getpid()) in (run.path / ".lock").read_text()


def test_the_report_says_what_the_records_say(rooms_root, tmp_path, monkeypatch):
    # A second passes each time that somebody looks: one for each batch to come, one for each step.
    monkeypatch.setattr(waiting, "time", SimpleNamespace(perf_counter=itertools.count().__next__))
    run = Run.create(tmp_path / "run", recipe(rooms_root))
    assert train(run, device=torch.device("cpu"), workers=0) == 5 / 9
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in lines if line["kind"] == "eval"]
    last, best = evaluations[-1], max(evaluations, key=lambda line: line["miou"])
    text = (run.path / "report.md").read_text()
    assert f"| mIoU | {100 * last['miou']:.1f} | {100 * best['miou']:.1f} |" in text
    assert f"| floor | {100 * last['iou_floor']:.1f} | {100 * best['iou_floor']:.1f} |" in text
    assert "| sofa | - | - |" in text or "iou_sofa" in last
    pictures = [part.split(")")[0] for part in text.split("](")[1:]]
    assert len(pictures) == 4
    for picture in pictures:
        with Image.open(run.path / picture) as image:
            assert len(set(np.asarray(image.convert("RGB")).reshape(-1, 3)[::7].sum(1).tolist())) > 10
    assert [line["data_wait"] for line in lines if line["kind"] == "time"] == [4 / 8]
    assert "Steps waited for data 50% of their time." in text


def test_the_report_of_erda_shows_pseudo_labels_and_features(rooms_root, tmp_path, monkeypatch, caplog):
    settings = load_recipe("synthetic_erda", [*SMALL, f"data.root={rooms_root}", "data.labels=1pct_seed0", "steps=2"])
    monkeypatch.setattr(notes, "draw_scene", lambda *_, **__: Image.new("RGB", (4, 4)))
    monkeypatch.setattr(PredictionPictures, "draw", lambda _: {})
    report = []
    for name in ("whole", "cut"):
        run = Run.create(tmp_path / name, settings)
        train(run, device=torch.device("cpu"), workers=0)
        report.append((run.path / "report.md").read_text())
        monkeypatch.setattr(explained, "pseudo_label_evolution", _refuse)
    assert ["## Pseudo-labels" in text for text in report] == [True, False]
    assert all("## Features" in text for text in report)
    assert "left out of the report: too few" in caplog.text


def _refuse(*_):
    raise InputError("too few")


def test_a_run_that_scores_nothing_has_a_report_too(rooms_root, tmp_path):
    run = Run.create(tmp_path / "run", recipe(rooms_root, "data.eval_splits=[]", "data.train_splits=[Area_1]"))
    train(run, device=torch.device("cpu"), workers=0)
    assert "Nothing was scored" in (run.path / "report.md").read_text()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.232, 0.461), (-3, 17), (5, 5), (0, 0), (1e-6, 2e-6), (0, 40000)])
def test_ticks_cover_their_range_in_round_steps(low, high):
    ticks = nice_ticks(low, high)
    steps = np.diff(ticks)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 8
    assert np.allclose(steps, steps[0])
    assert f"{steps[0]:.0e}"[0] in "125"


def test_a_curve_rises_where_its_values_do():
    image = np.asarray(draw_curves([Curve("loss", [(0, 0.0), (50, 0.5), (100, 1.0)])])).astype(int)
    blue = (image[..., 2] - image[..., 0]) > 80
    heights = [np.flatnonzero(blue[:, x]).mean() for x in (80, 280, 480)]
    assert heights[0] > heights[1] + 50 > heights[2] + 100


def test_the_clock_tells_waiting_from_work():
    clock = DataClock()

    def slow():
        for number in range(3):
            time.sleep(0.03)
            yield number

    seen = []
    for number in clock.waiting(slow()):
        with clock.working():
            seen.append(number)
            time.sleep(0.01)
        time.sleep(0.05)
    assert seen == [0, 1, 2]
    assert clock.waited >= 0.09
    assert clock.worked >= 0.03
    assert clock.share == pytest.approx(clock.waited / (clock.waited + clock.worked))
