"""The engine under the models: how it is chosen, and that both give the same numbers.

Run as a script, this file stores what every published network computes on the engine that POINTSEG_ENGINE names.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.models.engine import load_engine
from pointseg.models.minkunet import MODELS
from pointseg.models.segmentor import Segmentor

CLASSES = 5


def cloud() -> Tensor:
    """Voxels of two batch entries, both signs, enough of them at the coarsest level for batch statistics."""
    generator = torch.Generator().manual_seed(0)
    seeds = torch.randint(-24, 24, (60, 3), generator=generator).repeat(4, 1)
    space = seeds + torch.randint(-1, 2, seeds.shape, generator=generator)
    batch = torch.arange(len(space))[:, None] % 2
    rows = torch.unique(torch.cat((batch, space), dim=1), dim=0)
    return rows[torch.randperm(len(rows), generator=generator)].int()


def computed(name: str) -> dict[str, Tensor]:
    """Logits and the gradients of every parameter and of the input, fp64, with weights made from their names."""
    generator = torch.Generator().manual_seed(1)
    network = MODELS[name](3, CLASSES, planes=(4,) * 8, init_dim=4, stem_kernel=3).double()
    for parameter in network.parameters():
        fan_in = parameter.numel() // parameter.shape[-1] or 1
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = noise * fan_in**-0.5 if parameter.ndim > 1 else 1 + 0.1 * noise
    rows = cloud()
    features = torch.randn(len(rows), 3, generator=generator, dtype=torch.float64).requires_grad_()
    _, logits = Segmentor(network)(SimpleNamespace(coord=rows, features=features))
    (logits * torch.randn(logits.shape, generator=generator, dtype=torch.float64)).sum().backward()
    gradients = {parameter: value.grad for parameter, value in network.named_parameters()}
    return {"logits": logits.detach(), "input": features.grad, **gradients}


def run_on(engine: str | None, *arguments: str | Path, path: Path | None = None) -> str:
    """Standard output of a Python process with POINTSEG_ENGINE set (None: unset)."""
    environment = {key: value for key, value in os.environ.items() if key != "POINTSEG_ENGINE"}
    root = Path(__file__).resolve().parents[2]
    environment["PYTHONPATH"] = os.pathsep.join(str(p) for p in (path, root) if p is not None)
    if engine is not None:
        environment["POINTSEG_ENGINE"] = engine
    done = subprocess.run([sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A folder with a package named MinkowskiEngine that hands on our engine's names."""
    blocks = tmp_path / "MinkowskiEngine" / "modules"
    blocks.mkdir(parents=True)
    (blocks.parent / "__init__.py").write_text("from pointseg.minkowski import *\n")
    (blocks / "__init__.py").write_text("")
    (blocks / "resnet_block.py").write_text("from pointseg.minkowski.modules.resnet_block import *\n")
    return tmp_path


CHOICE = """
import json, sys
import pointseg.cli.train
from pointseg.models import engine, minkunet, segmentor
chosen = {module.ME.__name__ for module in (engine, minkunet, segmentor)}
print(json.dumps([sorted(chosen), "MinkowskiEngine" in sys.modules, engine.SUPPORTS_AUTOCAST]))
"""


def test_the_variable_chooses_and_nothing_is_imported_unasked(stand_in: Path):
    assert json.loads(run_on(None, "-c", CHOICE, path=stand_in)) == [["pointseg.minkowski"], False, True]
    assert json.loads(run_on("minkowski", "-c", CHOICE, path=stand_in)) == [["MinkowskiEngine"], True, False]


def test_an_unknown_engine_is_named_with_the_allowed_ones():
    with pytest.raises(InputError, match="POINTSEG_ENGINE is 'spconv', but it must be one of pointseg, minkowski"):
        load_engine("spconv")


def test_a_missing_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "MinkowskiEngine", None)
    with pytest.raises(InputError, match=r"MinkowskiEngine cannot be imported \(.*\): install it .* or unset"):
        load_engine("minkowski")


def test_our_own_engine_under_the_other_name_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "MinkowskiEngine", sys.modules["pointseg.minkowski"])
    with pytest.raises(InputError, match=r"MinkowskiEngine stands for pointseg\.minkowski"):
        load_engine("minkowski")


def test_duplicate_voxels_are_refused():
    rows = cloud()[:40]
    network = Segmentor(MODELS["MinkUNet14"](1, CLASSES, planes=(4,) * 8, init_dim=4, stem_kernel=3))
    with pytest.raises(InputError, match="2 of 42 coordinate rows are duplicates"):
        network(SimpleNamespace(coord=torch.cat((rows, rows[:2])), features=torch.ones(42, 1)))


AUTOCAST = """
import torch
from types import SimpleNamespace
from pointseg.models.segmentor import build_segmentor
network = build_segmentor("MinkUNet14", 1, 3, planes=(4,) * 8, init_dim=4, stem_kernel=3).eval()
with torch.autocast("cpu", dtype=torch.bfloat16):
    features, logits = network(SimpleNamespace(coord=torch.zeros(1, 4, dtype=torch.int32), features=torch.ones(1, 1)))
print(features.dtype, logits.dtype)
"""


def test_autocast_reaches_only_an_engine_that_follows_it(stand_in: Path):
    assert run_on(None, "-c", AUTOCAST).split() == ["torch.bfloat16"] * 2
    assert run_on("minkowski", "-c", AUTOCAST, path=stand_in).split() == ["torch.float32"] * 2


@pytest.fixture
def real_engine() -> None:
    """Skips unless the real MinkowskiEngine can be imported; tried elsewhere, so that this process stays without it."""
    if importlib.util.find_spec("MinkowskiEngine") is None:
        pytest.skip("MinkowskiEngine is not installed: there is nothing to compare with")
    attempt = subprocess.run([sys.executable, "-c", "import MinkowskiEngine"], capture_output=True, text=True)
    if attempt.returncode:
        pytest.skip(f"MinkowskiEngine cannot be imported: {attempt.stderr.strip().splitlines()[-1]}")


@pytest.mark.usefixtures("real_engine")
def test_every_network_agrees_with_the_real_minkowski_engine(tmp_path: Path):
    run_on("minkowski", __file__, tmp_path / "real.pt")
    real = torch.load(tmp_path / "real.pt", weights_only=True)
    assert real.keys() == MODELS.keys()
    for name, values in real.items():
        ours = computed(name)
        assert ours.keys() == values.keys()
        for what, value in values.items():
            error = (ours[what] - value).abs().max() / value.abs().max().clamp(min=1e-6)
            assert error < 1e-9, f"{name} {what}: relative error {error:.1e}"
    assert run_on("minkowski", "-c", AUTOCAST).split() == ["torch.float32"] * 2


if __name__ == "__main__":
    torch.save({name: computed(name) for name in MODELS}, sys.argv[1])
