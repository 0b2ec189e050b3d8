"""Two processes train as one does with the same batches, and end together. Everything in one launch where it can be."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pointseg.device import pick_device_of_process
from pointseg.errors import InputError
from pointseg.evaluation.calibration import BINS, Calibration
from pointseg.evaluation.evaluate import Evaluation, SceneEvaluation
from pointseg.inference import predict
from pointseg.methods import METHODS, LossTerms
from pointseg.methods.distributed import all_reduce_sum, rank, world_size
from pointseg.training import Run, dealing, load_recipe, loop, notes, train
from pointseg.training.pictures import PredictionPictures
from pointseg.training.processes import Place, every_text, first_does, joined
from pointseg.training.synced_norm import synced

SMALL = [
    "data.voxel_size=0.1",
    "data.labels=1pct_seed0",
    "data.train_splits=[Area_1, Area_2]",
    "data.eval_splits=[]",
    "data.max_voxels=1000",
    "strong.cutmix=0",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=3",
    "checkpoint_every=2",
    "optimizer.warmup_steps=2",
]
SCORED = "data.eval_splits=[Area_1, Area_2, Area_5]"
EXACT = {
    "supervised": [SCORED, "eval_every=3", "batch_size=2", "accumulate=2", "loss.lovasz=0.5", "ema_momentum=0.5"],
    # An uneven deal: two samples and one.
    "erda": ["batch_size=3", "loss.label_smoothing=0.1"],
    "mean_teacher": ["batch_size=2"],
    # Keys and anchors are drawn in each process for itself: without the loss they enter it is exact.
    "u2pl": ["batch_size=2", "method.contrast_weight=0", "method.warmup=0"],
}
LIKE = {"mllc": ["batch_size=3", "method.sample_size=1000", "method.contrast_start=0"]}
"""Graphs of nearest neighbours, where the order of the nodes alone decides between nearly equal ones."""

TOLERANCE = {"rtol": 1e-7, "atol": 1e-8}
"""In float64: sums are taken in another order, and Adam divides by small gradients."""

ODD = "two\u2028lines\nand\x85more "


def in_float64():
    """Let everything in this process train in float64, which parts rounding from mistakes."""
    torch.set_default_dtype(torch.float64)
    as_batch, inputs = loop.as_batch, predict.voxel_features

    def wide(view):
        return None if view is None else dataclasses.replace(view, features=view.features.double())

    loop.as_batch = lambda b, **k: as_batch(dataclasses.replace(b, weak=wide(b.weak), strong=wide(b.strong)), **k)
    predict.voxel_features = lambda *args: inputs(*args).astype("float64")


def trained(root, path, method, *extra):
    """Train a run with all processes, which must hold the same weights and the same state of the method in the end."""
    recipe = load_recipe(f"synthetic_{method}", [*SMALL, f"data.root={root}", *extra])
    run = first_does(lambda: Run.create(path, recipe)) or Run.open(path)
    made, build = [], loop.build
    loop.build = lambda *args: made.append(build(*args)) or made[0]
    try:
        train(run, device=torch.device("cpu"), workers=0)
    finally:
        loop.build = build
    state = [value.float() for part in made[0][:2] for value in part.state_dict().values()]
    digests = every_text(hashlib.sha256(b"".join(value.numpy().tobytes() for value in state)).hexdigest())
    assert len(set(digests)) == 1
    assert all(value.isfinite().all() for value in state)


LONGER = ["batch_size=3", "steps=6", "checkpoint_every=1"]
"""Of the run that is killed, interrupted and resumed."""


def train_all(root, out):
    """What one process does, and what several do together."""
    with joined("cpu"):
        loop.LOG_EVERY, PredictionPictures.draw = 1, lambda self: {}
        # Pictures and pseudo-labels for people take samples as they are stored, in fp32.
        notes.explained, notes.RunNotes.pseudo_labels = lambda *_: {}, lambda *_: None
        torch.save(norms(), f"{out}/norms_{rank()}.pt")
        if world_size() > 1:
            Path(out, f"errors_{rank()}.json").write_text(json.dumps(errors(root, out)))
            assert every_text(ODD + str(rank())) == [f"{ODD}0", f"{ODD}1"]
            trained(root, f"{out}/reference", "erda", *LONGER)
            trained(root, f"{out}/drawing", "u2pl", "batch_size=3", "method.warmup=0", "precision=bf16")
            trained(root, f"{out}/fp16", "supervised", "batch_size=2", "precision=fp16")
        in_float64()
        for method, extra in (EXACT | LIKE).items():
            trained(root, f"{out}/{method}", method, *extra)
        while_joined, own = thread_names(), rank()
    Path(out, f"threads_{own}.json").write_text(json.dumps([while_joined, thread_names()]))


def thread_names():
    """Of all threads of this process, as the system has them."""
    return sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))


def norms():
    """Batch norm in float64 and training mode, on this process's rows of three batches, and what comes of them."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(1)
    norm = nn.BatchNorm1d(4).double()
    norm.weight.data.uniform_(0.5, 2)
    layer = synced(nn.Sequential(norm, nn.ReLU(), nn.BatchNorm1d(4, affine=False, momentum=None).double()))
    found = {"kinds": [type(part).__name__ for part in layer], "outputs": [], "gradients": []}
    for shares in ([7, 4], [5, 0], [0, 0]):
        # Far from 0, where a sum of squares would have lost the variance.
        rows = 1e6 + torch.randn(sum(shares), 4, generator=generator, dtype=torch.float64)
        target = torch.randn(rows.shape, generator=generator, dtype=torch.float64)
        if world_size() > 1:
            rows, target = rows.split(shares)[rank()], target.split(shares)[rank()]
        rows = rows.clone().requires_grad_()
        if world_size() == 1 and not len(rows):
            continue
        output = layer(rows)
        layer.zero_grad()
        (output * target).sum().backward()
        found["outputs"].append(output.detach())
        found["gradients"].append([rows.grad, all_reduce_sum(norm.weight.grad), all_reduce_sum(norm.bias.grad)])
    found["state"] = layer.state_dict()
    return found


