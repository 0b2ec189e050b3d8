"""``pointseg evaluate``: what it prints and stores, votes, folds, submissions and their check."""

import errno
import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.metrics import jaccard_score

from pointseg.cli import evaluate as evaluate_command
from pointseg.cli.main import main
from pointseg.data.classes import load_classes, save_classes
from pointseg.data.scene import list_scenes, write_scene
from pointseg.evaluation import Evaluation
from pointseg.training import Run, load_recipe, train
from pointseg.training.loop import predictor

SMALL = [
    "data.voxel_size=0.1",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=3",
    "batch_size=2",
    "optimizer.warmup_steps=1",
    "data.labels=1pct_seed0",
]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(rooms_root, tmp_path_factory):
    run = Run.create(
        tmp_path_factory.mktemp("run") / "Area_5",
        load_recipe("synthetic_supervised", [*SMALL, f"data.root={rooms_root}", "data.eval_splits=[Area_5]"]),
    )
    train(run, device=CPU, workers=0)
    return run


@pytest.fixture
def runs(trained, tmp_path):
    """Three runs with one network: each holds out another area."""
    for area in ("Area_1", "Area_2", "Area_5"):
        shutil.copytree(trained.path, tmp_path / "runs" / area)
        config = yaml.safe_load((trained.path / "config.yaml").read_text())
        config["data"]["eval_splits"] = [area]
        (tmp_path / "runs" / area / "config.yaml").write_text(yaml.safe_dump(config))
        (tmp_path / "runs" / area / "data.json").unlink()  # it tells what was really trained on
    return tmp_path / "runs"


def other_run(runs, **data):
    """A copy of a run that says it was trained with other settings of its data."""
    other = shutil.copytree(runs / "Area_5", runs / "other")
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["data"] |= data
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    return other


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments), "--device", "cpu"])


def stored(runs, name, area="Area_5"):
    return json.loads((runs / area / "evaluation" / f"{name}.json").read_text())


def truth_and_pred(run, splits):
    predict = predictor(run, run.load_model(), CPU)
    scenes = list_scenes(run.config.data.root, splits)
    return (np.concatenate([getattr(p, k) for p in map(predict, scenes)]) for k in ("pred", "confidence")), scenes


def test_scores_scenes_pictures_and_votes(runs, capsys):
    assert evaluate(runs / "Area_5", "--scenes") == 0
    printed = capsys.readouterr().out
    assert "Area_5/office_1" in printed
    assert "calibration error" in printed
    one = stored(runs, "final_Area_5")
    (pred, confidence), scenes = truth_and_pred(Run.open(runs / "Area_5"), ["Area_5"])
    truth = np.asarray(scenes[0].segment)
    assert one["miou"] == pytest.approx(jaccard_score(truth, pred, labels=np.unique(truth), average="macro"))
    bins = (np.ceil(confidence * 15) - 1).astype(int)
    gaps = [abs(((pred == truth) - confidence.astype(float))[bins == b].sum()) for b in range(15)]
    assert one["ece"] == pytest.approx(sum(gaps) / len(truth), abs=1e-6)
    assert one["miou_interval"]["low"] is None, "one scene has no interval"
    assert sum(count for *_, count in one["scene_confusion"]["Area_5/office_1"]) == len(truth)
    for picture in ("confusion", "calibration"):
        assert Image.open(runs / "Area_5" / "evaluation" / f"final_Area_5.{picture}.png").size[0] > 300

    assert evaluate(runs / "Area_5", "--votes", 1) == 0
    assert stored(runs, "final_Area_5") == one
    assert evaluate(runs / "Area_5", "--votes", 3) == 0
    voted = stored(runs, "final_Area_5_3votes")
    assert voted["votes"] == 3
    assert voted["confusion"] != one["confusion"]


def test_scores_on_two_roots_of_one_name_are_two_files(runs, rooms_root, tmp_path):
    roots = [shutil.copytree(rooms_root, tmp_path / place / "data") for place in ("one", "two")]
    for root in roots:
        assert evaluate(runs / "Area_5", "--data", root) == 0
    files = sorted((runs / "Area_5" / "evaluation").glob("data-*_final_Area_5.json"))
    assert sorted(json.loads(file.read_text())["data"] for file in files) == [str(root) for root in roots]


