import math

import pytest
import torch

from pointseg.errors import InputError
from pointseg.training.schedule import OptimizerConfig, build_optimizer, learning_rate


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
