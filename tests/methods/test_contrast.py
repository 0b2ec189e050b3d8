"""Anchors, negative keys and InfoNCE against loops over rows."""

import numpy as np
import pytest
import torch

from pointseg.methods.contrast import (
    contrastive_loss,
    draw_members,
    info_nce,
    negative_classes,
    remember,
    step_generator,
)
from pointseg.methods.memory_bank import MemoryBank


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def slow_info_nce(anchor, positive, negatives, tau):
    def cosine(a, b):
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

    true = np.exp(cosine(anchor, positive) / tau)
    return -np.log(true / (true + sum(np.exp(cosine(anchor, n) / tau) for n in negatives)))


def embeddings():
    draw = generator(4)
    anchors = torch.randn(6, 5, dtype=torch.float64, generator=draw) * 3
    positive = torch.randn(5, dtype=torch.float64, generator=draw) * 0.01
    negatives = torch.randn(6, 7, 5, dtype=torch.float64, generator=draw)
    return anchors, positive, negatives / negatives.norm(dim=2, keepdim=True)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_info_nce_follows_the_equation(tau):
    anchors, positive, negatives = embeddings()
    expected = [
        slow_info_nce(a, positive.numpy(), n, tau) for a, n in zip(anchors.numpy(), negatives.numpy(), strict=True)
    ]
    np.testing.assert_allclose(info_nce(anchors, positive, negatives, tau), expected, rtol=1e-10)
    anchors.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: info_nce(a, positive, negatives, tau), anchors)


def test_info_nce_is_computed_in_fp32_under_autocast():
    anchors, positive, negatives = (x.float() for x in embeddings())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(anchors, positive, negatives.half(), 0.5)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, info_nce(anchors, positive, negatives.half().float(), 0.5))


@pytest.mark.parametrize(("low", "high"), [(3, 6), (1, 4), (0, 2), (2, 3)])
def test_negative_classes_row_by_row(low, high):
    draw = generator(5)
    probability = torch.randn(40, 6, generator=draw).softmax(1)
    labels = torch.where(torch.rand(40, generator=draw) < 0.3, torch.randint(0, 6, (40,), generator=draw), -1)
    unreliable = (torch.rand(40, generator=draw) < 0.5) & (labels < 0)
    rows, negative = negative_classes(probability, labels, unreliable, low, high)
    found = dict(zip(rows.tolist(), negative.tolist(), strict=True))
    for i in range(40):
        ranked = sorted(range(6), key=lambda k: -probability[i, k])
        if labels[i] >= 0:
            expected = {k for k in ranked[:low] if k != labels[i]}
        else:
            expected = set(ranked[low:high]) if unreliable[i] else set()
        assert {k for k in range(6) if found.get(i, [False] * 6)[k]} == expected


def test_remembered_keys_are_a_random_part_of_those_that_qualify():
    keys = torch.eye(30)
    negative = torch.zeros(30, 3, dtype=torch.bool)
    negative[:20, 0], negative[18:22, 2] = True, True
    bank, chosen = MemoryBank(3, 30, 8), []
    for seed in range(2):
        remember(bank, keys, negative, 6, generator(seed))
        chosen.append({int(row.argmax()) for row in bank.keys[:8] if row.any()})
    assert bank.fill.tolist() == [8, 0, 8]
    assert all(held <= set(range(20)) for held in chosen)
    assert len(chosen[0]) == 6
    assert chosen[0] != chosen[1]
    assert {int(row.argmax()) for row in bank.keys[16:20]} == {18, 19, 20, 21}


def test_drawn_members_belong_to_their_class_and_are_uniform():
    classes = torch.tensor([-1, 3, 1, -1, 3, 3, 1, -1, 3])
    present, rows = draw_members(classes, torch.tensor([0, 2, 0, 4]), 4000, generator())
    assert present.tolist() == [1, 3]
    for k, own in zip(present, rows, strict=True):
        members = (classes == k).nonzero().flatten().tolist()
        share = [(own == i).double().mean().item() for i in members]
        assert share == pytest.approx([1 / len(members)] * len(members), abs=0.03)
    present, rows = draw_members(torch.full((3,), -1), torch.zeros(4, dtype=torch.int64), 5, generator())
    assert rows.shape == (0, 5)


def filled_bank():
    bank = MemoryBank(4, 5, 1, dtype=torch.float64)
    keys = torch.randn(3, 5, dtype=torch.float64, generator=generator(7))
    bank.push(keys, torch.tensor([0, 2, 3]), torch.ones(3), 1)
    return bank, keys


def contrast(anchors, classes, candidates, present, bank):
    return contrastive_loss(
        anchors,
        torch.tensor(classes, dtype=torch.int64),
        torch.eye(4, 5, dtype=torch.float64),
        bank,
        candidates=torch.tensor(candidates),
        usable=torch.tensor(present) & (bank.fill > 0),
        present=torch.tensor(present),
        negatives=3,
        temperature=0.5,
        generator=generator(),
    )


def test_classes_are_told_apart_by_id_when_some_are_absent():
    """Class 0 is absent, class 1 has no negative: classes 2 and 3 must meet their own positives and keys."""
    bank, keys = filled_bank()
    anchors = torch.randn(3, 4, 5, dtype=torch.float64, generator=generator(8), requires_grad=True)
    loss = contrast(anchors, [1, 2, 3], [0, 7, 7, 7], [False, True, True, True], bank)
    expected = 0.0
    for own, k, key in ((anchors[1], 2, keys[1]), (anchors[2], 3, keys[2])):
        positive = np.eye(4, 5)[k]
        expected += np.mean([slow_info_nce(a, positive, [key.numpy()] * 3, 0.5) for a in own.detach().numpy()])
    assert loss.item() == pytest.approx(expected / 3, rel=1e-10)
    loss.backward()
    assert anchors.grad[0].abs().sum() == 0
    assert (anchors.grad[1:].abs().sum((1, 2)) > 0).all()


def test_fewer_than_two_classes_or_no_anchor_is_zero_with_a_gradient():
    bank, _ = filled_bank()
    one = torch.randn(1, 4, 5, dtype=torch.float64, requires_grad=True)
    none = torch.randn(0, 4, 5, dtype=torch.float64, requires_grad=True)
    for anchors, classes, present in ((one, [2], [False, False, True, False]), (none, [], [True, True, False, False])):
        loss = contrast(anchors, classes, [0, 0, len(classes), 0], present, bank)
        loss.backward()
        assert loss.item() == 0
        assert anchors.grad.abs().sum() == 0


def test_the_randomness_of_a_step_is_a_function_of_the_step():
    first, again, other = (torch.rand(4, generator=step_generator(s, torch.device("cpu"))) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
