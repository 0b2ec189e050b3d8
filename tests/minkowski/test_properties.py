"""What must hold for every cloud: moving it moves the output, and the order of its rows means nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import pointseg.minkowski as ME

REPEATABLE = settings(max_examples=12, deadline=None, derandomize=True)
DIMENSION = st.integers(1, 4)
SEED = st.integers(0, 2**20)


class Net(nn.Module):
    """Every kind of layer that looks at neighbours, down two levels and up again."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.stem = ME.MinkowskiConvolution(2, 4, kernel_size=3, dimension=dimension)
        self.down = ME.MinkowskiConvolution(4, 4, kernel_size=2, stride=2, dimension=dimension)
        self.max = ME.MinkowskiMaxPooling(3, 2, dimension=dimension)
        self.depth = ME.MinkowskiChannelwiseConvolution(4, kernel_size=3, dilation=2, dimension=dimension)
        self.up = ME.MinkowskiConvolutionTranspose(4, 4, kernel_size=3, stride=2, dimension=dimension)
        self.grow = ME.MinkowskiGenerativeConvolutionTranspose(4, 4, kernel_size=2, stride=2, dimension=dimension)
        self.norm = ME.MinkowskiInstanceNorm(4)
        self.glob = ME.MinkowskiGlobalMaxPooling()
        self.add = ME.MinkowskiBroadcastAddition()

    def forward(self, x: ME.SparseTensor) -> ME.SparseTensor:
        stem = self.stem(x)
        low = self.depth(self.max(self.down(stem)))
        middle = self.up(low)
        total = self.add(self.grow(middle) + stem, self.glob(low))
        return self.norm(total)


def random_cloud(dimension: int, seed: int) -> tuple[Tensor, Tensor]:
    """Distinct rows (V, 1+D) in random order, and features (V, 2)."""
    generator = torch.Generator().manual_seed(seed)
    reach = {1: 40, 2: 8, 3: 4, 4: 3}[dimension]
    space = torch.randint(-reach, reach, (60, dimension), generator=generator)
    batch = torch.randint(0, 3, (60, 1), generator=generator)
    rows = torch.unique(torch.cat((batch, space), dim=1), dim=0)
    rows = rows[torch.randperm(len(rows), generator=generator)].int()
    return rows, torch.randn(len(rows), 2, generator=generator, dtype=torch.float64)


def by_row(x: ME.SparseTensor) -> dict[tuple[int, ...], Tensor]:
    return dict(zip(map(tuple, x.C.tolist()), x.F, strict=True))


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    torch.testing.assert_close(torch.stack([a[row] for row in a]), torch.stack([b[row] for row in a]))


@REPEATABLE
@given(dimension=DIMENSION, seed=SEED, shift=st.lists(st.integers(-50_000, 50_000), min_size=4, max_size=4))
def test_moving_the_input_moves_the_output(dimension, seed, shift):
    rows, features = random_cloud(dimension, seed)
    # Multiples of the coarsest stride: other shifts change which rows share a cell.
    move = torch.tensor([0, *[4 * s for s in shift[:dimension]]], dtype=torch.int32)
    net = Net(dimension).double()
    here = by_row(net(ME.SparseTensor(features, rows)))
    there = by_row(net(ME.SparseTensor(features, rows + move)))
    assert_same({tuple((torch.tensor(row) + move).tolist()): value for row, value in here.items()}, there)


@REPEATABLE
@given(dimension=DIMENSION, seed=SEED)
def test_the_order_of_rows_means_nothing(dimension, seed):
    rows, features = random_cloud(dimension, seed)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    net = Net(dimension).double()
    a, b = features.clone().requires_grad_(), features[order].requires_grad_()
    first, second = net(ME.SparseTensor(a, rows)), net(ME.SparseTensor(b, rows[order]))
    assert_same(by_row(first), by_row(second))
    first.F.square().mul(torch.arange(4.0)).sum().backward()
    second.F.square().mul(torch.arange(4.0)).sum().backward()
    torch.testing.assert_close(a.grad[order], b.grad)


@REPEATABLE
@given(dimension=DIMENSION, seed=SEED)
def test_batch_entries_do_not_see_each_other(dimension, seed):
    rows, features = random_cloud(dimension, seed)
    net = Net(dimension).double()
    together = by_row(net(ME.SparseTensor(features, rows)))
    apart = {}
    for entry in rows[:, 0].unique():
        own = rows[:, 0] == entry
        apart |= by_row(net(ME.SparseTensor(features[own], rows[own])))
    assert_same(together, apart)


@REPEATABLE
@given(dimension=DIMENSION, seed=SEED, stride=st.integers(1, 3))
def test_voxels_of_a_field_are_the_means_of_their_points(dimension, seed, stride):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(80, dimension, generator=generator) * 3
    batch = torch.randint(0, 2, (80, 1), generator=generator)
    features = torch.randn(80, 2, generator=generator, dtype=torch.float64)
    field = ME.TensorField(features, torch.cat((batch, points), dim=1))
    sparse = field.sparse(stride)
    cells = torch.cat((batch, (points / stride).floor() * stride), dim=1).int()
    for row, value in zip(sparse.C, sparse.F, strict=True):
        torch.testing.assert_close(value, features[(cells == row).all(dim=1)].mean(dim=0))
    assert torch.equal(sparse.slice(field).F, sparse.F[field.inverse_mapping(sparse.coordinate_map_key)])
    assert torch.equal(sparse.C[field.inverse_mapping(sparse.coordinate_map_key)], cells)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_union_arithmetic_equals_dictionaries(dimension):
    rows, features = random_cloud(dimension, 1)
    others, values = random_cloud(dimension, 2)
    a = ME.SparseTensor(features, rows)
    b = ME.SparseTensor(values, others, coordinate_manager=a.coordinate_manager)
    left, right = by_row(a), by_row(b)
    nothing = torch.zeros(2, dtype=torch.float64)
    every = left.keys() | right.keys()
    assert_same(by_row(a + b), {row: left.get(row, nothing) + right.get(row, nothing) for row in every})
    assert_same(by_row(a - b), {row: left.get(row, nothing) - right.get(row, nothing) for row in every})
    products = {row: left[row] * right.get(row, nothing + 1) if row in left else nothing for row in every}
    assert_same(by_row(a * b), products)
    assert_same(
        by_row(ME.MinkowskiUnion()(a, b, a)), {r: 2 * left.get(r, nothing) + right.get(r, nothing) for r in every}
    )
