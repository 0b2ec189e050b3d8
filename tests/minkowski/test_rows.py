"""Rows between convolutions under torch.compile: what the layers compute, and translated once for clouds of a kind."""

import shutil

import pytest
import torch
from torch import nn
from torch._inductor.utils import fresh_cache

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski.modules.resnet_block import BasicBlock, Bottleneck
from pointseg.minkowski.rows import add_relu, compiled_rows, norm_relu

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on CPUs")


def cloud(seed, points=300):
    generator = torch.Generator().manual_seed(seed)
    coord = torch.randint(0, 40, (points, 3), generator=generator).unique(dim=0)
    batch = torch.zeros(len(coord), 1, dtype=torch.int64)
    features = torch.randn(len(coord), 4, generator=generator, dtype=torch.float64)
    return ME.SparseTensor(features, torch.cat([batch, coord], dim=1).int())


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def three_steps():
    """Losses, gradients and running statistics of two blocks on three clouds, and what they make of a fourth.

    All have fewer than 4096 rows: for larger ones torch's compiler writes other sums on CPUs, and translates again.
    """
    torch.manual_seed(0)
    model = nn.Sequential(*(BasicBlock(4, 4, dimension=3) for _ in range(2))).double()
    losses, translated = [], []
    for seed in range(3):
        loss = model(cloud(seed, 300 + 100 * seed)).F.square().mean()
        loss.backward()
        losses.append(loss.detach())
        translated.append(graphs())
    gradients = [p.grad for p in model.parameters()]
    return [*losses, *gradients, *model.buffers(), model.eval()(cloud(3)).F.detach()], translated


@needs_compiler
def test_compiled_blocks_compute_the_same_and_are_not_translated_again_for_another_cloud():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, untranslated = three_steps()
    with fresh_cache(), compiled_rows():
        compiled, translated = three_steps()
    assert untranslated == [0, 0, 0]
    assert translated[0] > 0
    assert translated == [translated[0]] * 3
    assert three_steps()[1] == [graphs()] * 3
    for one, other in zip(plain, compiled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@needs_compiler
def test_rows_of_other_norms_and_fewer_than_two_stay_with_their_layers():
    relu, x = ME.MinkowskiReLU(), cloud(0)
    few = [ME.MinkowskiPruning()(x, torch.arange(len(x)) < count) for count in (0, 1)]
    norm, instance = ME.MinkowskiBatchNorm(4).double(), ME.MinkowskiInstanceNorm(4).double()
    norm(x)
    before = graphs()
    with compiled_rows():
        for rows in few:
            expected = relu(norm(rows)).F
            assert torch.equal(norm_relu(norm, relu, rows).F, expected)
            assert torch.equal(add_relu(relu, rows.with_features(rows.F.clone()), rows).F, relu(rows + rows).F)
        torch.testing.assert_close(norm_relu(instance, relu, x).F, relu(instance(x)).F)
    assert graphs() == before
    with compiled_rows(), pytest.raises(InputError, match="coordinate"):
        add_relu(relu, x, cloud(1))


@needs_compiler
@pytest.mark.parametrize("activation", [ME.MinkowskiLeakyReLU(0.5), ME.MinkowskiSigmoid()])
def test_another_activation_stays_itself(activation):
    x, norm = cloud(0), ME.MinkowskiBatchNorm(4).double()
    expected = [activation(norm(x)).F, activation(x + x).F]
    with compiled_rows():
        found = [norm_relu(norm, activation, x).F, add_relu(activation, x.with_features(x.F.clone()), x).F]
    torch.testing.assert_close(found, expected)


def test_blocks_run_their_named_layers_where_nothing_is_compiled():
    widen = ME.MinkowskiConvolution(4, 8, kernel_size=1, dimension=3)
    block, seen = Bottleneck(4, 2, downsample=widen, dimension=3).double(), []
    for name, layer in block.named_children():
        layer.register_forward_hook(lambda *_, name=name: seen.append(name))
    block(cloud(0))
    assert seen == ["conv1", "norm1", "relu", "conv2", "norm2", "relu", "conv3", "norm3", "downsample", "relu"]
