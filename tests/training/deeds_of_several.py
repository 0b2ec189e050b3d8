"""What each process of a job does, as lives_of_several.py calls it: trainings, batch norm, failures."""

import dataclasses
import hashlib
import json
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn

from pointseg.inference import predict
from pointseg.methods import METHODS, LossTerms
from pointseg.methods.distributed import all_reduce_sum, rank, world_size
from pointseg.training import Run, load_recipe, loop, notes, train
from pointseg.training.pictures import PredictionPictures
from pointseg.training.processes import every_text, first_does, joined
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
