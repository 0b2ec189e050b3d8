"""Nonlinearities, MinkowskiFunctional and the losses against torch's modules and functions."""

import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional

import pointseg.minkowski as ME
import pointseg.minkowski.MinkowskiFunctional as MEF  # noqa: N814
from pointseg.minkowski.nonlinearity import MinkowskiNonlinearityBase

ARGUMENTS = {"Threshold": (0.1, 20.0), "Softmax": (1,), "LogSoftmax": (1,), "Softmin": (1,)}
LAYERS = {
    name: cls
    for name, cls in vars(ME).items()
    if inspect.isclass(cls) and issubclass(cls, MinkowskiNonlinearityBase) and "Adaptive" not in name
}
FUNCTIONS = {
    "threshold": (0.1, 20.0), "relu": (), "hardtanh": (-0.5, 0.5), "hardswish": (), "relu6": (), "elu": (0.3,),
    "selu": (), "celu": (), "leaky_relu": (0.2,), "prelu": (torch.tensor([0.3]),), "rrelu": (), "glu": (), "gelu": (),
    "logsigmoid": (), "hardshrink": (), "tanhshrink": (), "softsign": (), "softplus": (), "softmin": (1,),
    "softmax": (1,), "softshrink": (), "log_softmax": (1,), "tanh": (), "sigmoid": (), "hardsigmoid": (), "silu": (),
    "normalize": (), "batch_norm": (torch.zeros(4), torch.ones(4)), "linear": (torch.arange(8.0).reshape(2, 4),),
}  # fmt: skip
PROBABILITIES = torch.rand(6, 4)
CLASSES = torch.tensor([0, 3, 1, 2, 2, 0])
SIGNS = torch.tensor([-1.0, 1.0]).repeat(6, 2)
LOSSES = {
    "binary_cross_entropy": PROBABILITIES, "binary_cross_entropy_with_logits": PROBABILITIES, "kl_div": PROBABILITIES,
    "poisson_nll_loss": PROBABILITIES, "l1_loss": PROBABILITIES, "mse_loss": PROBABILITIES,
    "smooth_l1_loss": PROBABILITIES, "cross_entropy": CLASSES, "nll_loss": CLASSES, "multi_margin_loss": CLASSES,
    "hinge_embedding_loss": SIGNS, "soft_margin_loss": SIGNS, "multilabel_soft_margin_loss": PROBABILITIES.round(),
    "multilabel_margin_loss": torch.tensor([[1, 3, -1, 0]]).repeat(6, 1),
}  # fmt: skip


def sparse(features):
    rows = torch.zeros(len(features), 3, dtype=torch.int32)
    rows[:, 1] = torch.arange(len(features))
    return ME.SparseTensor(features, rows)


def test_every_layer_is_tried():
    assert len(LAYERS) == 27


@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_torch_modules(name):
    short = name.removeprefix("Minkowski")
    arguments = ARGUMENTS.get(short, ())
    layer, twin = LAYERS[name](*arguments).eval(), getattr(nn, short)(*arguments).eval()
    x = sparse(torch.randn(6, 4))
    field = ME.TensorField(x.F, x.C)
    assert torch.equal(layer(x).F, twin(x.F))
    assert layer(x).coordinate_map_key == x.coordinate_map_key
    assert isinstance(layer(field), ME.TensorField)
    assert torch.equal(layer(field).F, twin(x.F))


def test_dropouts_drop_in_training():
    x = sparse(torch.ones(1000, 4))
    out = ME.MinkowskiDropout(0.25)(x).F
    assert set(out.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert 0.2 < (out == 0).float().mean() < 0.3
    assert len(ME.MinkowskiAlphaDropout(0.5)(x).F.unique()) == 2


def test_sinusoidal_is_its_equation():
    layer = ME.MinkowskiSinusoidal(4, 3)
    x = sparse(torch.randn(6, 4))
    expected = torch.sin(torch.einsum("vi,io->vo", x.F, layer.kernel) + layer.bias[0]) * layer.coef[0]
    torch.testing.assert_close(layer(x).F, expected)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "kernel": (4, 3), "bias": (1, 3), "coef": (1, 3),
    }  # fmt: skip


def test_adaptive_softmax_takes_a_target():
    layer = ME.MinkowskiAdaptiveLogSoftmaxWithLoss(4, 10, cutoffs=[3, 6], div_value=2.0)
    x, target = sparse(torch.randn(6, 4)), torch.tensor([0, 9, 4, 5, 2, 7])
    expected = layer.module(x.F, target)
    assert torch.equal(layer(x, target).loss, expected.loss)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_torch_functions(name):
    x = sparse(torch.randn(6, 4))
    out = getattr(MEF, name)(x, *FUNCTIONS[name])
    assert torch.equal(out.F, getattr(functional, name)(x.F, *FUNCTIONS[name]))
    assert out.coordinate_map_key == x.coordinate_map_key


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout", "gumbel_softmax"])
def test_random_functions_draw_as_torch_does(name):
    x = sparse(torch.randn(6, 4))
    torch.manual_seed(1)
    out = getattr(MEF, name)(x).F
    torch.manual_seed(1)
    assert torch.equal(out, getattr(functional, name)(x.F))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_torch_losses(name):
    x = sparse(torch.rand(6, 4))
    loss = getattr(MEF, name)(x, LOSSES[name], reduction="sum")
    assert torch.equal(loss, getattr(functional, name)(x.F, LOSSES[name], reduction="sum"))


def test_every_function_is_tried():
    public = {name for name, thing in vars(MEF).items() if inspect.isfunction(thing) and not name.startswith("_")}
    assert public == {*FUNCTIONS, *LOSSES, "dropout", "alpha_dropout", "gumbel_softmax"}
