"""The convolution as operators of torch: what torch asks of them, and compiled networks."""

import gc

import pytest
import torch

import pointseg.minkowski as ME
import pointseg.minkowski.functional as MF
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.neighbours import CoordinateMap
from pointseg.minkowski.operators import sparse_convolution, sparse_convolution_gradients


def arguments(rows, size=3, stride=1, back=True):
    """Of the forward operator, on a layer's own kernel map."""
    layer = ME.MinkowskiConvolution(3, 5, size, stride, dimension=3)
    x = ME.SparseTensor(torch.randn(len(rows), 3), rows)
    found = layer.kernel_map(x, layer.output_key(x, None))
    swapped = found.swapped()
    lists = (swapped.tensors(), swapped.layout.numbers()) if back else ([], [])
    return (x.F, layer.kernel.detach(), found.tensors(), found.layout.numbers(), *lists)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (2, 2)])
def test_torch_s_own_checks_of_the_convolution(cloud, size, stride):
    features, kernel, *rest = arguments(cloud(60, size=20), size, stride)
    torch.library.opcheck(sparse_convolution, (features.requires_grad_(), kernel.requires_grad_(), *rest))


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_torch_s_own_checks_of_the_gradients(cloud, wanted):
    features, kernel, *rest = arguments(cloud(60, size=20))
    grad = torch.randn(rest[1][1], 5)
    torch.library.opcheck(sparse_convolution_gradients, (features, kernel, grad, *rest, *wanted))


def test_shapes_are_known_without_running(cloud):
    features, kernel, lists, layout, *_ = arguments(cloud(60), 2, 2, back=False)
    real = sparse_convolution(features, kernel, lists, layout, [], [])
    meta = sparse_convolution(features.to("meta"), kernel.to("meta"), [t.to("meta") for t in lists], layout, [], [])
    assert meta.shape == real.shape


def test_a_second_derivative_is_refused(cloud):
    rows = cloud(30)
    features = torch.randn(len(rows), 3, requires_grad=True)
    layer = ME.MinkowskiConvolution(3, 2, 3, dimension=3)
    out = layer(ME.SparseTensor(features, rows)).F.square().sum()
    (grad,) = torch.autograd.grad(out, features, create_graph=True)
    with pytest.raises(RuntimeError, match=r"sparse_convolution_gradients.*no autograd formula"):
        grad.sum().backward()


class UNet(torch.nn.Module):
    """A level down and up again, with a skip connection."""

    def __init__(self):
        super().__init__()
        self.stem = ME.MinkowskiConvolution(3, 8, 3, dimension=3)
        self.norm = ME.MinkowskiBatchNorm(8)
        self.down = ME.MinkowskiConvolution(8, 8, 2, 2, dimension=3)
        self.up = ME.MinkowskiConvolutionTranspose(8, 8, 2, 2, dimension=3)
        self.out = ME.MinkowskiConvolution(16, 4, 1, bias=True, dimension=3)

    def forward(self, x):
        stem = MF.relu(self.norm(self.stem(x)))
        return self.out(ME.cat(self.up(self.down(stem)), stem))


def trained(net, rows, bf16):
    """Output and the gradients of all parameters."""
    features = rows.float().sin()[:, 1:]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        out = net(ME.SparseTensor(features, rows)).F
    return [out.detach(), *torch.autograd.grad(out.float().square().sum(), [*net.parameters()])]


@pytest.mark.parametrize("bf16", [False, True])
def test_a_compiled_network_equals_the_eager_one(cloud, bf16):
    net = UNet()
    torch.compiler.reset()
    compiled = torch.compile(net, backend="aot_eager")
    try:
        # Other coordinates every time: nothing of the first cloud may be baked in.
        for seed in range(2):
            rows = cloud(150 + 40 * seed, size=6 + seed, seed=seed)
            expected, actual = trained(net, rows, bf16), trained(compiled, rows, bf16)
            for a, b in zip(actual, expected, strict=True):
                assert a.dtype == b.dtype
                assert (a - b).norm() <= (2e-2 if bf16 else 1e-5) * b.norm()
        # Something was compiled.
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    finally:
        torch.compiler.reset()


def alive():
    """Live tensors, kernel maps and coordinate maps."""
    return sum(issubclass(type(each), torch.Tensor | KernelMap | CoordinateMap) for each in gc.get_objects())


def test_nothing_is_kept_of_earlier_clouds(cloud):
    net = torch.nn.Sequential(
        ME.MinkowskiConvolution(2, 4, 3, dimension=3),
        ME.MinkowskiConvolution(4, 4, 2, 2, dimension=3),
        ME.MinkowskiMaxPooling(3, dimension=3),
        ME.MinkowskiConvolutionTranspose(4, 2, 2, 2, dimension=3),
        ME.MinkowskiChannelwiseConvolution(2, 3, dimension=3),
    )

    def step(seed):
        rows = cloud(30 + seed, size=20, seed=seed)
        net(ME.SparseTensor(torch.ones(len(rows), 2), rows)).F.sum().backward()

    step(0)
    gc.collect()
    before = alive()
    # Large tensors must not wait for the collector of cycles.
    gc.disable()
    try:
        for seed in range(200):
            step(seed)
        assert alive() <= before + 10
    finally:
        gc.enable()
