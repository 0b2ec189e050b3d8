"""Lovasz-Softmax against the definition of the Lovasz extension and against a slow twin."""

import itertools

import pytest
import torch

from pointseg.methods.lovasz import lovasz_softmax


def jaccard_loss(wrong, hit):
    """1 - IoU of a class when exactly the rows in ``wrong`` are mispredicted: a set function."""
    truth = {i for i, h in enumerate(hit) if h}
    return 1 - len(truth - wrong) / len(truth | wrong)


def extension(error, hit):
    """The Lovasz extension by its definition: set-function increments in the order of falling errors."""
    total, taken, before = 0.0, set(), 0.0
    for i in sorted(range(len(error)), key=lambda i: -float(error[i])):
        taken = taken | {i}
        now = jaccard_loss(taken, hit)
        total += float(error[i]) * (now - before)
        before = now
    return total


def slow(logits, labels):
    rows = [i for i in range(len(labels)) if labels[i] >= 0]
    present = sorted({int(labels[i]) for i in rows})
    probability = torch.softmax(logits.double(), 1)
    losses = []
    for k in present:
        hit = [int(labels[i]) == k for i in rows]
        error = [1 - probability[i, k] if h else probability[i, k] for i, h in zip(rows, hit, strict=True)]
        losses.append(extension(error, hit))
    return sum(losses) / len(losses)


def random_case(rows, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(-1, classes, (rows,), generator=generator)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_slow_one(seed):
    logits, labels = random_case(23, 4, seed)
    assert float(lovasz_softmax(logits, labels)) == pytest.approx(slow(logits, labels), rel=1e-9)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_on_every_hard_prediction_it_is_one_minus_the_mean_iou(size):
    """At the corners, that is on all subsets of wrong rows, the extension is the set function itself."""
    for labels in itertools.product(range(2), repeat=size):
        for predicted in itertools.product(range(2), repeat=size):
            logits = torch.nn.functional.one_hot(torch.tensor(predicted), 2).double() * 200
            expected = []
            for k in set(labels):
                truth = {i for i in range(size) if labels[i] == k}
                guess = {i for i in range(size) if predicted[i] == k}
                expected.append(1 - len(truth & guess) / len(truth | guess))
            value = float(lovasz_softmax(logits, torch.tensor(labels)))
            assert value == pytest.approx(sum(expected) / len(expected), abs=1e-9)


def test_its_gradient_is_that_of_differences():
    logits, labels = random_case(9, 3, 1)
    assert torch.autograd.gradcheck(lambda z: lovasz_softmax(z, labels), logits.requires_grad_())


def test_without_an_annotation_it_is_nothing_with_a_gradient():
    logits = torch.randn(5, 3, requires_grad=True)
    loss = lovasz_softmax(logits, torch.full((5,), -1))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad.abs().sum() == 0


def rank_loss(rank):
    """What one of two processes computes, with 8 and 15 rows of 23."""
    logits, labels = random_case(23, 4, 3)
    part = slice(0, 8) if rank == 0 else slice(8, 23)
    own = logits[part].requires_grad_()
    loss = lovasz_softmax(own, labels[part])
    loss.backward()
    return {"loss": loss.detach(), "gradient": own.grad}


def test_two_processes_give_the_loss_of_one(in_processes):
    logits, labels = random_case(23, 4, 3)
    logits.requires_grad_()
    whole = lovasz_softmax(logits, labels)
    whole.backward()
    first, second = in_processes(rank_loss)
    torch.testing.assert_close((first["loss"] + second["loss"]) / 2, whole.detach())
    torch.testing.assert_close(torch.cat([first["gradient"], second["gradient"]]) / 2, logits.grad)
