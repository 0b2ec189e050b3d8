"""The convolution as operators of torch: what torch asks of them, and compiled networks."""

import gc
from types import SimpleNamespace

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.neighbours import CoordinateMap
from pointseg.minkowski.operators import sparse_convolution, sparse_convolution_gradients
from pointseg.models.segmentor import build_segmentor


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


def network():
    torch.manual_seed(0)
    return build_segmentor("MinkUNet14", 3, 4, planes=(8,) * 8, init_dim=8, stem_kernel=3)


def surface(cloud, seed):
    coord = cloud(150 + 40 * seed, size=6 + seed, seed=seed)
    return SimpleNamespace(coord=coord, features=torch.randn(len(coord), 3, generator=torch.Generator().manual_seed(1)))


def trained(net, batch, bf16):
    """Logits and the gradients of all parameters."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        _, logits = net(batch)
    net.zero_grad()
    logits.float().square().sum().backward()
    return [logits.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


@pytest.mark.parametrize("bf16", [False, True])
def test_a_compiled_network_equals_the_eager_one(cloud, bf16):
    eager, net = network(), network()
    torch.compiler.reset()
    compiled = torch.compile(net, backend="aot_eager")
    try:
        # Other coordinates every time: nothing of the first cloud may be baked in.
        for seed in range(3):
            batch = surface(cloud, seed)
            expected, actual = trained(eager, batch, bf16), trained(compiled, batch, bf16)
            assert len(actual) == len(expected) > 50
            for a, b in zip(actual, expected, strict=True):
                assert a.dtype == b.dtype
                assert (a - b).norm() <= (2e-2 if bf16 else 1e-4) * b.norm() + 1e-6
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
