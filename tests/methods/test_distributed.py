"""Sums and rows over processes."""

import pytest
import torch

from pointseg.methods.distributed import (
    all_gather,
    all_gather_rows,
    all_reduce_sum,
    global_mean,
    rank,
    take_from_first,
    world_size,
)

ROWS = torch.arange(12.0).reshape(6, 2)
SHARES = (slice(0, 4), slice(4, 6))


def collect(number):
    mine = ROWS[SHARES[number]].clone().requires_grad_()
    mean = global_mean((mine**2).sum(), torch.tensor(mine.numel()))
    mean.backward()
    return {
        "sum": all_reduce_sum(mine.sum(0)),
        "rows": all_gather_rows(mine),
        "none": all_gather_rows(mine[: 2 * number]),
        "every": all_gather(mine[0]),
        "first": taken_from_first(mine[0]),
        "rank": torch.tensor(rank()),
        "mean": mean.detach(),
        "grad": mine.grad,
        "size": world_size(),
    }


def taken_from_first(x):
    x = x.detach().clone()
    take_from_first(x)
    return x


def test_two_processes_see_the_sums_and_rows_of_both(in_processes):
    results = in_processes(collect)
    for number, result in enumerate(results):
        assert (result["size"], result["rank"]) == (2, number)
        torch.testing.assert_close(result["every"], ROWS[[0, 4]])
        torch.testing.assert_close(result["first"], ROWS[0])
        torch.testing.assert_close(result["sum"], ROWS.sum(0))
        torch.testing.assert_close(result["rows"], ROWS)
        torch.testing.assert_close(result["none"], ROWS[4:6])
    whole = ROWS.clone().requires_grad_()
    (whole**2).mean().backward()
    assert sum(r["mean"] for r in results) / 2 == pytest.approx(float((ROWS**2).mean()))
    torch.testing.assert_close(torch.cat([r["grad"] for r in results]) / 2, whole.grad)


def test_one_process_needs_no_setting_up():
    rows = torch.randn(3, 2, requires_grad=True)
    assert (world_size(), rank()) == (1, 0)
    torch.testing.assert_close(all_gather(rows), rows.detach()[None])
    torch.testing.assert_close(all_gather_rows(rows), rows.detach())
    assert not all_reduce_sum(rows).requires_grad
    torch.testing.assert_close(global_mean(rows.sum(), torch.tensor(6)), rows.mean())
    nothing = global_mean(rows[:0].sum(), torch.tensor(0))
    nothing.backward()
    assert nothing.item() == 0
    assert rows.grad.abs().sum() == 0
