"""``compile: true``: the same training, and a sentence where torch.compile has nothing to work with."""

import functools

import pytest
import torch
from safetensors.torch import load_file

from pointseg.errors import InputError
from pointseg.models import engine
from pointseg.training import Run, load_recipe, step, train

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("no_pictures")


def recipe(root, compiled, *extra):
    data = [f"data.root={root}", "data.labels=1pct_seed0", "data.voxel_size=0.1", "data.eval_splits=[Area_5]"]
    small = ["model.planes=[4, 4, 4, 4, 4, 4, 4, 4]", "model.init_dim=4", "steps=2", "batch_size=2", "eval_every=2"]
    return load_recipe("synthetic_erda", [*data, *small, "optimizer.warmup_steps=1", f"compile={compiled}", *extra])


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def use(monkeypatch, backend):
    import torch._dynamo

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


def require_same_weights(*runs):
    one, other = (load_file(run.checkpoints / "final" / "model.safetensors") for run in runs)
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert torch.equal(other[name], values), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_steps_and_an_evaluation_are_those_without(rooms_root, tmp_path, monkeypatch, precision):
    """Traced and differentiated as ever, with torch's own kernels, so that every bit is the same."""
    use(monkeypatch, "aot_eager")
    found = []
    for compiled in ("false", "true"):
        run = Run.create(tmp_path / compiled, recipe(rooms_root, compiled, f"precision={precision}"))
        torch._dynamo.utils.counters.clear()
        train(run, device=CPU, workers=0)
        found.append((run, graphs()))
    (plain, none), (run, some) = found
    assert none == 0 < some
    require_same_weights(plain, run)


def test_an_interrupted_run_ends_with_the_same_weights(rooms_root, tmp_path, monkeypatch):
    use(monkeypatch, "aot_eager")
    settings = recipe(
        rooms_root, "true", "steps=4", "checkpoint_every=2", "data.eval_splits=[]", "data.train_splits=[Area_1]"
    )
    straight, interrupted = (Run.create(tmp_path / name, settings) for name in ("straight", "interrupted"))
    train(straight, device=CPU, workers=0)

    def interrupt(done, scalars):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(interrupted, device=CPU, workers=0, on_step=interrupt)
    # As in another process, which has translated nothing yet.
    torch._dynamo.reset()
    train(Run.create(interrupted.path, settings, resume=True), device=CPU, workers=0)
    require_same_weights(straight, interrupted)


@pytest.mark.parametrize("failing", ["_norm_relu", "_add_relu"])
def test_a_compiler_that_fails_at_gradients_of_half_precision_starts_nothing(
    failing, rooms_root, tmp_path, monkeypatch
):
    from torch._dynamo.backends.common import aot_autograd

    def backward(graph, inputs):
        if any(getattr(value, "dtype", None) == torch.bfloat16 for value in inputs):
            raise RuntimeError("no gradients in bf16")
        return graph.forward

    use(monkeypatch, "aot_eager")
    broken = aot_autograd(fw_compiler=lambda graph, _: graph.forward, bw_compiler=backward)
    plain = torch.compile

    def chosen(function, **settings):
        return plain(function, **settings | ({"backend": broken} if function.__name__ == failing else {}))

    monkeypatch.setattr(torch, "compile", chosen)
    run = Run.create(tmp_path / "run", recipe(rooms_root, "true", "precision=bf16"))
    with pytest.raises(InputError, match=r"does not work here \(.*no gradients in bf16"):
        train(run, device=CPU, workers=0)
    assert not run.checkpoints.exists()


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
