"""Kernel maps against dictionaries and loops, whatever the blocks and the order of the rows."""

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.minkowski import kernel_map
from pointseg.minkowski.kernel_map import KernelMap, RowOrder, layout_of
from pointseg.minkowski.neighbours import CoordinateMap
from pointseg.minkowski.packing import Bounds

CROSS = ME.RegionType.HYPER_CROSS
DEFAULT = kernel_map.CPU_BLOCK
KERNELS = {
    "odd": ME.KernelGenerator(3, dimension=3),
    "even": ME.KernelGenerator(2, dimension=3),
    "tiles": ME.KernelGenerator(2, 2, dimension=3),
    "odd strided": ME.KernelGenerator(3, 2, dilation=2, dimension=3),
    "cross": ME.KernelGenerator(5, region_type=CROSS, dimension=3),
    "125 offsets": ME.KernelGenerator(5, dimension=3),
}


def made(rows, kernel):
    """The map of a kernel on these rows, and the coordinates of its inputs and outputs."""
    x = ME.SparseTensor(torch.zeros(len(rows), 1), rows)
    manager, key = x.coordinate_manager, x.coordinate_map_key
    coarse = manager.stride(key, kernel.kernel_stride)
    return manager.kernel_map_of(key, coarse, kernel), rows, manager.get_coordinates(coarse)


def listed(pairs):
    """Pairs as sorted lists."""
    return [sorted(zip(i.tolist(), o.tolist(), strict=True)) for i, o in pairs]


def looped(inputs, outputs, offsets):
    """The definition: ``input = output + offset``."""
    row_of = {tuple(row): i for i, row in enumerate(inputs.tolist())}
    found = []
    for offset in offsets:
        near = [row_of.get((b, *(c + o for c, o in zip(space, offset, strict=True)))) for b, *space in outputs.tolist()]
        found.append(sorted((i, o) for o, i in enumerate(near) if i is not None))
    return found


@pytest.mark.parametrize("block", [1, 7, 64, DEFAULT])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_pairs_are_those_of_the_definition(kernel, block, cloud, monkeypatch):
    monkeypatch.setattr(kernel_map, "CPU_BLOCK", block)
    # Wide enough that random rows are put into another order.
    found, inputs, outputs = made(cloud(150, size=3), kernel)
    expected = looped(inputs, outputs, kernel.offsets((1, 1, 1)))
    assert listed(found.pairs) == expected
    assert (found.n_in, found.n_out, found.volume) == (len(inputs), len(outputs), len(expected))
    assert found.n_pairs == sum(map(len, expected))
    reached = [o for pairs in expected for _, o in pairs]
    assert found.inputs_per_output().tolist() == [reached.count(o) for o in range(len(outputs))]
    back = found.swapped()
    assert listed(back.pairs) == [sorted((o, i) for i, o in pairs) for pairs in expected]
    assert (back.n_in, back.n_out) == (found.n_out, found.n_in)
    assert listed(back.swapped().pairs) == expected
    assert back is found.swapped()


@pytest.mark.parametrize("block", [1, 7, DEFAULT])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_every_output_row_lists_its_pairs_in_the_order_of_the_offsets(kernel, block, cloud, monkeypatch):
    monkeypatch.setattr(kernel_map, "CPU_BLOCK", block)
    found, _, outputs = made(cloud(150, size=3), kernel)
    seen = 0
    for each in found.layout.blocks:
        own = found.own[each.start : each.stop].tolist()
        bag = found.bag[each.start : each.stop].tolist()
        starts = [*found.bag_start[each.first : each.last].tolist(), len(bag)]
        assert len(starts) == each.last - each.first + 1
        for visit in range(each.last - each.first):
            places = bag[starts[visit] : starts[visit + 1]]
            assert places == [place for place, row in enumerate(own) if row == visit]
        # Segments follow each other without a gap, and none is empty.
        edges = [each.start, *(stop for _, _, stop in each.segments)]
        assert [start for _, start, _ in each.segments] == edges[:-1]
        assert edges == sorted(set(edges))
        assert edges[-1] == each.stop
        seen += each.last - each.first
    assert seen == len(outputs)
    lengths = [stop - start for each in found.layout.blocks for _, start, stop in each.segments]
    assert found.layout.widest == max(lengths)
    assert found.layout.longest == max(each.stop - each.start for each in found.layout.blocks)


def test_tensors_and_numbers_make_the_same_map(cloud):
    found, _, _ = made(spread()[1], KERNELS["odd strided"])
    assert found.inputs.rows is not None
    again = KernelMap.of_tensors(layout_of(tuple(found.layout.numbers())), found.tensors())
    assert again.layout == found.layout
    assert listed(again.pairs) == listed(found.pairs)
    assert listed(again.swapped().pairs) == listed(found.swapped().pairs)


@pytest.mark.parametrize("block", [1, 3, DEFAULT])
def test_listed_pairs_come_back(block, monkeypatch):
    monkeypatch.setattr(kernel_map, "CPU_BLOCK", block)
    none = torch.empty(0, dtype=torch.int64)
    pairs = [(torch.tensor([4, 0, 2]), torch.tensor([6, 1, 0])), (none, none), (torch.tensor([4]), torch.tensor([6]))]
    found = KernelMap.of_pairs(5, 7, pairs)
    assert listed(found.pairs) == listed(pairs)
    assert found.inputs_per_output().tolist() == [1, 1, 0, 0, 0, 0, 2]
    assert listed(found.swapped().pairs) == [[(0, 2), (1, 0), (6, 4)], [], [(6, 4)]]


