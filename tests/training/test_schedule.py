import math

import pytest
import torch

from pointseg.errors import InputError
from pointseg.training.schedule import OptimizerConfig, build_optimizer, learning_rate, set_learning_rate


def test_warm_up_rises_linearly_to_the_peak():
    config = OptimizerConfig(lr=0.1, warmup_steps=4)
    assert [learning_rate(s, 100, config) for s in range(4)] == pytest.approx([0.025, 0.05, 0.075, 0.1])


def test_cosine_is_half_way_down_in_the_middle():
    config = OptimizerConfig(lr=0.2, warmup_steps=10, schedule="cosine")
    assert learning_rate(10, 110, config) == pytest.approx(0.2)
    assert learning_rate(60, 110, config) == pytest.approx(0.1)
    assert learning_rate(85, 110, config) == pytest.approx(0.1 * (1 + math.cos(math.pi * 0.75)))


def test_poly_has_power_nine_tenths():
    config = OptimizerConfig(lr=1.0, warmup_steps=0, schedule="poly")
    assert learning_rate(30, 40, config) == pytest.approx(0.25**0.9)


def test_optimizers_take_the_settings():
    weight = [torch.nn.Parameter(torch.ones(2))]
    adamw = build_optimizer(weight, OptimizerConfig(name="adamw", lr=0.3, weight_decay=0.2))
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.param_groups[0]["lr"], adamw.param_groups[0]["weight_decay"]) == (0.3, 0.2)
    sgd = build_optimizer(weight, OptimizerConfig(name="sgd"))
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.param_groups[0]["momentum"], sgd.param_groups[0]["nesterov"]) == (0.9, True)


@pytest.mark.parametrize("settings", [{"name": "adam"}, {"schedule": "step"}, {"lr": -1.0}, {"warmup_steps": -1}])
def test_bad_settings_are_refused_by_name(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        OptimizerConfig(**settings)


@pytest.mark.parametrize("total", [10, 37, 100])
def test_onecycle_is_torchs(total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=total, cycle_momentum=False)
    config = OptimizerConfig(lr=0.3, schedule="onecycle", warmup_steps=5)
    for step in range(total):
        assert learning_rate(step, total, config) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step + 1 < total:
            theirs.step()


@pytest.mark.parametrize("total", [1, 2, 3])
def test_onecycle_of_few_steps_stays_within_its_peak(total):
    config = OptimizerConfig(lr=0.3, schedule="onecycle", warmup_steps=0)
    rates = [learning_rate(step, total, config) for step in range(total)]
    assert all(0 < rate <= 0.3 for rate in rates)
    assert max(rates) == 0.3


def test_the_methods_layers_have_a_rate_of_their_own():
    network, own = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    config = OptimizerConfig(name="sgd", lr=0.5, weight_decay=0.0, warmup_steps=0, method_lr=0.1)
    optimizer = build_optimizer([network], config, [own])
    set_learning_rate(optimizer, 0, 10, config)
    (network.sum() + own.sum()).backward()
    optimizer.step()
    # Nesterov momentum: the first step goes (1 + 0.9) times the rate.
    assert network.tolist() == pytest.approx([1 - 1.9 * 0.5] * 2)
    assert own.tolist() == pytest.approx([1 - 1.9 * 0.05] * 2)
