"""Neighbour tables, masks and orders against loops."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch

from pointseg.errors import InputError
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.triton import table

CPU = torch.device("cpu")
Maps = Callable[..., KernelMap]


def assert_table(made: table.NeighbourTable, pairs: list[tuple[list[int], list[int]]], n_out: int) -> None:
    """Rows and masks, seen through the order of visit, are those of the pairs."""
    order = list(range(n_out)) if made.order is None else made.order.tolist()
    assert sorted(order) == list(range(n_out))
    expected = [[-1] * n_out for _ in pairs]
    for k, (in_rows, out_rows) in enumerate(pairs):
        for i, o in zip(in_rows, out_rows, strict=True):
            expected[k][o] = i
    assert made.rows.dtype == made.masks.dtype == torch.int32
    assert made.rows.tolist() == [[line[o] for o in order] for line in expected]
    for place, o in enumerate(order):
        bits = sum((made.masks[w, place].item() & 0xFFFFFFFF) << (32 * w) for w in range(len(made.masks)))
        assert bits == sum(1 << k for k, line in enumerate(expected) if line[o] >= 0)


@pytest.mark.parametrize("K", [1, 8, 27, 32, 33, 63, 125])
@pytest.mark.parametrize("fewest", [1, 10**6])
def test_both_directions(K: int, fewest: int, scattered: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "FEWEST_SORTED", fewest)
    kernel_map = scattered(30, 40, K)
    made = table.tables_of(kernel_map, CPU)
    lists = [(i.tolist(), o.tolist()) for i, o in kernel_map.pairs]
    assert_table(made.forward, lists, 40)
    assert_table(made.backward, [(o, i) for i, o in lists], 30)
    assert (made.forward.order is None) == (fewest > 40)


def test_the_lists_of_the_map_are_let_go_once_they_are_joined() -> None:
    rows = [(torch.tensor([0, 1]), torch.tensor([1, 2])) for _ in range(2)]
    lists = [weakref.ref(each) for pair in rows for each in pair]
    made = table.MapTables(3, 3, rows, None, CPU)
    assert made.pairs.counts == (2, 2)
    del rows
    assert [ref() for ref in lists] == [None] * 4
    assert_table(made.forward, [([0, 1], [1, 2])] * 2, 3)


def test_tables_are_whole_after_memory_ran_out_once(scattered: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_map = scattered(30, 40, 8)
    made, joined = table.tables_of(kernel_map, CPU), table._joined

    def full(lists: list[torch.Tensor], device: torch.device) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(table, "_joined", full)
    with pytest.raises(torch.OutOfMemoryError):
        _ = made.forward
    monkeypatch.setattr(table, "_joined", joined)
    assert_table(made.forward, [(i.tolist(), o.tolist()) for i, o in kernel_map.pairs], 40)


def test_a_map_that_mirrors_itself() -> None:
    rows, every = torch.tensor([2, 0]), torch.arange(4)
    above = rows + 1
    kernel_map = KernelMap.of_pairs(4, 4, ((rows, above), (every, every), (above, rows)), mirror=(2, 1, 0))
    made = table.tables_of(kernel_map, CPU)
    assert_table(made.forward, [([2, 0], [3, 1]), ([0, 1, 2, 3], [0, 1, 2, 3]), ([3, 1], [2, 0])], 4)
    assert made.pairs.counts == (2, 4, 2)
    assert made.pairs.in_rows.tolist() == [0, 2, 0, 1, 2, 3, 1, 3]
    assert made.pairs.out_rows.tolist() == [1, 3, 0, 1, 2, 3, 0, 2]
    # Backwards, line 0 of the same table meets the kernel's entry 2.
    assert made.backward.rows is made.forward.rows
    assert made.backward.weights.tolist() == [2, 1, 0]


def test_a_mirrored_map_has_tables_of_its_own() -> None:
    """It shares all lists with the map it comes from, but not the offsets behind them."""
    rows = torch.tensor([2, 0])
    kernel_map = KernelMap.of_pairs(4, 4, ((rows, rows + 1), (rows + 1, rows)), mirror=(1, 0))
    for each in (kernel_map, kernel_map.swapped()):
        lists = [(i.tolist(), o.tolist()) for i, o in each.pairs]
        assert_table(table.tables_of(each, CPU).forward, lists, 4)
    assert kernel_map.swapped().pairs[0][0].tolist() == [1, 3]


def test_mirror_is_not_assumed() -> None:
    rows = torch.arange(3)
    kernel_map = KernelMap.of_pairs(4, 6, ((rows, rows),))
    made = table.tables_of(kernel_map, CPU)
    assert_table(made.backward, [([0, 1, 2], [0, 1, 2])], 4)


@pytest.mark.parametrize("bits", [7, 63])
def test_order_walks_the_gray_code(bits: int) -> None:
    """Visited rows' words are those of a Gray code counting up: b ^ b >> 1 for ascending b."""
    words = torch.randint(0, 2**bits - 1, (500,))
    order = table.visit_order((words >> torch.arange(bits)[:, None] & 1).bool())
    # Bit i of the rank is the parity of the word's bits from i upwards.
    ranks = [sum((word >> i).bit_count() % 2 << i for i in range(bits)) for word in words[order].tolist()]
    assert all(rank ^ (rank >> 1) == word for rank, word in zip(ranks, words[order].tolist(), strict=True))
    assert ranks == sorted(ranks)
    # Rows with equal words stay in their order, so that the result does not depend on the sort.
    assert all(i < j for i, j, a, b in zip(order, order[1:], ranks, ranks[1:], strict=False) if a == b)


def test_highest_bit_counts() -> None:
    present = torch.zeros(63, 3, dtype=torch.bool)
    present[62, 0] = present[31, 1] = True
    assert table.visit_order(present).tolist() == [2, 1, 0]


def test_work_items_cover_every_pair_once() -> None:
    items, first = table.work_items((5, 0, 12, 4), 5)
    assert items == [(0, 5), (5, 10), (10, 15), (15, 17), (17, 21)]
    assert first == [0, 1, 1, 4, 5]
    assert table.work_items((0, 0), 5) == ([], [0, 0, 0])


def test_kept_while_the_map_lives(scattered: Maps) -> None:
    kernel_map = scattered(10, 10, 2)
    made = table.tables_of(kernel_map, CPU)
    assert table.tables_of(kernel_map, CPU) is made
    assert made.forward is made.forward
    gone = weakref.ref(made)
    del made, kernel_map
    gc.collect()
    assert gone() is None


def test_too_many_rows() -> None:
    with pytest.raises(InputError, match=r"2147483647 rows.*split"):
        table.MapTables(3, 2**31 - 1, (), None, CPU)
