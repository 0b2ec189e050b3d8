"""The queues of negative keys against Python lists."""

import pytest
import torch
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods.memory_bank import MemoryBank


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def queue(bank, k):
    """The keys of a class, as a set of rounded tuples."""
    start = int(bank.offset[k])
    return {tuple(row) for row in bank.keys[start : start + int(bank.fill[k])].double().round(decimals=4).tolist()}


def as_set(rows):
    return {tuple(row) for row in F.normalize(rows, dim=1).double().round(decimals=4).tolist()}


def all_keys(size=24):
    rows = torch.randn(size, 3, generator=generator(1))
    return rows, torch.arange(size) % 3, torch.rand(size, generator=generator(2))


def test_each_class_keeps_its_newest_keys():
    bank = MemoryBank(3, 4, 5, larger={1: 9}, dtype=torch.float32)
    queues = {0: [], 1: [], 2: []}
    for step in range(7):
        rows = torch.randn(8, 4, generator=generator(step))
        classes = torch.randint(0, 3 if step % 2 else 2, (8,), generator=generator(100 + step))
        # Priorities fall, so the order of the rows is the order of arrival.
        bank.push(rows, classes, -torch.arange(8.0), 8)
        for row, k in zip(rows, classes.tolist(), strict=True):
            queues[k] = [*queues[k], row][-(9 if k == 1 else 5) :]
        for k, kept in queues.items():
            assert queue(bank, k) == as_set(torch.stack(kept) if kept else rows[:0])
            assert int(bank.fill[k]) == len(kept)
    assert bank.filled().tolist() == pytest.approx([1, 1, len(queues[2]) / 5])


def test_more_keys_than_a_queue_holds_and_the_limit_of_a_step():
    rows = torch.randn(20, 3, generator=generator(1))
    classes, priority = torch.zeros(20, dtype=torch.int64), torch.rand(20, generator=generator(2))
    best = priority.argsort(descending=True)
    for limit, held in ((20, 6), (4, 4)):
        bank = MemoryBank(2, 3, 6, dtype=torch.float32)
        bank.push(rows, classes, priority, limit)
        assert queue(bank, 0) == as_set(rows[best[:held]])
        assert bank.fill.tolist() == [held, 0]
        newer = torch.randn(9, 3, generator=generator(limit))
        bank.push(newer, classes[:9], -torch.arange(9.0), 2)
        assert queue(bank, 0) == as_set(torch.cat([rows[best[:held][-4:]], newer[:2]]))


def test_draws_are_uniform_over_the_own_queue():
    bank = MemoryBank(3, 4, 10, dtype=torch.float32)
    bank.push(torch.randn(9, 4), torch.tensor([0] * 4 + [2] * 5), torch.rand(9), 10)
    drawn = bank.draw(torch.tensor([2, 0]), (2000, 5), generator())
    assert drawn.shape == (2, 2000, 5)
    for rows, first, held in ((drawn[0], 20, 5), (drawn[1], 0, 4)):
        count = torch.bincount(rows.flatten() - first, minlength=held).double()
        assert len(count) == held
        assert (count / 10000 - 1 / held).abs().max() < 0.02
    assert torch.equal(drawn, bank.draw(torch.tensor([2, 0]), (2000, 5), generator()))


def test_an_empty_queue_gives_zeros():
    bank = MemoryBank(3, 4, 10)
    bank.push(torch.empty(0, 4), torch.empty(0, dtype=torch.int64), torch.empty(0), 5)
    rows = bank.draw(torch.tensor([1]), (3,), generator())
    assert (bank.keys[rows] == 0).all()
    assert bank.fill.tolist() == [0, 0, 0]


def test_keys_are_unit_vectors_so_fp16_holds_any_length():
    bank = MemoryBank(1, 3, 2)
    assert bank.keys.dtype == torch.float16
    bank.push(torch.tensor([[1e6, 0, 0], [0, -3e-6, 0]]), torch.zeros(2, dtype=torch.int64), torch.ones(2), 2)
    assert bank.keys.tolist() == [[1, 0, 0], [0, -1, 0]]


def test_state_survives_a_round_trip_and_the_queue_goes_on():
    one, two = (MemoryBank(3, 3, 5) for _ in range(2))
    one.push(*all_keys(), 4)
    two.load_state_dict(one.state_dict())
    for bank in (one, two):
        bank.push(*all_keys(9), 3)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])


@pytest.mark.parametrize(("size", "larger", "said"), [(0, {}, "keeps 0"), (5, {3: 9}, "no class 3"), (5, {0: 0}, "0")])
def test_impossible_sizes_are_refused(size, larger, said):
    with pytest.raises(InputError, match=said):
        MemoryBank(3, 4, size, larger=larger)
