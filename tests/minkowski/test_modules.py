"""Normalisation, global pooling, stacks, blocks and networks against their equations."""

import math

import pytest
import torch
from torch import nn

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski.modules.senet_block import SEBasicBlock, SEBottleneck, SELayer


@pytest.fixture
def x(cloud):
    rows = cloud(80)
    return ME.SparseTensor(torch.randn(len(rows), 4, dtype=torch.float64) * 3 + 1, rows)


@pytest.mark.parametrize(("layer", "eps"), [(ME.MinkowskiInstanceNorm, 1e-8), (ME.MinkowskiStableInstanceNorm, 1e-6)])
def test_instance_norms(x, layer, eps):
    norm = layer(4).double()
    norm.weight.data, norm.bias.data = torch.randn(2, 1, 4, dtype=torch.float64)
    # Small enough that eps shows.
    small = x.with_features(x.F * 1e-3)
    out = norm(small)
    for entry in (0, 1):
        own = small.features_at(entry)
        scale = (own.var(dim=0, correction=0) + eps).sqrt()
        expected = (own - own.mean(dim=0)) / scale * norm.weight[0] + norm.bias[0]
        torch.testing.assert_close(out.features_at(entry), expected)
    norm.reset_parameters()
    assert bool((norm.weight == 1).all())


@pytest.mark.parametrize("layer", [ME.MinkowskiBatchNorm, ME.MinkowskiSyncBatchNorm])
def test_batch_norm_takes_a_single_row_by_its_running_statistics(x, layer):
    norm = layer(4).double()
    norm.bn.weight.data, norm.bn.bias.data = torch.randn(2, 4, dtype=torch.float64)
    norm(x)
    state = {name: value.clone() for name, value in norm.bn.named_buffers()}
    row = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    out = norm(ME.SparseTensor(row, torch.zeros(1, 4, dtype=torch.int32))).F
    scale = norm.bn.weight / (state["running_var"] + norm.bn.eps).sqrt()
    torch.testing.assert_close(out, (row - state["running_mean"]) * scale + norm.bn.bias)
    out.sum().backward()
    torch.testing.assert_close(row.grad[0], scale)
    assert norm.bn.bias.grad.tolist() == [1] * 4
    assert all(torch.equal(value, state[name]) for name, value in norm.bn.named_buffers())


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_that_keeps_no_statistics_refuses_a_single_row(training):
    norm = ME.MinkowskiBatchNorm(4, track_running_stats=False).train(training)
    row = ME.SparseTensor(torch.ones(1, 4), torch.zeros(1, 4, dtype=torch.int32))
    with pytest.raises(InputError, match="given a single row, but needs at least 2"):
        norm(row)


def test_sync_batch_norm_takes_over_a_network(x):
    net = nn.Sequential(ME.MinkowskiBatchNorm(4), nn.Sequential(ME.MinkowskiReLU(), ME.MinkowskiBatchNorm(4))).double()
    for _ in range(2):
        net(x)
    state, expected = net.state_dict(), net.eval()(x).F
    converted = ME.MinkowskiSyncBatchNorm.convert_sync_batchnorm(net)
    assert isinstance(converted[0].bn, nn.SyncBatchNorm)
    assert isinstance(converted[1][1], ME.MinkowskiSyncBatchNorm)
    assert not converted[0].training
    assert converted.state_dict().keys() == state.keys()
    assert all(torch.equal(a, b) for a, b in zip(converted.state_dict().values(), state.values(), strict=True))
    torch.testing.assert_close(converted(x).F, expected)
    # Alone in its group it is a batch norm.
    alone, plain = ME.MinkowskiSyncBatchNorm(4).double(), ME.MinkowskiBatchNorm(4).double()
    torch.testing.assert_close(alone(x).F, plain(x).F)
    torch.testing.assert_close(alone.bn.running_var, plain.bn.running_var)


@pytest.mark.parametrize("ending", ["DEFAULT", "KERNEL", "PYTORCH_INDEX"])
@pytest.mark.parametrize(("kind", "reduce"), [("SUM", torch.sum), ("AVG", torch.mean), ("MAX", torch.amax)])
def test_global_pooling_modes_of_tensors_and_fields(x, kind, reduce, ending):
    layer = ME.MinkowskiGlobalPooling(ME.PoolingMode[f"GLOBAL_{kind}_POOLING_{ending}"])
    expected = torch.stack([reduce(x.F[x.C[:, 0] == entry], dim=0) for entry in (0, 1)])
    field = ME.TensorField(x.F, x.C.double() + 0.25)
    for out in (layer(x), layer(field), layer(x, layer(x)), layer(x, layer(x).coordinate_map_key)):
        torch.testing.assert_close(out.F, expected)
        assert out.C.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]


def test_stacks(x):
    modules = [ME.MinkowskiLinear(4, 3).double() for _ in range(3)]
    parts = torch.stack([module(x).F for module in modules])
    field = ME.TensorField(x.F, x.C.double())
    for stack, expected in (
        (ME.MinkowskiStackCat, torch.cat(list(parts), dim=1)),
        (ME.MinkowskiStackSum, parts[0] + parts[1] + parts[2]),
        (ME.MinkowskiStackMean, (parts[0] + parts[1] + parts[2]) / 3),
        (ME.MinkowskiStackVar, ((parts - parts.mean(dim=0)) ** 2).sum(dim=0) / 3),
    ):
        torch.testing.assert_close(stack(*modules)(x).F, expected)
        torch.testing.assert_close(stack(*modules)(field).F, expected)
    assert torch.equal(ME.sum([x, x]).F, ME.MinkowskiOps.sum(x, x).F)


def test_squeeze_and_excitation(x):
    layer = SELayer(4, reduction=2).double()
    hidden, gate = layer.fc[0].linear, layer.fc[2].linear
    out = layer(x)
    for entry in (0, 1):
        own = x.features_at(entry)
        weights = torch.sigmoid(gate(torch.relu(hidden(own.mean(dim=0)))))
        torch.testing.assert_close(out.features_at(entry), own * weights)
    plain = ME.modules.resnet_block.BasicBlock(4, 4, dimension=3).double()
    gated = SEBasicBlock(4, 4, reduction=2, D=3).double()
    gated.load_state_dict({**plain.state_dict(), **{f"se.{k}": v for k, v in layer.state_dict().items()}})
    expected = ME.MinkowskiReLU()(layer(plain.body(x)) + x)
    torch.testing.assert_close(gated(x).F, expected.F)
    down = nn.Sequential(ME.MinkowskiConvolution(4, 32, kernel_size=1, stride=2, dimension=3))
    deep = SEBottleneck(4, 8, stride=2, downsample=down, D=3, reduction=4).double()
    assert deep(x).F.shape[1] == 32


def test_networks_must_define_forward():
    class Unfinished(ME.MinkowskiNetwork):
        pass

    class Finished(ME.MinkowskiNetwork):
        def forward(self, x):
            return x

    with pytest.raises(TypeError, match="abstract"):
        Unfinished(3)
    assert Finished(3).D == 3


def test_convolution_weights_start_small_enough():
    layer = ME.MinkowskiConvolutionTranspose(64, 2, kernel_size=3, dimension=3)
    limit = 1 / math.sqrt(2 * 27)
    assert 0.9 * limit < layer.kernel.abs().max() <= limit
    layer.reset_parameters()
    assert layer.kernel.abs().max() <= 1 / math.sqrt(64 * 27)
