"""``compile: true``: the same training, and a sentence where torch.compile has nothing to work with."""

import functools

import pytest
import torch
from safetensors.torch import load_file

from pointseg.errors import InputError
from pointseg.models import engine
from pointseg.training import Run, load_recipe, step, train

CPU = torch.device("cpu")


def recipe(root, compiled):
    data = [f"data.root={root}", "data.labels=1pct_seed0", "data.voxel_size=0.1", "data.eval_splits=[Area_5]"]
    small = ["model.planes=[4, 4, 4, 4, 4, 4, 4, 4]", "model.init_dim=4", "steps=2", "batch_size=2", "eval_every=2"]
    return load_recipe("synthetic_erda", [*data, *small, "optimizer.warmup_steps=1", f"compile={compiled}"])


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_two_steps_and_an_evaluation_are_those_without(rooms_root, tmp_path, monkeypatch):
    """Traced and differentiated as ever, with torch's own kernels, so that every bit is the same."""
    import torch._dynamo

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    found = []
    for compiled in ("false", "true"):
        run = Run.create(tmp_path / compiled, recipe(rooms_root, compiled))
        torch._dynamo.utils.counters.clear()
        train(run, device=CPU, workers=0)
        found.append((run, graphs()))
    (plain, none), (run, some) = found
    assert none == 0 < some
    one, other = (load_file(run.checkpoints / "final" / "model.safetensors") for run in (plain, run))
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert torch.equal(other[name], values), name


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_nothing_starts(compiler, rooms_root, tmp_path, monkeypatch):
    import torch._dynamo
    import torch._inductor.config as inductor
    from torch._inductor.utils import fresh_cache

    torch._dynamo.reset()
    run = Run.create(tmp_path / "run", recipe(rooms_root, "true"))
    with (
        inductor.patch({"cpp.cxx": (compiler,)}),
        fresh_cache(),
        pytest.raises(InputError, match=r"compile is true, but torch.compile does not work here \(.+\); .*set compile"),
    ):
        train(run, device=CPU, workers=0)
    assert not run.checkpoints.exists()


def test_another_engine_is_not_compiled(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setattr(step, "ENGINES", engine.ENGINES | {engine.DEFAULT: "another"})
    run = Run.create(tmp_path / "run", recipe(rooms_root, "true"))
    with pytest.raises(InputError, match="own engine only; unset POINTSEG_ENGINE"):
        train(run, device=CPU, workers=0)
