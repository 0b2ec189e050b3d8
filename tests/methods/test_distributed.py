"""Sums and rows over processes."""

import pytest
import torch

from pointseg.methods.distributed import all_gather_rows, all_reduce_sum, global_mean, world_size

ROWS = torch.arange(12.0).reshape(6, 2)
SHARES = (slice(0, 4), slice(4, 6))


def collect(rank):
    mine = ROWS[SHARES[rank]].clone().requires_grad_()
    mean = global_mean((mine**2).sum(), torch.tensor(mine.numel()))
    mean.backward()
    return {
        "sum": all_reduce_sum(mine.sum(0)),
        "rows": all_gather_rows(mine),
        "none": all_gather_rows(mine[: 2 * rank]),
        "mean": mean.detach(),
        "grad": mine.grad,
        "size": world_size(),
    }


def test_two_processes_see_the_sums_and_rows_of_both(in_processes):
    results = in_processes(collect)
    for result in results:
        assert result["size"] == 2
        torch.testing.assert_close(result["sum"], ROWS.sum(0))
        torch.testing.assert_close(result["rows"], ROWS)
        torch.testing.assert_close(result["none"], ROWS[4:6])
    whole = ROWS.clone().requires_grad_()
    (whole**2).mean().backward()
    assert sum(r["mean"] for r in results) / 2 == pytest.approx(float((ROWS**2).mean()))
    torch.testing.assert_close(torch.cat([r["grad"] for r in results]) / 2, whole.grad)


def test_one_process_needs_no_setting_up():
    rows = torch.randn(3, 2, requires_grad=True)
    assert world_size() == 1
    torch.testing.assert_close(all_gather_rows(rows), rows.detach())
    assert not all_reduce_sum(rows).requires_grad
    torch.testing.assert_close(global_mean(rows.sum(), torch.tensor(6)), rows.mean())
    nothing = global_mean(rows[:0].sum(), torch.tensor(0))
    nothing.backward()
    assert nothing.item() == 0
    assert rows.grad.abs().sum() == 0