@pytest.mark.parametrize(("n_in", "n_out"), [(0, 0), (0, 4), (4, 0)])
def test_maps_of_nothing(n_in, n_out):
    none = torch.empty(0, dtype=torch.int64)
    found = KernelMap.of_pairs(n_in, n_out, [(none, none)] * 3)
    assert listed(found.pairs) == listed(found.swapped().pairs) == [[], [], []]
    assert found.n_pairs == found.layout.longest == found.layout.widest == 0
    assert found.inputs_per_output().tolist() == [0] * n_out


def test_blocks_are_larger_off_the_cpu():
    assert kernel_map.block_rows(torch.device("cpu")) < kernel_map.block_rows(torch.device("cuda"))


def spread():
    """A surface of 48 x 48 rows in lexicographic, random and Morton order."""
    x, y = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    ascending = torch.stack((x * 0, x - 20, y - 7, (x + y) // 8), dim=-1).reshape(-1, 4).int()
    code = sum(((x >> bit & 1) << (2 * bit + 1)) | ((y >> bit & 1) << (2 * bit)) for bit in range(6))
    return ascending, ascending[torch.randperm(len(ascending))], ascending[code.reshape(-1).argsort()]


def test_only_rows_in_no_order_are_put_into_one():
    ascending, random, morton = spread()
    assert CoordinateMap(ascending, Bounds.of(ascending)).order.rows is None
    assert CoordinateMap(morton, Bounds.of(morton)).order.rows is None
    # What is known to ascend is not looked at.
    assert CoordinateMap(random, Bounds.of(random), ascending=True).order.rows is None
    chosen = CoordinateMap(random, Bounds.of(random)).order
    assert torch.equal(chosen.apply(random), ascending)
    for few in (random[:0], random[:1]):
        assert CoordinateMap(few, Bounds.of(few)).order.rows is None


def test_an_order_and_its_inverse():
    rows = torch.randperm(50)
    order, features = RowOrder(rows), torch.randn(50, 3)
    assert torch.equal(order.apply(features), features[rows])
    assert torch.equal(order.apply(features)[order.numbers], features)
    assert torch.equal(order.apply(features[order.numbers]), features)
    assert torch.equal(order.numbers[rows], torch.arange(50))
    assert torch.equal(order.row(torch.tensor([3, 0], dtype=torch.int32)), rows[[3, 0]])
    own = RowOrder()
    assert own.apply(features) is features
    assert own.numbers is None
    assert own.row(torch.tensor([3, 0], dtype=torch.int32)).tolist() == [3, 0]


class Net(torch.nn.Module):
    """Maps of rows onto themselves, onto coarser rows and back."""

    def __init__(self):
        super().__init__()
        self.stem = ME.MinkowskiConvolution(3, 4, 5, dimension=3)
        self.down = ME.MinkowskiConvolution(4, 6, 3, 2, dimension=3)
        self.cell = ME.MinkowskiConvolution(6, 5, 2, 2, dimension=3)
        self.cross = ME.MinkowskiConvolution(
            5, 5, kernel_generator=ME.KernelGenerator(3, region_type=CROSS, dimension=3), dimension=3
        )
        self.up = ME.MinkowskiConvolutionTranspose(5, 4, 2, 2, dimension=3)
        self.out = ME.MinkowskiConvolutionTranspose(4, 4, 3, 2, dimension=3)
        self.same = ME.MinkowskiConvolutionTranspose(4, 2, 3, dimension=3)

    def forward(self, x):
        stem = self.stem(x)
        return self.same(self.out(self.up(self.cross(self.cell(self.down(stem))))) + stem)


def everything(net, rows, features):
    """Output, and the gradients of a weighted sum to features and kernels."""
    features = features.clone().requires_grad_()
    out = net(ME.SparseTensor(features, rows)).F
    weights = rows[:, 1:3].to(out.dtype).sin()
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), (features, *net.parameters()))]


def test_the_order_of_rows_does_not_change_results():
    ascending, *others = spread()
    net = Net().double()
    features = torch.randn(len(ascending), 3, dtype=torch.float64)
    expected = everything(net, ascending, features)
    place = {tuple(row): i for i, row in enumerate(ascending.tolist())}
    for rows in others:
        order = torch.tensor([place[tuple(row)] for row in rows.tolist()])
        out, grad, *kernels = everything(net, rows, features[order])
        for actual, wanted in zip(
            (out, grad, *kernels), (*(e[order] for e in expected[:2]), *expected[2:]), strict=True
        ):
            torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("shuffled", [False, True])
def test_blocks_do_not_change_results(shuffled, monkeypatch):
    rows = spread()[int(shuffled)][:600]
    features = torch.randn(len(rows), 3)
    net = Net()
    expected = everything(net, rows, features)
    for block in (1, 7, 64):
        monkeypatch.setattr(kernel_map, "CPU_BLOCK", block)
        first, second = everything(net, rows, features), everything(net, rows, features)
        for a, b, wanted in zip(first, second, expected, strict=True):
            assert torch.equal(a, b)
            assert (a - wanted).norm() <= 1e-5 * wanted.norm()
