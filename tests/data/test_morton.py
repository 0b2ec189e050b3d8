"""Morton keys bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointseg.data.morton import AXIS_BITS, Morton, sorted_pieces


def interleaved(cell) -> int:
    """Slow twin with three bits a level, whatever the widths."""
    return sum(((int(v) >> bit) & 1) << (3 * bit + axis) for axis, v in enumerate(cell) for bit in range(AXIS_BITS))


@given(st.tuples(*[st.integers(0, AXIS_BITS)] * 3), st.integers(0, 10**6))
@settings(max_examples=100)
def test_keys_are_in_the_order_of_the_full_interleaving_and_lead_back(widths, seed):
    rng = np.random.default_rng(seed)
    cell = np.stack([rng.integers(0, 1 << width, 50) for width in widths], axis=1)
    curve = Morton(widths)
    key = curve.keys(cell)
    assert curve.bits == sum(widths)
    assert 0 <= key.min() <= key.max() < 1 << curve.bits
    assert np.argsort(key, kind="stable").tolist() == sorted(range(50), key=lambda i: interleaved(cell[i]))
    np.testing.assert_array_equal(curve.cells(key), cell)


def test_equal_widths_interleave_bit_by_bit():
    cell = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 0], [3, 5, 7]])
    assert Morton([3, 3, 3]).keys(cell).tolist() == [1, 2, 4, 8, interleaved([3, 5, 7])]


@pytest.mark.parametrize("bits", [20, 54, 55, 63])
def test_sorting_is_stable_whether_key_and_place_fit_one_number_or_not(bits):
    rng = np.random.default_rng(bits)
    key = rng.choice(rng.integers(0, 1 << bits, 40, dtype=np.int64), 300)
    key[0] = (1 << bits) - 1
    pieces = list(sorted_pieces([key[:100], key[100:]], 300, bits, 64))
    assert [len(part) for part, _ in pieces] == [64, 64, 64, 64, 44]
    order = np.concatenate([place for _, place in pieces])
    assert order.tolist() == sorted(range(300), key=lambda i: (key[i], i))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in pieces]), key[order])
