"""Batches of a training, and the processes that load them."""

import os
import signal
from pathlib import Path

import pytest
import torch

from pointseg.errors import InputError
from pointseg.training import Run, load_recipe
from pointseg.training.batches import batches, lost_loaders_told, training_data


def recipe(root, method="erda", *extra):
    data = [f"data.root={root}", "data.labels=1pct_seed0", "data.voxel_size=0.1"]
    return load_recipe(f"synthetic_{method}", [*data, *extra])


class Failing:
    """A data set of the main process whose every sample does something else in the others."""

    def __init__(self, act):
        self.act, self.owner = act, os.getpid()

    def __len__(self):
        return 2

    def __getitem__(self, key):
        assert os.getpid() != self.owner
        self.act()


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("act", "kind", "text"),
    [
        (lambda: _raise(InputError("x" * 3000 + " the end")), InputError, "x" * 3000 + " the end"),
        (
            lambda: Path("/nowhere/at/all.npy").stat(),
            FileNotFoundError,
            "[Errno 2] No such file or directory: '/nowhere/at/all.npy'",
        ),
        (lambda: _raise(MemoryError("of 8 GB")), MemoryError, "of 8 GB"),
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            InputError,
            "a process that loads data was killed, as happens when",
        ),
    ],
)
def test_what_a_loading_process_ends_with_is_told_as_if_it_had_happened_here(rooms_root, tmp_path, act, kind, text):
    run = Run.create(tmp_path / "run", recipe(rooms_root))
    with pytest.raises(kind) as caught, lost_loaders_told():
        list(batches(run, Failing(act), start=0, workers=1))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(text)


def test_accumulated_batches_hold_the_samples_of_a_large_one(rooms_root, tmp_path):
    seen = []
    for name, extra in [("parts", ["batch_size=1", "accumulate=2"]), ("whole", ["batch_size=2"])]:
        run = Run.create(
            tmp_path / name, recipe(rooms_root, "supervised", "steps=3", "optimizer.warmup_steps=0", *extra)
        )
        parts = batches(run, training_data(run, two_views=False), start=1, workers=0)
        seen.append([part.weak for part in parts])
    small, large = seen
    assert (len(small), len(large)) == (4, 2)
    for step, whole in enumerate(large):
        for name in ("features", "labels", "position", "point"):
            together = torch.cat([getattr(part, name) for part in small[2 * step : 2 * step + 2]])
            assert torch.equal(together, getattr(whole, name))
