"""Kernel shapes and their description."""

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError

CUBE, CROSS = ME.RegionType.HYPER_CUBE, ME.RegionType.HYPER_CROSS


def test_a_hybrid_kernel_is_a_box_with_arms():
    kernel = ME.KernelGenerator((3, 3, 5), dilation=2, axis_types=[CUBE, CUBE, CROSS], dimension=3)
    box = [(a, b, 0) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    arms = [(0, 0, c) for c in (-2, -1, 1, 2)]
    assert sorted(kernel.unit_offsets) == sorted(box + arms)
    # The centre first, then axis by axis, as MinkowskiEngine lists them.
    assert kernel.unit_offsets[:4] == ((0, 0, 0), (-1, 0, 0), (1, 0, 0), (0, -1, 0))
    assert kernel.unit_offsets[-4:] == tuple(arms)
    assert kernel.region_type is ME.RegionType.HYBRID
    assert kernel.kernel_volume == 13
    kind, offsets, volume = kernel.get_kernel([2, 2, 2], False)
    assert (kind, volume) == (ME.RegionType.CUSTOM, 13)
    assert offsets.tolist() == [[4 * o for o in offset] for offset in kernel.unit_offsets]


def test_a_hybrid_of_boxes_is_the_box(cloud):
    rows = cloud(60)
    x = ME.SparseTensor(torch.randn(len(rows), 2, dtype=torch.float64), rows)
    cube = ME.MinkowskiConvolution(2, 2, kernel_size=3, dimension=3).double()
    generator = ME.KernelGenerator(3, axis_types=[CUBE] * 3, dimension=3)
    hybrid = ME.MinkowskiConvolution(2, 2, kernel_generator=generator, dimension=3).double()
    place = [cube.kernel_generator.unit_offsets.index(offset) for offset in generator.unit_offsets]
    hybrid.kernel.data = cube.kernel.data[place]
    torch.testing.assert_close(hybrid(x).F, cube(x).F)


def test_a_cross_lists_its_arms_as_minkowski_engine_does():
    # The later source's rule for arm number i of an axis of radius r: i + 1 for i < r, else i - 2 r.
    sizes, radii = (5, 1, 7), (2, 0, 3)
    expected = [(0, 0, 0)]
    for axis, radius in enumerate(radii):
        for i in range(2 * radius):
            step = i + 1 if i < radius else i - 2 * radius
            expected.append(tuple(step if a == axis else 0 for a in range(3)))
    made = ME.KernelGenerator(sizes, region_type=CROSS, dimension=3).unit_offsets
    assert made == tuple(expected)
    assert [offset[0] for offset in made[:5]] == [0, 1, 2, -2, -1]


def test_shapes_may_be_given_by_number():
    for kind in (CUBE, CROSS):
        named = ME.KernelGenerator(3, region_type=kind, dimension=3)
        numbered = ME.KernelGenerator(3, region_type=kind.value, dimension=3)
        assert numbered.region_type is kind
        assert numbered.unit_offsets == named.unit_offsets
    listed = ME.KernelGenerator(region_type=2, region_offsets=torch.tensor([[1, 0]]), dimension=2)
    assert listed.unit_offsets == ((1, 0),)
    named, numbered = (ME.KernelGenerator(3, axis_types=kinds, dimension=2) for kinds in ([CUBE, CROSS], [0, 1]))
    assert numbered.unit_offsets == named.unit_offsets


def test_volumes():
    assert ME.get_kernel_volume(CUBE, [3, 2, 1], None, None, 3) == 6
    assert ME.get_kernel_volume(CROSS, 5, None, None, 3) == 13
    assert ME.get_kernel_volume(ME.RegionType.CUSTOM, -1, torch.eye(3, dtype=torch.int32), None, 3) == 3


def test_the_layer_decides_whether_coordinates_expand(cloud):
    rows = cloud(20)
    x = ME.SparseTensor(torch.randn(len(rows), 2), rows)
    generator = ME.KernelGenerator(3, expand_coordinates=True, dimension=3)
    assert len(ME.MinkowskiConvolution(2, 2, kernel_generator=generator, dimension=3)(x)) == len(x)
    generator = ME.KernelGenerator(3, dimension=3)
    layer = ME.MinkowskiConvolution(2, 2, kernel_generator=generator, expand_coordinates=True, dimension=3)
    assert len(layer(x)) > len(x)
    assert not generator.expand_coordinates


def test_strides_of_one_are_reported_as_minkowski_engine_does():
    assert ME.KernelGenerator(3, 1, dimension=2).requires_strided_coordinates
    assert not ME.KernelGenerator(3, (1, 2), dimension=2).requires_strided_coordinates


def test_expanding_with_a_stride_keeps_what_lies_on_the_coarser_grid():
    x = ME.SparseTensor(torch.tensor([[1.0], [2.0]]), torch.tensor([[0, 0], [0, 5]], dtype=torch.int32))
    for size, expected in ((3, {0: 10, 4: 200, 6: 2}), (2, {0: 1, 6: 0})):
        layer = ME.MinkowskiConvolution(1, 1, size, 2, expand_coordinates=True, dimension=1)
        layer.kernel.data = torch.tensor([1.0, 10, 100])[:size].reshape(-1, 1, 1)
        y = layer(x)
        assert dict(zip(y.C[:, 1].tolist(), y.F[:, 0].tolist(), strict=True)) == expected
        assert y.tensor_stride == [2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 3}, "dimension is -1"),
        ({"kernel_size": 3, "dimension": 5}, "dimension is 5"),
        ({"dimension": 3}, "kernel_size is"),
        ({"kernel_size": (3, 3), "dimension": 3}, "one int or 3 ints"),
        ({"kernel_size": 3, "stride": 0, "dimension": 3}, "stride is"),
        ({"kernel_size": 3, "dilation": 0, "dimension": 3}, "dilation is"),
        ({"kernel_size": 2, "region_type": ME.RegionType.HYPER_CROSS, "dimension": 3}, "odd sizes"),
        ({"region_type": ME.RegionType.CUSTOM, "dimension": 3}, "region_offsets has shape None"),
        ({"kernel_size": 3, "region_type": "cube", "dimension": 3}, r"'cube', but it must be .* HYPER_CUBE \(0\)"),
        ({"kernel_size": 3, "region_type": 4, "dimension": 3}, "region_type is 4, but it must be"),
        ({"kernel_size": 3, "axis_types": [0, "arm"], "dimension": 2}, "region_type is 'arm', but it must be"),
        (
            {"region_type": ME.RegionType.CUSTOM, "region_offsets": torch.zeros(2, 3).int(), "dimension": 3},
            "names an offset twice",
        ),
    ],
)
def test_kernel_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        ME.KernelGenerator(**arguments)


def test_custom_offsets_equal_the_cube(cloud):
    rows = cloud()
    x = ME.SparseTensor(torch.randn(len(rows), 3), rows)
    cube = ME.MinkowskiConvolution(3, 4, kernel_size=3, dimension=3)
    listed = ME.KernelGenerator(
        region_type=ME.RegionType.CUSTOM,
        region_offsets=torch.tensor(cube.kernel_generator.offsets((1, 1, 1))),
        dimension=3,
    )
    custom = ME.MinkowskiConvolution(3, 4, kernel_generator=listed, dimension=3)
    custom.load_state_dict(cube.state_dict())
    assert torch.equal(custom(x).F, cube(x).F)
