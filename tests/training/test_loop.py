"""The training loop: exact resume, a killed process, one setting apart, evaluation and prediction of what it made."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from pointseg.errors import InputError
from pointseg.methods import METHODS, LossTerms
from pointseg.training import Run, load_recipe, train

SMALL = [
    "data.voxel_size=0.1",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=6",
    "batch_size=2",
    "eval_every=3",
    "checkpoint_every=2",
    "optimizer.warmup_steps=2",
]
CPU = torch.device("cpu")


def recipe(root, method="erda", *extra):
    data = [f"data.root={root}", "data.labels=1pct_seed0"]
    return load_recipe(f"synthetic_{method}", [*SMALL, *data, *extra])


def weights(run):
    return load_file(run.checkpoints / "final" / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def records(run):
    """The lines of a run but those that depend on the speed of the machine."""
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    return [line for line in lines if json.loads(line)["kind"] != "time"]


class StopHereError(Exception):
    pass


@pytest.fixture(scope="module")
def finished(rooms_root, tmp_path_factory):
    run = Run.create(tmp_path_factory.mktemp("run") / "erda", recipe(rooms_root))
    train(run, device=CPU, workers=0)
    return run


@pytest.mark.threads
@pytest.mark.parametrize("stop", [1, 4, 5])
def test_an_interrupted_run_ends_with_the_same_weights(finished, rooms_root, tmp_path, stop):
    run = Run.create(tmp_path / "run", recipe(rooms_root))

    def interrupt(done, scalars):
        if done == stop:
            raise StopHereError

    with pytest.raises(StopHereError):
        train(run, device=CPU, workers=0, on_step=interrupt)
    run = Run.create(tmp_path / "run", recipe(rooms_root), resume=True)
    train(run, device=CPU, workers=1)
    assert same(weights(run), weights(finished))
    assert records(run) == records(finished)


def test_a_killed_process_resumes_to_the_same_weights(rooms_root, tmp_path, no_pictures):
    settings = ["steps=10", "checkpoint_every=1", "eval_every=10"]
    straight = Run.create(tmp_path / "straight", recipe(rooms_root, "erda", *settings))
    train(straight, device=CPU, workers=0)
    command = [sys.executable, "-m", "pointseg.cli.main", "train", "synthetic_erda", "--out", str(tmp_path / "killed")]
    command += ["--data", str(rooms_root), "--labels", "1pct_seed0", "--device", "cpu", "--set", *SMALL, *settings]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "killed" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("step_*[0-9]")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (checkpoints / "final").exists()
    assert list(checkpoints.glob("step_*[0-9]"))
    done = subprocess.run([*command, "--resume"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert same(weights(Run.open(tmp_path / "killed")), weights(straight))


def test_supervised_and_erda_start_from_the_same_network_and_see_the_same_data(rooms_root, tmp_path, monkeypatch):
    seen = {}
    for name in ("supervised", "erda"):
        run = Run.create(tmp_path / name, recipe(rooms_root, name, "steps=3"))
        inputs, initial = [], []

        def record(self, model, batch, original, inputs=inputs, initial=initial):
            if not initial:
                initial.append({k: v.clone() for k, v in model.state_dict().items()})
            inputs.append((batch.weak.inputs.coord, batch.weak.inputs.features, batch.weak.labels))
            return original(self, model, batch)

        method = METHODS[name]
        original = method.loss
        monkeypatch.setattr(method, "loss", lambda self, model, batch, o=original, r=record: r(self, model, batch, o))
        train(run, device=CPU, workers=0)
        seen[name] = (initial[0], inputs)
    assert same(seen["supervised"][0], seen["erda"][0])
    for a, b in zip(seen["supervised"][1], seen["erda"][1], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_what_a_run_leaves_behind(finished):
    lines = [json.loads(line) for line in (finished.path / "metrics.jsonl").read_text().splitlines()]
    train_lines = [line for line in lines if line["kind"] == "train"]
    assert {"loss", "loss_ce", "loss_erda", "entropy_p", "entropy_q", "kl_p_q", "pseudo_label_accuracy", "lr"} <= set(
        train_lines[-1]
    )
    evaluations = [line for line in lines if line["kind"] == "eval"]
    assert [line["step"] for line in evaluations] == [3, 6]
    assert {"miou", "macc", "oacc", "miou_voxel", "iou_floor"} <= set(evaluations[0])
    best = json.loads((finished.checkpoints / "best" / "state.json").read_text())
    assert best["miou"] == max(line["miou"] for line in evaluations)
    assert list((finished.path / "tensorboard").glob("events.*"))
    assert not list(finished.path.rglob("*.pt")) + list(finished.path.rglob("*.pkl"))
    environment = json.loads((finished.path / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("method", "setting", "stored", "prefix"),
    [
        ("supervised", "ema_momentum=0.9", "average", "model.net."),
        ("mean_teacher", "ema_momentum=0", "method", "teacher.model.net."),
        ("supervised", "ema_momentum=0", "model", ""),
    ],
)
def test_a_step_checkpoint_gives_the_network_that_is_scored(
    rooms_root, tmp_path, no_pictures, method, setting, stored, prefix
):
    extra = ["steps=3", "data.eval_splits=[]", "data.train_splits=[Area_1]", "model.planes=[4, 4, 4, 4, 4, 4, 4, 4]"]
    run = Run.create(tmp_path / "run", recipe(rooms_root, method, *extra, setting))
    train(run, device=CPU, workers=0)
    folder, loaded = run.checkpoints / "step_000002", run.load_model("step_000002").net.state_dict()
    tensors = load_file(folder / f"{stored}.safetensors")
    assert same(loaded, {name: tensors[prefix + name] for name in loaded})
    assert same(loaded, load_file(folder / "model.safetensors")) == (stored == "model")
    assert (folder / "scored.safetensors").exists() == (stored != "model")


def test_a_loaded_model_scores_as_it_did_in_training(finished):
    from pointseg.training.loop import evaluate_network

    model = finished.load_model("final")
    evaluation = evaluate_network(finished, model, finished.scenes(), CPU)
    last = json.loads((finished.checkpoints / "final" / "state.json").read_text())
    assert last["step"] == 6
    assert evaluation.points.miou == pytest.approx(last["miou"], abs=1e-9)


def losses(rooms_root, path, *settings):
    """Of each step."""
    seen = []
    run = Run.create(path, recipe(rooms_root, "erda", "data.eval_splits=[]", "data.train_splits=[Area_1]", *settings))
    train(run, device=CPU, workers=0, on_step=lambda done, scalars: seen.append(scalars["loss"]))
    return seen


@pytest.mark.parametrize(("precision", "rounding"), [("bf16", 2**-8), ("fp16", 2**-11)])
def test_half_precision_learns_from_the_loss_of_fp32_but_for_rounding(
    rooms_root, tmp_path, no_pictures, precision, rounding
):
    exact = losses(rooms_root, tmp_path / "exact", "steps=1", "optimizer.warmup_steps=1")
    half = losses(rooms_root, tmp_path / "half", f"precision={precision}")
    assert half[0] != exact[0]
    assert half[0] == pytest.approx(exact[0], rel=2 * rounding)
    # With fp16 the first steps overflow and are passed over, until the scale of the loss has come down.
    assert half[-1] < half[0]


def test_a_loss_that_explodes_names_its_batch(rooms_root, tmp_path):
    extra = ["optimizer.lr=1e30", "optimizer.clip_norm=0", "optimizer.name=sgd", "batch_size=1", "accumulate=2"]
    run = Run.create(tmp_path / "run", recipe(rooms_root, "supervised", *extra))
    with pytest.raises(InputError, match=r"loss of step 1 on Area_[12]/office_1 \(sample \(0, 1, 0\)\) is not finite"):
        train(run, device=CPU, workers=0)


def test_folders_that_do_not_fit_are_refused(finished, rooms_root, tmp_path):
    with pytest.raises(InputError, match="already holds a run"):
        Run.create(finished.path, recipe(rooms_root))
    with pytest.raises(InputError, match=r"other settings \(steps: 6 there, 7 now\)"):
        Run.create(finished.path, recipe(rooms_root, "erda", "steps=7"), resume=True)
    with pytest.raises(InputError, match="not a run folder"):
        Run.open(tmp_path)
    with pytest.raises(InputError, match="holds no prepared scenes"):
        Run.create(tmp_path / "run", recipe(tmp_path))
    with pytest.raises(InputError, match=r"no checkpoint 'step_9'; there are: best, final"):
        finished.load_model("step_9")
    with pytest.raises(InputError, match=r"no split 'Area_9'; it has Area_1"):
        finished.scenes(["Area_9"])


def test_data_of_other_classes_is_refused(finished, rooms_root, tmp_path):
    shutil.copytree(rooms_root, tmp_path / "root")
    text = (tmp_path / "root" / "classes.yaml").read_text()
    (tmp_path / "root" / "classes.yaml").write_text(text.replace("board", "screen"))
    with pytest.raises(InputError, match="screen"):
        finished.scenes(data_root=tmp_path / "root")


def test_a_scene_damaged_while_training_is_told_in_one_sentence(rooms_root, tmp_path):
    shutil.copytree(rooms_root, tmp_path / "root")
    run = Run.create(tmp_path / "run", recipe(tmp_path / "root"))

    def damage(done, scalars):
        for file in (tmp_path / "root").glob("Area_[12]/*/color.npy"):
            file.write_bytes(b"broken")

    for workers in (0, 1):
        with pytest.raises(InputError) as caught:
            train(run, device=CPU, workers=workers, on_step=damage)
        assert re.fullmatch(
            r"\S+/Area_[12]/office_1/color\.npy is damaged or truncated \([^\n\\]*\); prepare the scene again",
            str(caught.value),
        )


def test_damaged_final_weights_are_made_again(finished, rooms_root, tmp_path, no_pictures, caplog):
    path = shutil.copytree(finished.path, tmp_path / "run")
    file = path / "checkpoints" / "final" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 4
    file.write_bytes(content)
    run = Run.create(path, recipe(rooms_root), resume=True)
    assert "the final weights of" in caplog.text
    assert not run.finished
    train(run, device=CPU, workers=0)
    assert run.finished
    assert same(weights(run), weights(finished))
    assert records(run) == records(finished)


def test_damaged_best_weights_are_chosen_anew(rooms_root, tmp_path, no_pictures, caplog):
    run = Run.create(tmp_path / "run", recipe(rooms_root))

    def interrupt(done, scalars):
        if done == 4:
            raise StopHereError

    with pytest.raises(StopHereError):
        train(run, device=CPU, workers=0, on_step=interrupt)
    best = run.checkpoints / "best"
    assert json.loads((best / "state.json").read_text())["step"] == 3
    (best / "model.safetensors").write_bytes(b"broken")
    train(run, device=CPU, workers=0)
    assert f"the best weights, {best}, are damaged" in caplog.text
    assert json.loads((best / "state.json").read_text())["step"] == 6
    run.load_model("best")


@pytest.mark.threads
def test_a_method_that_draws_random_numbers_resumes_exactly(rooms_root, tmp_path, monkeypatch):
    original = METHODS["supervised"].loss

    def noisy(self, model, batch):
        terms = original(self, model, batch)
        return LossTerms(terms.total * torch.rand(()), terms.log)

    def interrupt(done, scalars):
        if done == 3:
            raise StopHereError

    monkeypatch.setattr(METHODS["supervised"], "loss", noisy)
    settings = recipe(rooms_root, "supervised", "steps=4", "eval_every=4", "data.train_splits=[Area_1]")
    runs = [Run.create(tmp_path / name, settings) for name in ("straight", "interrupted")]
    train(runs[0], device=CPU, workers=0)
    with pytest.raises(StopHereError):
        train(runs[1], device=CPU, workers=0, on_step=interrupt)
    train(runs[1], device=CPU, workers=0)
    assert same(weights(runs[0]), weights(runs[1]))