def errors(root, out):
    """What each process is told when one of them fails, or when a batch is too small."""
    told = []

    def broken(model, batch, original=METHODS["supervised"].loss):
        method, terms = model
        terms = original(method, terms, batch)
        return LossTerms(terms.total * float("nan"), terms.log) if rank() == 1 and batch.step == 1 else terms

    def fail():
        raise OSError("disk full")

    original = METHODS["supervised"].loss
    METHODS["supervised"].loss = lambda method, model, batch: broken((method, model), batch)
    for attempt in (
        lambda: trained(root, f"{out}/nan", "supervised", "batch_size=3"),
        lambda: trained(root, f"{out}/few", "supervised", "batch_size=1"),
        lambda: trained(root, f"{out}/compiled", "supervised", "batch_size=2", "compile=true"),
        lambda: first_does(fail),
    ):
        try:
            attempt()
        except Exception as error:
            told.append([type(error).__name__, str(error)])
    METHODS["supervised"].loss = original
    return told


def wait_in_vain(gave_up):
    """The second process keeps the first waiting until that one has had enough."""
    with joined("cpu"):
        torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=1), torch.distributed.group.WORLD)
        while rank() == 1 and not Path(gave_up).exists():
            time.sleep(0.02)
        try:
            all_reduce_sum(torch.zeros(1))
        finally:
            Path(gave_up).touch()


