"""One optimiser step: accumulated gradients, the guard against values that are not finite, random numbers, averages."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods import METHODS, Batch, Task, View
from pointseg.training.config import LossConfig, TrainConfig
from pointseg.training.determinism import deterministic_algorithms, seed_step
from pointseg.training.schedule import OptimizerConfig, build_optimizer
from pointseg.training.step import build_average, build_scaler, training_step

K = 4
CPU = torch.device("cpu")


class RowNet(nn.Module):
    """A pointwise network without batch norm."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 8), nn.Linear(8, K)

    def forward(self, inputs):
        features = self.body(inputs).relu()
        return features, self.head(features)


def view(rows, every, seed):
    """Random rows, one in ``every`` annotated."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.full((rows,), -1)
    labels[::every] = torch.arange(len(labels[::every])) % K
    inputs = torch.randn(rows, 5, generator=generator)
    return View(inputs, labels, torch.zeros(rows, dtype=torch.int64), inputs[:, :3], torch.arange(rows), labels)


def joined(views):
    return View(*(torch.cat([getattr(v, name) for v in views]) for name in vars(views[0])))


def trio(config, weights=None):
    torch.manual_seed(0)
    model = RowNet()
    task = Task(K, 8, torch.tensor([5, 3, 2, 1]), weights, config.loss.label_smoothing, config.loss.lovasz)
    method = METHODS["supervised"](config.method_config(), task)
    return model, method, build_optimizer(model.parameters(), config.optimizer, method.parameters())


def settings(**values):
    sgd = OptimizerConfig(name="sgd", lr=0.1, warmup_steps=0, clip_norm=0.0)
    return TrainConfig(**{"method": {"name": "supervised"}, "optimizer": sgd, "steps": 100} | values)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 3.0, 7.0])])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_accumulated_batches_are_one_large_batch(weights, smoothing):
    config = settings(loss=LossConfig(label_smoothing=smoothing))
    # Very different numbers of annotated rows, and none in the last.
    views = [view(40, 2, 0), view(30, 9, 1), view(10, 3, 2)]
    views.append(View(**{**vars(view(20, 3, 3)), "labels": torch.full((20,), -1)}))
    small, large = trio(config, weights), trio(config, weights)
    for step in range(3):
        log = training_step(*small, [Batch(v, step=step) for v in views], config)
        whole = training_step(*large, Batch(joined(views), step=step), config)
        assert float(log.total) == pytest.approx(float(whole.total), rel=1e-5)
        assert float(log.log["loss_ce"]) == pytest.approx(float(whole.log["loss_ce"]), rel=1e-5)
    for a, b in zip(small[0].parameters(), large[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_label_smoothing_is_torchs_where_every_class_is_annotated():
    weights = torch.tensor([0.5, 1.0, 3.0, 7.0])
    rows = view(40, 3, 0)
    logits = torch.randn(40, K, generator=torch.Generator().manual_seed(5))
    for weight in (None, weights):
        _, method, _ = trio(settings(loss=LossConfig(label_smoothing=0.3)), weight)
        expected = F.cross_entropy(logits, rows.labels, weight=weight, ignore_index=-1, label_smoothing=0.3)
        assert float(method.labelled_loss(logits, rows.labels)) == pytest.approx(float(expected), rel=1e-5)


def test_a_class_nobody_annotated_gets_no_smoothed_target():
    task = Task(3, 8, torch.tensor([5, 5, 0]), label_smoothing=0.2)
    method = METHODS["supervised"](settings().method_config(), task)
    logits = torch.tensor([[2.0, 1.0, -1e4]])
    first, second = torch.log_softmax(torch.tensor([2.0, 1.0]), 0)
    expected = -(0.9 * first + 0.1 * second)
    assert float(method.labelled_loss(logits, torch.tensor([0]))) == pytest.approx(float(expected), rel=1e-5)


def test_a_loss_that_is_not_finite_names_step_and_batch():
    config = settings()
    batches = [Batch(view(20, 2, 0), step=7), Batch(view(20, 2, 1), step=7)]
    batches[1].weak.inputs[2] = torch.nan
    with pytest.raises(InputError, match=r"loss of step 7 on scene one is not finite \(loss_ce nan"):
        training_step(*trio(config), batches, config, describe=lambda number: f"scene {['nil', 'one'][number]}")


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_spoilt(monkeypatch):
    config = settings(optimizer=OptimizerConfig(warmup_steps=0))
    model, method, optimizer = trio(config)
    before = [p.clone() for p in model.parameters()]
    # The root of 0 is finite, its slope is not.
    loss = method.loss
    monkeypatch.setattr(method, "loss", lambda m, b: _with_root(loss(m, b), m))
    with pytest.raises(InputError, match="the gradient of step 0 on somewhere is not finite"):
        training_step(model, method, optimizer, Batch(view(20, 2, 0)), config, describe=lambda number: "somewhere")
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def _with_root(terms, model):
    weight = model.head.weight
    return type(terms)(terms.total + ((weight - weight.detach()) ** 2).sum().sqrt(), terms.log)


def test_fp16_passes_over_a_step_that_overflows_and_goes_on():
    config = settings(precision="fp16", optimizer=OptimizerConfig(name="sgd", lr=0.1, warmup_steps=0))
    model, method, optimizer = trio(config)
    scaler = build_scaler(config, CPU)
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**40})
    before = [p.clone() for p in model.parameters()]
    training_step(model, method, optimizer, Batch(view(20, 2, 0)), config, scaler=scaler)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert scaler.get_scale() == 2.0**39
    for step in range(1, 40):
        training_step(model, method, optimizer, Batch(view(20, 2, 0), step=step), config, scaler=scaler)
    assert not torch.equal(before[0], next(model.parameters()))
    assert all(p.isfinite().all() for p in model.parameters())


def test_random_numbers_are_a_function_of_seed_and_step():
    drawn = {}
    for seed, step in itertools.product(range(3), range(3)):
        seed_step(seed, step)
        drawn[seed, step] = torch.rand(4).tolist()
    torch.rand(17)
    seed_step(1, 2)
    assert torch.rand(4).tolist() == drawn[1, 2]
    assert len({tuple(values) for values in drawn.values()}) == 9


def test_the_average_of_the_weights_follows_the_network():
    assert build_average(settings(), RowNet()) is None
    model = RowNet()
    average = build_average(settings(ema_momentum=0.9), model)
    expected = model.head.bias.detach().clone()
    for update in range(1, 30):
        with torch.no_grad():
            model.head.bias += 1
        average.update(model)
        keep = min(1 - 1 / (update + 1), 0.9)
        expected = keep * expected + (1 - keep) * model.head.bias.detach()
    torch.testing.assert_close(average.model.head.bias.detach(), expected)


def test_deterministic_algorithms_end_with_the_block():
    with deterministic_algorithms(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_algorithms(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_the_scored_network():
    from pointseg.training.loop import _scored

    model, teacher, average = object(), object(), SimpleNamespace(model=object())
    student, own = SimpleNamespace(evaluated=lambda m: m), SimpleNamespace(evaluated=lambda m: teacher)
    assert _scored(student, model, None) is model
    assert _scored(student, model, average) is average.model
    assert _scored(own, model, average) is teacher
