"""The way of two views through the loop, with a small method that learns the strong view from the weak one."""

from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from pointseg.methods import METHODS, LossTerms, Method
from pointseg.training import Run, load_recipe, train

CPU = torch.device("cpu")
SMALL = [
    "data.voxel_size=0.1",
    "data.labels=1pct_seed0",
    "data.train_splits=[Area_1, Area_2]",
    "data.eval_splits=[]",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=4",
    "batch_size=2",
    "checkpoint_every=2",
    "optimizer.warmup_steps=1",
    "strong.cutmix=1.0",
]


@dataclass(frozen=True)
class CopyConfig:
    two_views: bool = True


class Copy(Method):
    """The strong view's rows are taught what the weak rows of the same points say."""

    Config = CopyConfig
    seen: list

    @property
    def needs_strong_view(self):
        return self.config.two_views

    def loss(self, model, batch):
        self.seen.append(batch)
        _, logits = model(batch.weak.inputs)
        loss = self.labelled_loss(logits, batch.weak.labels)
        if self.config.two_views:
            _, strong, weak_row = batch.pair()
            loss = loss + F.cross_entropy(model(strong.inputs)[1], logits.detach().argmax(1)[weak_row])
        return LossTerms(loss, {})


@pytest.fixture(autouse=True)
def batches(monkeypatch):
    """``copy`` is a method in this test, and the batches it saw are the fixture's value."""
    monkeypatch.setitem(METHODS, "copy", Copy)
    monkeypatch.setattr(Copy, "seen", [], raising=False)
    return Copy.seen


def started(root, path, *extra, resume=False):
    recipe = path.with_suffix(".yaml")
    recipe.write_text("method: {name: copy}\nmodel: {name: MinkUNet14}\n")
    return Run.create(path, load_recipe(recipe, [*SMALL, f"data.root={root}", *extra]), resume=resume)


def test_rows_of_the_strong_view_lie_where_their_weak_rows_lie(rooms_root, tmp_path, batches):
    train(started(rooms_root, tmp_path / "run"), device=CPU, workers=0)
    assert len(batches) == 4
    for batch in batches:
        weak, strong, row = batch.pair()
        assert len(row) == len(strong.labels) == len(strong.coord) == len(strong.inputs.features)
        assert ((row >= 0) & (row < len(weak.labels))).all()
        known = (strong.truth >= 0) & (weak.truth[row] >= 0)
        # Voxels on a border between classes may have another majority in the other grid.
        assert (strong.truth == weak.truth[row])[known].float().mean() > 0.85
        both = (strong.labels >= 0) & (weak.labels[row] >= 0)
        assert both.any()
        assert (strong.labels == weak.labels[row])[both].float().mean() > 0.9
        origin = weak.batch_index[row]
        assert (origin != strong.batch_index).any()
        assert (origin == strong.batch_index).any()
        assert strong.batch_index.max() == 1


def test_without_need_there_is_no_strong_view_and_the_weak_view_is_the_same(rooms_root, tmp_path, batches):
    train(started(rooms_root, tmp_path / "two"), device=CPU, workers=0)
    train(started(rooms_root, tmp_path / "one", "method.two_views=false"), device=CPU, workers=0)
    two, one = batches[:4], batches[4:]
    assert all(batch.strong is None and batch.weak_row is None for batch in one)
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.weak.inputs.features, b.weak.inputs.features)
        assert torch.equal(a.weak.inputs.coord, b.weak.inputs.coord)


class StopHereError(Exception):
    pass


def test_an_interrupted_run_sees_the_same_pairs_and_ends_with_the_same_weights(rooms_root, tmp_path, batches):
    def interrupt(done, scalars):
        if done == 3:
            raise StopHereError

    straight = started(rooms_root, tmp_path / "straight")
    train(straight, device=CPU, workers=0)
    with pytest.raises(StopHereError):
        train(started(rooms_root, tmp_path / "cut"), device=CPU, workers=0, on_step=interrupt)
    resumed = started(rooms_root, tmp_path / "cut", resume=True)
    train(resumed, device=CPU, workers=1)
    for a, b in zip(batches[2:4], batches[-2:], strict=True):
        assert torch.equal(a.strong.inputs.coord, b.strong.inputs.coord)
        assert torch.equal(a.weak_row, b.weak_row)
    one, two = (load_file(run.checkpoints / "final" / "model.safetensors") for run in (straight, resumed))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        (["batch_size=1"], True),
        (["batch_size=1", "strong.cutmix=0"], False),
        (["batch_size=1", "method.two_views=false"], False),
        (["batch_size=2"], False),
    ],
)
def test_a_lone_sample_is_not_mixed_and_that_is_said(rooms_root, tmp_path, batches, caplog, settings, warned):
    train(started(rooms_root, tmp_path / "run", *settings, "steps=1"), device=CPU, workers=0)
    said = [r.getMessage() for r in caplog.records if "strong.cutmix" in r.getMessage()]
    assert len(said) == warned
    if warned:
        assert "batch_size 1 it has a single one: nothing is mixed there; batch_size 2 gives two" in said[0]
        _, strong, _ = batches[0].pair()
        assert (strong.batch_index == 0).all()
