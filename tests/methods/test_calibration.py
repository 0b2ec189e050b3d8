"""The expected calibration error against a loop over bins, and over processes."""

import pytest
import torch

from pointseg.methods.calibration import expected_calibration_error

GENERATOR = torch.Generator().manual_seed(3)
CONFIDENCE = torch.rand(500, generator=GENERATOR, dtype=torch.float64)
HIT = torch.rand(500, generator=GENERATOR, dtype=torch.float64) < CONFIDENCE**2


def slow_error(confidence, hit, bins):
    error = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence.tolist()) if b / bins < c <= (b + 1) / bins or (b == 0 == c)]
        if inside:
            accuracy = sum(bool(hit[i]) for i in inside) / len(inside)
            mean = sum(float(confidence[i]) for i in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(accuracy - mean)
    return error


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_it_is_what_a_loop_over_bins_gives(bins):
    assert float(expected_calibration_error(CONFIDENCE, HIT, bins)) == pytest.approx(slow_error(CONFIDENCE, HIT, bins))


def test_edges_belong_to_the_bin_below():
    confidence = torch.tensor([0.125, 0.25, 0.75, 1.0, 0.0], dtype=torch.float64)
    hit = torch.tensor([False, True, True, False, False])
    # With 4 bins: {0, 0.125, 0.25}, {0.75}, {1}; hits and misses within one bin cancel.
    assert float(expected_calibration_error(confidence, hit, 4)) == pytest.approx((0.625 + 0.25 + 1) / 5)


def test_what_is_right_as_often_as_it_says_has_none():
    confidence = torch.tensor([0.75] * 4 + [1.0] * 3)
    assert float(expected_calibration_error(confidence, torch.tensor([True, True, True, False] + [True] * 3))) == 0
    assert float(expected_calibration_error(torch.ones(3), torch.zeros(3, dtype=torch.bool))) == 1


def test_no_row_gives_zero():
    assert float(expected_calibration_error(torch.zeros(0), torch.zeros(0, dtype=torch.bool))) == 0


def test_half_precision_is_binned_in_full():
    assert expected_calibration_error(CONFIDENCE.bfloat16(), HIT).dtype == torch.float32


def share_of(rank):
    rows = (slice(0, 450), slice(450, 500))[rank]
    return expected_calibration_error(CONFIDENCE[rows], HIT[rows])


def test_two_processes_give_the_error_over_the_rows_of_both(in_processes):
    expected = expected_calibration_error(CONFIDENCE, HIT)
    parts = [share_of(0), share_of(1)]
    assert all(abs(part - expected) > 1e-4 for part in parts)
    for result in in_processes(share_of):
        torch.testing.assert_close(result, expected)
