"""Sparse matrix products and direct max pooling against dense matrices and loops."""

import pytest
import torch
from pointseg.minkowski.sparse_matrix_functions import spmm_average

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski.utils.gradcheck import gradcheck

ROWS, COLS = torch.tensor([4, 0, 0, 2, 0], dtype=torch.int32), torch.tensor([1, 2, 0, 1, 2], dtype=torch.int32)
SIZE = torch.Size((6, 3))


def dense(values):
    return torch.zeros(SIZE, dtype=values.dtype).index_put((ROWS.long(), COLS.long()), values, accumulate=True)


def test_spmm_is_a_matrix_product():
    values = torch.randn(5, dtype=torch.float64, requires_grad=True)
    mat = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    out = ME.spmm(ROWS, COLS, values, SIZE, mat)
    torch.testing.assert_close(out, dense(values) @ mat)
    weights = torch.randn_like(out)
    ours = torch.autograd.grad((out * weights).sum(), (values, mat))
    theirs = torch.autograd.grad((dense(values) @ mat * weights).sum(), (values, mat))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(ME.MinkowskiSPMMFunction().apply(ROWS, COLS, values, SIZE, mat), out)
    assert gradcheck(ME.MinkowskiSPMMFunction, (ROWS, COLS, values.detach(), SIZE, mat))


def test_spmm_average_divides_by_the_entries_of_a_row():
    mat = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    out, indices, values = spmm_average(ROWS, COLS, SIZE, mat)
    expected = torch.stack([(2 * mat[2] + mat[0]) / 3, mat[0] * 0, mat[1], mat[0] * 0, mat[1], mat[0] * 0])
    torch.testing.assert_close(out, expected)
    assert indices.tolist() == [[0, 0, 0, 2, 4], [2, 0, 2, 1, 1]]
    torch.testing.assert_close(values, torch.tensor([1, 1, 1, 3, 3], dtype=torch.float64) / 3)
    assert gradcheck(ME.MinkowskiSPMMAverageFunction, (ROWS, COLS, SIZE, mat))


def test_empty_products():
    none = torch.empty(0, dtype=torch.int64)
    mat = torch.ones(3, 2, requires_grad=True)
    out = ME.spmm(none, none, torch.empty(0), SIZE, mat)
    assert torch.equal(out, torch.zeros(6, 2))
    out.sum().backward()
    assert torch.equal(mat.grad, torch.zeros(3, 2))
    assert ME.MinkowskiDirectMaxPoolingFunction.apply(none, none, mat, 0).shape == (0, 2)


def test_direct_max_pooling():
    features = torch.tensor([[1.0, -9], [3, -8], [-5, 2], [7, 7]], requires_grad=True)
    source, target = torch.tensor([0, 1, 2, 2, 3]), torch.tensor([0, 0, 1, 1, 3])
    out = ME.MinkowskiDirectMaxPoolingFunction().apply(source, target, features, 5)
    assert out.tolist() == [[3, -8], [-5, 2], [0, 0], [7, 7], [0, 0]]
    out.backward(torch.arange(1.0, 11).reshape(5, 2))
    assert features.grad.tolist() == [[0, 0], [1, 2], [3, 4], [7, 8]]


def test_direct_max_pooling_gives_ties_to_the_first_pair():
    features = torch.ones(3, 1, requires_grad=True)
    ME.MinkowskiDirectMaxPoolingFunction.apply(torch.tensor([2, 1, 0]), torch.zeros(3).long(), features, 1).backward()
    assert features.grad.tolist() == [[0], [0], [1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ROWS[1:], COLS, torch.ones(5), SIZE, torch.ones(3, 1)), "do not fit"),
        ((ROWS, COLS, torch.ones(5), SIZE, torch.ones(4, 1)), "do not fit"),
        ((ROWS, COLS, torch.ones(5, dtype=torch.float64), SIZE, torch.ones(3, 1)), r"vals are \(5,\) torch.float64"),
        ((ROWS, COLS + 1, torch.ones(5), SIZE, torch.ones(3, 1)), "cols lie between 1 and 3, but must be 0 to 2"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        ME.spmm(*arguments)
