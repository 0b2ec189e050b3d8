"""The convolution operator on the Triton path: the same maps, forth and back, as layers use them."""

import gc

import pytest
import torch
from torch import Tensor

import pointseg.minkowski as ME
from pointseg.minkowski import operators
from pointseg.minkowski.convolve import convolve
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.triton import table


class Net(torch.nn.Module):
    """A convolution and its transpose on one map, a strided one and its way back."""

    def __init__(self) -> None:
        super().__init__()
        self.same = ME.MinkowskiConvolution(2, 3, 3, dimension=2)
        self.back = ME.MinkowskiConvolutionTranspose(3, 3, 3, dimension=2)
        self.down = ME.MinkowskiConvolution(3, 4, 2, 2, dimension=2)
        self.up = ME.MinkowskiConvolutionTranspose(4, 2, 2, 2, dimension=2)

    def forward(self, x: ME.SparseTensor) -> ME.SparseTensor:
        return self.up(self.down(self.back(self.same(x))))


def trained(net: Net, rows: Tensor) -> list[Tensor]:
    features = torch.arange(2.0 * len(rows)).view(-1, 2).sin().requires_grad_()
    out = net(ME.SparseTensor(features, rows)).F
    upstream = torch.arange(2.0 * len(rows)).view(-1, 2).cos()
    return [out.detach(), *torch.autograd.grad(out, (features, *net.parameters()), upstream)]


@pytest.fixture
def on_triton(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operators run the Triton kernels, under the interpreter too."""
    monkeypatch.setattr(operators.triton, "supports", lambda features: True)


def test_layers_forth_and_back(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = torch.randperm(144)[:60]
    rows = torch.stack((cells * 0, cells // 12, cells % 12), dim=1).int()
    net = Net()
    expected = trained(net, rows)
    monkeypatch.setattr(operators.triton, "supports", lambda features: True)
    before = len(table._TABLES)
    actual = trained(net, rows)
    for a, b in zip(actual, expected, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()
    gc.collect()
    assert len(table._TABLES) == before


@pytest.mark.usefixtures("on_triton")
def test_a_map_without_pairs_is_not_taken_for_its_own_mirror(device: torch.device) -> None:
    none = torch.empty(0, dtype=torch.int64, device=device)
    kernel_map = KernelMap.of_pairs(4, 7, [(none, none)] * 3)
    features = torch.ones(4, 2, device=device, requires_grad=True)
    kernel = torch.ones(3, 2, 5, device=device, requires_grad=True)
    out = convolve(features, kernel, kernel_map)
    assert torch.equal(out.cpu(), torch.zeros(7, 5))
    out.sum().backward()
    assert torch.equal(features.grad.cpu(), torch.zeros(4, 2))
    assert torch.equal(kernel.grad.cpu(), torch.zeros(3, 2, 5))
