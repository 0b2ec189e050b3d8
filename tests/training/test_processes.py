"""Two processes train as one does with the same batches, and end together. Everything in one launch where it can be."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from deeds_of_several import EXACT, LONGER, ODD, SMALL
from safetensors.torch import load_file

from pointseg.device import pick_device_of_process
from pointseg.errors import InputError
from pointseg.evaluation.calibration import BINS, Calibration
from pointseg.evaluation.evaluate import Evaluation, SceneEvaluation
from pointseg.training import dealing
from pointseg.training.processes import Place, every_text

TOLERANCE = {"rtol": 1e-7, "atol": 1e-8}
"""In float64: sums are taken in another order, and Adam divides by small gradients."""


@pytest.fixture(scope="module")
def job():
    """``job(size, function=..., args=...)`` or ``job(size, argv=..., stop=...)``: statuses and texts."""
    lives, deeds = (Path(__file__).with_name(f"{name}_of_several.py") for name in ("lives", "deeds"))
    process = subprocess.Popen([sys.executable, lives, deeds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

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
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    torchrun += ["-m", "pointseg.cli.main"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, *command, "--resume"], check=False, capture_output=True, text=True, env=environment, timeout=300
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
