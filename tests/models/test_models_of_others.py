"""Model code written for MinkowskiEngine runs with only the import changed, and computes the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import record_golden as golden
import torch
from torch import Tensor

import pointseg.minkowski as ME

HERE = Path(__file__).parent

NETWORKS = golden.NETWORKS_OF_OTHERS


def expected(name: str) -> Tensor:
    stored = json.loads((HERE / "golden_minkowski.json").read_text())
    return torch.tensor(stored[name], dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_minkowski_engine_recorded(name):
    network = golden.fill(getattr(golden.networks_of_others("pointseg.minkowski"), name)(2, 3, D=NETWORKS[name]))
    x = golden.unet_input(ME, NETWORKS[name])
    out = network(x)
    if "UNet" in name:
        assert torch.equal(out.C, x.C)
    rows = torch.tensor(golden.sorted_rows(out), dtype=torch.float64)
    torch.testing.assert_close(rows, expected(name), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [*NETWORKS, "STRes16UNetCross"])
def test_it_trains(name):
    torch.manual_seed(0)
    dimension = NETWORKS.get(name, 4)
    network = getattr(golden.networks_of_others("pointseg.minkowski"), name)(2, 3, D=dimension).train()
    batch = torch.arange(300)[:, None] % 2
    rows = torch.unique(torch.cat((batch, torch.randint(-20, 20, (300, dimension))), dim=1), dim=0).int()
    out = network(ME.SparseTensor(torch.randn(len(rows), 2), rows))
    torch.nn.functional.cross_entropy(out.F, torch.arange(len(out.F)) % 3).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.any() for p in network.parameters() if p.ndim > 1)


REGISTERED = """
import pointseg.minkowski
pointseg.minkowski.register()
import minkowski_models
print(minkowski_models.Res16UNet34C(3, 20).conv0p1s1.kernel.shape, minkowski_models.ME.__name__)
"""


def test_it_runs_unedited_after_register():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parents[1])))}
    done = subprocess.run([sys.executable, "-c", REGISTERED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "torch.Size([125, 3, 4]) pointseg.minkowski"