def test_runs_side_by_side_differ_by_a_paired_interval(runs, capsys):
    other = runs / "other"
    shutil.copytree(runs / "Area_5", other)
    splits = ["--splits", "Area_1", "Area_2", "Area_5"]
    assert evaluate(runs / "Area_5", other, "--device", "cpu", *splits) == 0
    assert "miou of other minus Area_5: +0.0 (+0.0 to +0.0 in 95 %)" in capsys.readouterr().out
    scores = stored(runs, "final_Area_1-Area_2-Area_5", "other")
    assert scores["miou_minus"]["value"] == 0
    interval = scores["miou_interval"]
    assert interval["low"] <= interval["value"] == scores["miou"] <= interval["high"]


def test_scores_of_scenes_trained_on_with_every_label_are_marked(runs, capsys):
    full = other_run(runs, labels="full")
    assert evaluate(full, "--splits", "Area_5") == 0
    assert not stored(runs, "final_Area_5", "other")["trained_on"]
    assert "every label" not in "".join(capsys.readouterr())
    assert evaluate(runs / "Area_5", full, "--splits", "Area_1", "Area_5") == 0
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == (
        f"warning: {full} was trained on every label of 1 of the 2 scenes to be scored (Area_1/office_1 for one): its "
        "scores are of what it was shown, not of new scenes"
    )
    assert "other *" in said.out
    assert "* trained on every label of scenes that are scored" in " ".join(said.out.split())
    marks = [stored(runs, "final_Area_1-Area_5", name)["trained_on"] for name in ("Area_5", "other")]
    assert marks == [False, True]


def test_names_are_printed_as_they_are(runs, rooms_root, tmp_path, capsys):
    root = shutil.copytree(rooms_root, tmp_path / "mine")
    run = other_run(runs, root=str(root))
    for file in (root / "classes.yaml", run / "classes.yaml"):
        file.write_text(file.read_text().replace("board", "'[/x]'").replace("chair", "'[bold]'"))
    assert evaluate(run) == 0
    said = capsys.readouterr().out
    assert "IoU [/x]" in said
    assert "IoU [bold]" in said


def test_runs_that_leave_out_other_points_are_not_compared_in_pairs(runs, capsys):
    other = other_run(runs, labels="1pt_seed0")
    assert evaluate(runs / "Area_5", other, "--splits", "Area_1", "Area_2", "Area_5") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "miou of other minus Area_5: not compared, since they leave different annotated points of Area_1/office_1 and "
        "1 more out of their scores"
    ) in said
    assert "miou_minus" not in stored(runs, "final_Area_1-Area_2-Area_5", "other")
    assert evaluate(runs / "Area_5", other) == 0
    assert "miou of other minus Area_5: +0.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("colours", r"/mine/Area_5/office_1 of .*/other has other colours than .*/Area_5/office_1 of"),
        ("more", r"scene Area_5/office_2 is in the data of .*/other alone, of .*/Area_5 and .*/other; score both"),
        ("moved", r"/mine/Area_5/office_1 of .*/other has other coordinates than .*/Area_5/office_1 of"),
    ],
)
def test_runs_whose_data_differs_are_refused_before_anything_is_predicted(
    runs, rooms_root, tmp_path, capsys, monkeypatch, change, said
):
    root = shutil.copytree(rooms_root, tmp_path / "mine")
    (scene,) = list_scenes(root, ["Area_5"])
    arrays = {name: np.array(getattr(scene, name)) for name in ("coord", "color", "segment")}
    if change == "colours":
        arrays["color"] = 255 - arrays["color"]
    else:
        arrays["coord"] += np.float32(0.01)
    facts = {"dataset": "s3dis", "sources": [], "repairs": [], "voxel_sizes": [0.1]}
    write_scene(root, "Area_5", "office_2" if change == "more" else "office_1", **arrays, **facts)
    other = other_run(runs, root=str(root))
    monkeypatch.setattr(evaluate_command, "_evaluate", None)
    assert evaluate(runs / "Area_5", other) == 2
    assert re.search(said, capsys.readouterr().err)