@pytest.fixture(scope="module")
def job():
    """``job(size, function=..., args=...)`` or ``job(size, argv=..., stop=...)``: statuses and texts."""
    command = [sys.executable, str(Path(__file__).with_name("lives_of_several.py")), __file__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(size, **what):
        process.stdin.write(json.dumps({"size": size, **what}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait()


@pytest.fixture(scope="module")
def both(job, rooms_root, tmp_path_factory):
    """The folders of what one process made, and of what two did."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for size, folder in enumerate(folders, start=1):
        statuses, texts = job(size, function="train_all", args=[str(rooms_root), str(folder)])
        assert statuses == [0] * size, texts
    return folders


def lines(run, kind):
    return [line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if line["kind"] == kind]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are read from Linux's /proc")
@pytest.mark.parametrize("rank", range(2))
def test_no_thread_that_carried_messages_outlives_the_job(both, rank):
    """It could abort the process at its end, when it lets go of a tensor that Python knew."""
    while_joined, after = json.loads((both[1] / f"threads_{rank}.json").read_text())
    assert sum("gloo" in name for name in while_joined) >= 2
    assert not [name for name in after if "gloo" in name]


@pytest.mark.parametrize("method", EXACT)
def test_two_processes_end_with_the_weights_and_state_of_one(both, method):
    one, two = (folder / method / "checkpoints" for folder in both)
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert len(files) >= 4
    for file in files:
        theirs, ours = load_file(one / file), load_file(two / file)
        assert theirs.keys() == ours.keys()
        assert not any(name.startswith("module.") for name in ours)
        for name in theirs:
            if not name.startswith("bank."):
                torch.testing.assert_close(ours[name], theirs[name], **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("method", EXACT)
def test_two_processes_record_the_losses_of_one(both, method):
    one, two = (lines(folder / method, "train") for folder in both)
    assert len(one) == len(two) == 3
    # Means of what is counted in each process, and the term of U2PL that draws.
    local = {"share_paired", "anchor_classes", "loss_contrast"}
    for theirs, ours in zip(one, two, strict=True):
        assert theirs.keys() == ours.keys()
        for name in theirs.keys() - local - {"kind"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-6), name


def test_mllc_starts_as_in_one_process_and_goes_nearly_its_way(both):
    one, two = (lines(folder / "mllc", "train") for folder in both)
    names = ["loss", "loss_ce", "loss_ce_rounds", "loss_unlabelled", "loss_contrast"]
    for name in names:
        assert two[0][name] == pytest.approx(one[0][name], rel=1e-6)
        assert two[-1][name] == pytest.approx(one[-1][name], rel=0.01)


def test_scores_of_dealt_scenes_are_those_of_one_process_to_the_bit(both):
    one, two = (lines(folder / "supervised", "eval") for folder in both)
    assert [line["step"] for line in one] == [3]
    assert two == one
    states = [folder / "supervised" / "checkpoints" / "best" / "state.json" for folder in both]
    assert states[0].read_text() == states[1].read_text()


def test_batch_norm_sees_the_rows_of_both(both):
    (whole,) = [torch.load(both[0] / "norms_0.pt", weights_only=True)]
    parts = [torch.load(both[1] / f"norms_{rank}.pt", weights_only=True) for rank in range(2)]
    assert whole["kinds"] == ["BatchNorm1d", "ReLU", "BatchNorm1d"]
    assert parts[0]["kinds"] == parts[1]["kinds"] == ["SyncedBatchNorm", "ReLU", "SyncedBatchNorm"]
    close = {"rtol": 1e-6, "atol": 1e-8}
    for step, output in enumerate(whole["outputs"]):
        torch.testing.assert_close(torch.cat([p["outputs"][step] for p in parts]), output, **close)
        rows, weight, bias = whole["gradients"][step]
        torch.testing.assert_close(torch.cat([p["gradients"][step][0] for p in parts]), rows, **close)
        for part in parts:
            torch.testing.assert_close(part["gradients"][step][1:], [weight, bias], **close)
    for name, value in whole["state"].items():
        if "num_batches" not in name:
            torch.testing.assert_close(parts[0]["state"][name], value, rtol=1e-6, atol=0)
        assert torch.equal(parts[0]["state"][name], parts[1]["state"][name])
    assert all(p["outputs"][2].shape == (0, 4) for p in parts)


def test_all_processes_are_told_of_the_one_that_failed(both):
    first, second = (json.loads((both[1] / f"errors_{rank}.json").read_text()) for rank in range(2))
    assert [kind for kind, _ in first] == ["SharedError", "InputError", "InputError", "OSError"]
    assert [kind for kind, _ in second] == ["SharedError"] * 4
    # The third sample of the batch is the second process's.
    assert "the loss of step 1 on Area_" in first[0][1]
    assert "(sample (0, 1, 2)) is not finite" in first[0][1]
    assert first[0] == second[0]
    assert first[1][1].startswith("batch_size is 1, but 2 processes share each batch and need a sample each")
    assert first[2][1].startswith("compile is true, which works in one process only")
    assert not (both[1] / "few").exists()


def test_a_process_that_does_not_answer_is_not_waited_for_for_ever(job, tmp_path):
    statuses, texts = job(2, function="wait_in_vain", args=[str(tmp_path / "gave_up")])
    assert statuses[0] == 1
    assert (
        texts[0].splitlines()[-1].startswith("LostProcessError: another process of this training has ended or no lon")
    )


def test_killed_and_interrupted_jobs_resume_to_the_same_weights(job, both, rooms_root, tmp_path):
    path = tmp_path / "run"
    command = ["train", "synthetic_erda", "--data", str(rooms_root), "--labels", "1pct_seed0", "--workers", "0"]
    command += ["--device", "cpu", "--out", str(path), "--set", *SMALL, *LONGER]
    statuses, texts = job(2, argv=command, stop=["SIGKILL", 1, 2])
    assert statuses == [2, -9], texts
    assert "pointseg train: error: another process of this training has ended" in texts[0].splitlines()[-1]
    statuses, texts = job(2, argv=[*command, "--resume"], stop=["SIGINT", 0, 2])
    assert statuses == [130, 130], texts
    (said,) = [line for text in texts for line in text.splitlines() if "interrupted" in line]
    assert said.endswith("the same command with --resume continues from the last checkpoint")
    assert not (path / "checkpoints" / "final").exists()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "pointseg.cli.main"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, *command, "--resume"], check=False, capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained 6 steps") == 1
    ours, reference = (
        load_file(p / "checkpoints" / "final" / "model.safetensors") for p in (path, both[1] / "reference")
    )
    assert all(torch.equal(ours[name], reference[name]) for name in reference)


def test_a_text_of_a_single_process_stays_as_it_is():
    assert every_text(ODD) == [ODD]


def test_processes_meet_after_each_scene_they_score(monkeypatch):
    seen, empty = [], np.zeros((2, 2), np.int64)
    counted = SceneEvaluation(empty, empty, Calibration(*np.zeros((3, BINS))))

    def evaluate(scenes):
        seen.extend(scene.name for scene in scenes)
        return Evaluation(("a", "b"), {scene.name: counted for scene in scenes})

    scenes = [SimpleNamespace(split="x", name=str(number)) for number in range(5)]
    monkeypatch.setattr(dealing, "world_size", lambda: 2)
    monkeypatch.setattr(dealing, "in_any", lambda flag: seen.append("met"))
    monkeypatch.setattr(dealing, "_of_all", lambda own, _: seen.append(len(own)) or [counted] * 5)
    for place, expected in enumerate([["0", "met", "2", "met", "4", "met", 3], ["1", "met", "3", "met", "met", 2]]):
        seen.clear()
        monkeypatch.setattr(dealing, "rank", lambda place=place: place)
        assert list(dealing.evaluate_dealt(scenes, ("a", "b"), evaluate).scenes) == [f"x/{n}" for n in range(5)]
        assert seen == expected


JOB = {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


def test_the_variables_of_a_job():
    assert Place.of({}) is None
    assert Place.of({**JOB}) is None
    assert Place.of({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", **JOB}) == Place(3, 1, 4)
    for given, message in [
        ({"RANK": "0"}, r"RANK is set, but LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT is not"),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, r"MASTER_ADDR, MASTER_PORT is not; start"),
        ({"RANK": "x", "LOCAL_RANK": "0", "WORLD_SIZE": "2", **JOB}, r"RANK=x, .* are not all whole numbers"),
        ({"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "2", **JOB}, r"RANK=2, LOCAL_RANK=0, WORLD_SIZE=2 do not fit"),
        ({"RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2", **JOB}, r"do not fit together"),
    ]:
        with pytest.raises(InputError, match=message):
            Place.of(given)


def test_the_device_of_a_process(monkeypatch):
    assert pick_device_of_process("cpu", 3) == torch.device("cpu")
    for name in ("cuda:1", "mps"):
        with pytest.raises(InputError, match=f"--device is '{name}', but several processes"):
            pick_device_of_process(name, 0)
    monkeypatch.setattr("pointseg.device.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device_of_process(None, 1) == torch.device("cuda", 1)
    with pytest.raises(InputError, match=r"process 2 of this machine \(counted from 0\) has no GPU, for there are 2"):
        pick_device_of_process("cuda", 2)