def test_scores_that_cannot_be_stored_are_shown_and_keep_no_others(runs, capsys, monkeypatch):
    other, compute, store = runs / "other", evaluate_command._evaluate, Evaluation.save
    shutil.copytree(runs / "Area_5", other)
    computed = []
    monkeypatch.setattr(evaluate_command, "_evaluate", lambda *args: computed.append(1) or compute(*args))
    (runs / "Area_5" / "evaluation").write_text("no folder")
    assert evaluate(other, runs / "Area_5") == 2
    assert "Area_5/evaluation, where the scores are to be stored, cannot be written" in capsys.readouterr().err
    assert not computed
    (runs / "Area_5" / "evaluation").unlink()

    def full(evaluation, path, more=None):
        if "other" in path.parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        store(evaluation, path, more)

    monkeypatch.setattr(Evaluation, "save", full)
    assert evaluate(other, runs / "Area_5") == 2
    said = capsys.readouterr()
    assert "calibration error" in said.out
    assert said.out.splitlines()[-1] == f"stored in {runs / 'Area_5' / 'evaluation'}"
    assert "error: not all scores could be stored: no space left on the disk, where" in said.err.splitlines()[-1]
    assert len(computed) == 2
    assert stored(runs, "final_Area_5")["miou"] >= 0


def test_folds_are_pooled(runs, capsys):
    areas = ("Area_1", "Area_2", "Area_5")
    assert evaluate("--folds", *(runs / area for area in areas)) == 0
    assert "all 3" in capsys.readouterr().out
    together = stored(runs, "final_3folds", "Area_1")
    parts = [np.array(stored(runs, f"final_{area}", area)["confusion"]) for area in areas]
    np.testing.assert_array_equal(together["confusion"], sum(parts))
    (pred, _), scenes = truth_and_pred(Run.open(runs / "Area_5"), list(areas))
    truth = np.concatenate([np.asarray(scene.segment) for scene in scenes])
    assert together["miou"] == pytest.approx(jaccard_score(truth, pred, labels=np.unique(truth), average="macro"))
    assert [name.split("/")[0] for name in together["scenes"]] == list(areas)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--folds", "{runs}/Area_1", "{runs}/Area_2"], "no run holds out Area_5"),
        (["--folds", "{runs}/Area_1", "--splits", "Area_1"], "leave --splits away"),
        (["{runs}/Area_1", "{runs}/Area_2"], "hold out different splits"),
        (["{runs}/Area_1", "--votes", "0"], "--votes is 0"),
        ([], "no run was given"),
        (["{runs}/Area_1", "--submission", "{runs}/send", "--splits", "Area_1"], "no benchmark for the data set s3dis"),
        (["{runs}/Area_1", "--submission", "{runs}/send"], "needs --splits"),
        (["--check", "{runs}/send"], "--data ROOT"),
    ],
)
def test_mistakes_are_one_line(arguments, said, runs, capsys):
    assert evaluate(*(part.format(runs=runs) for part in arguments)) == 2
    shown = capsys.readouterr().err.strip()
    assert said in shown.splitlines()[-1]


def test_a_submission_is_written_and_checked(trained, tmp_path, capsys):
    """A test tile without ground truth; the network need not be good."""
    classes, root, run = load_classes("sensaturban"), tmp_path / "data", tmp_path / "run"
    root.mkdir()
    save_classes(classes, root / "classes.yaml")
    rng = np.random.default_rng(0)
    coord, color = rng.uniform(0, 3, (400, 3)), rng.integers(0, 255, (400, 3)).astype(np.uint8)
    settings = {"dataset": "sensaturban", "sources": [], "repairs": [], "voxel_sizes": [0.1]}
    write_scene(root, "test", "birmingham_block_2", coord=coord, color=color, **settings)
    shutil.copytree(trained.path, run)
    save_classes(classes, run / "classes.yaml")
    send = tmp_path / "send"
    assert evaluate(run, "--submission", send, "--data", root, "--splits", "test") == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        "problem: 1 test scenes are prepared, but the benchmark has 6; prepare all of them"
    )
    predict = predictor(Run.open(run), Run.open(run).load_model(), CPU)
    expected = predict(list_scenes(root)[0]).pred.astype(np.uint8)
    assert (send / "birmingham_block_2.label").read_bytes() == expected.tobytes()
    (send / "birmingham_block_2.label").write_bytes(b"\x01")
    assert evaluate("--check", send, "--data", root) == 1
    assert "it holds 1 labels, but the scene has 400 points" in capsys.readouterr().err
