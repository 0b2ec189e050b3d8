"""Misuse names what was wrong; nothing at all passes every layer."""

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski.convolve import convolve

ROWS = torch.tensor([[0, 0, 0], [0, 1, 0], [2, 0, 0]], dtype=torch.int32)
ONES = torch.ones(3, 2)
FAR = torch.tensor([[0, 5, 0], [0, 0, 0], [2, 0, 0]], dtype=torch.int32)
EDGE = torch.tensor([[0, 2**31 - 1, 0]], dtype=torch.int32)


LOW = torch.tensor([[0, -(2**31), 0]], dtype=torch.int32)
GENERATE = ME.MinkowskiGenerativeConvolutionTranspose


def x(features=ONES, **arguments):
    return ME.SparseTensor(features, ROWS, **arguments)


def conv(*arguments, **options):
    return ME.MinkowskiConvolution(*arguments, dimension=2, **options)


def pool(*arguments):
    return ME.MinkowskiGlobalSumPooling()(*arguments)


def triple():
    """One row of tensor stride 3."""
    return ME.SparseTensor(ONES[:1], ROWS[:1], tensor_stride=3)


def fetched(key):
    return ME.TensorField(ONES, ROWS).coordinate_manager.get_coordinate_field(key)


def convolved(features, kernel):
    given, layer = x(), conv(2, 2, 3)
    return convolve(features, kernel, layer.kernel_map(given, given.coordinate_map_key))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ME.SparseTensor(ONES[:1], torch.tensor([[0, 2**40, 0]])),
            r"row 0 is \[0, 1099511627776, 0\], but .* must be finite and lie between -2147483648 and 2147483647",
        ),
        (
            lambda: ME.SparseTensor(ONES[:2], torch.tensor([[0, -(2**31), -(2**31)], [2**30, 2**31 - 1, 2**31 - 1]])),
            r"span 1073741825 x 4294967296 x 4294967296 cells .* at most 9223372036854775807",
        ),
        (
            lambda: ME.SparseTensor(ONES, ROWS * 0, quantization_mode=ME.SparseTensorQuantizationMode.NO_QUANTIZATION),
            "2 of 3 coordinate rows are duplicates",
        ),
        (lambda: ME.SparseTensor(ONES, ROWS + 0.5), "coordinates are torch.float32, but a SparseTensor needs integers"),
        (lambda: x(ONES.to("meta")), "features are on meta and coordinates on cpu"),
        (lambda: x().with_features(ONES.to("meta")), "features are on meta, but the coordinate map is on cpu"),
        (lambda: conv(2, 2, 3).double()(x()), "features are torch.float32 and the kernel is torch.float64"),
        (lambda: conv(2, 2, 3).to("meta")(x()), "features are on cpu and the kernel on meta: move one of them"),
        (lambda: conv(2, 2, 1).double()(x()), "features are torch.float32 and the kernel is torch.float64"),
        (lambda: conv(2, 2, 1).to("meta")(x()), "features are on cpu and the kernel on meta: move one of them"),
        (lambda: convolved(torch.ones(3, 2), torch.ones(8, 2, 2)), r"kernel has shape \(8, 2, 2\), but .* 9 offsets"),
        (lambda: convolved(torch.ones(3, 2), torch.ones(9, 2)), r"kernel has shape \(9, 2\), but .* 9 offsets"),
        (lambda: convolved(torch.ones(4, 2), torch.ones(9, 2, 2)), r"shape \(4, 2\), but .* takes \(3, 2\): rows"),
        (lambda: convolved(torch.ones(3, 1), torch.ones(9, 2, 2)), r"shape \(3, 1\), but .* takes \(3, 2\): rows"),
        (lambda: ME.SparseTensor(ONES, ROWS - 1), "smallest batch index is -1, but column 0 must hold"),
        (
            lambda: conv(1, 1, 3, expand_coordinates=True)(ME.SparseTensor(ONES[:1, :1], EDGE)),
            "would make coordinates from",
        ),
        (lambda: x(tensor_stride=0), r"from \[0, 0\] to \[1, 0\] at tensor stride \[0, 0\], but .* pass rows"),
        (lambda: x(tensor_stride=(0, 2)), r"at tensor stride \[0, 2\], but at stride 0"),
        (lambda: conv(2, 2, 3)(pool(x()), coordinates=FAR), r"from \[0, 0\] to \[5, 0\] at tensor stride \[0, 0\]"),
        (lambda: x(tensor_stride=-2), "tensor_stride is -2, but no entry may be negative"),
        (lambda: ME.TensorField(ONES, ROWS, tensor_stride=(1, -1)), r"tensor_stride is \(1, -1\), but no entry may be"),
        (lambda: ME.TensorField(ONES, ROWS).sparse(-1), r"tensor_stride is \(-1, -1\), but no entry may be"),
        (lambda: ME.utils.quantization.unique_coordinate_map(ROWS, -3), "tensor_stride is -3, but no entry may be"),
        (lambda: x().coordinate_manager.stride(x().coordinate_map_key, 0), "stride is 0, but every entry must be at"),
        (lambda: GENERATE(2, 2, 2, 2, dimension=2)(pool(x())), r"stride is \[0, 0\], that of a global tensor, but"),
        (lambda: ME.MinkowskiPoolingTranspose(2, 2, dimension=2)(pool(x())), "a transposed layer needs a grid"),
        (lambda: pool(x(), ROWS), r"rows for the batch entries \[0, 0, 2\], but the input has rows in \[0, 2\]"),
        (lambda: pool(x(), ROWS[1:2]), r"rows for the batch entries \[0\], but the input has rows in \[0, 2\]"),
        (lambda: pool(x(), ROWS[1:] // 2), r"rows for the batch entries \[0, 1\], but the input has rows in \[0, 2\]"),
        (lambda: ME.SparseTensor(ONES[:1], LOW, tensor_stride=3), r"from \(0, -2147483649, 0\) to .* shift the input"),
        (lambda: ME.utils.quantization.unique_coordinate_map(LOW, 3), "would make coordinates from"),
        (lambda: conv(2, 2, 3, 3)(ME.SparseTensor(ONES[:1], LOW)), "would make coordinates from"),
        (lambda: triple().features_at_coordinates(LOW.double()), "would make coordinates from"),
        (lambda: ME.TensorField(ONES[:1], EDGE.double()).splat(), "must be finite and lie between"),
        (lambda: fetched(ME.CoordinateMapKey([1, 1], "lost")), r"no field \(\[1, 1\], 'lost'\)"),
        (lambda: conv(3, 2, 3)(x()), "the input has 2 channels, but this layer takes 3"),
        (lambda: ME.MinkowskiChannelwiseConvolution(3, 3, dimension=2)(x()), "2 channels, but this layer takes 3"),
        (lambda: ME.MinkowskiInstanceNorm(1)(x()), "the input has 2 channels, but this layer takes 1"),
        (lambda: x() + x(), "different coordinate managers"),
        (lambda: ME.cat(x(), x()), "different coordinate managers"),
        (lambda: ME.MinkowskiUnion()(x(), x()), "different coordinate managers"),
        (lambda: conv(2, 2, 3)(x(), x()), "different coordinate managers"),
        (lambda: ME.MinkowskiBroadcast()(x(), ME.MinkowskiGlobalSumPooling()(x())), "different coordinate managers"),
        (lambda: ME.utils.coords.get_coords_map(x(), x()), "different coordinate managers"),
        (lambda: x().features_at(1), r"batch entry 1 has no rows; the entries that have some are \[0, 2\]"),
        (lambda: x().coordinates_at(-1), "batch entry -1 has no rows"),
        (
            lambda: ME.utils.batched_coordinates([ROWS, ROWS[:0], ROWS]),
            r"clouds \[1\] of 3 have no points, so those batch entries would be missing",
        ),
        (lambda: ME.utils.sparse_collate([ROWS, ROWS[:0]], [ONES, ONES[:0]]), r"clouds \[1\] of 2 have no points"),
        (
            lambda: ME.SparseTensor(ONES, ROWS, coordinate_map_key=ME.CoordinateMapKey([1, 1])),
            "coordinates and coordinate_map_key were both given",
        ),
        (
            lambda: ME.TensorField(ONES, ROWS, quantization_mode=ME.SparseTensorQuantizationMode.NO_QUANTIZATION),
            "quantization_mode is NO_QUANTIZATION, but a field's points are reduced by",
        ),
        (lambda: ME.TensorField(ONES, ROWS[:2]), "3 feature rows and 2 coordinates"),
        (lambda: ME.cat(x(), ME.TensorField(ONES, ROWS)), "SparseTensors, or TensorFields alone"),
        (lambda: ME.dense_coordinates((2, 3)), "one axis or more"),
        (lambda: ME.MinkowskiGlobalPooling(ME.PoolingMode.LOCAL_AVG_POOLING), "must be one of PoolingMode's GLOBAL"),
        (
            lambda: ME.KernelGenerator(3, axis_types=[ME.RegionType.HYPER_CUBE], dimension=2),
            "HYPER_CUBE or HYPER_CROSS for each of the 2 axes",
        ),
        (lambda: ME.KernelGenerator(3, region_type=ME.RegionType.HYBRID, dimension=2), "axis_types is None"),
        (lambda: x().coordinate_manager.get_coordinate_field(1), r"has no field of tensor stride \[1, 1\]"),
        (lambda: ME.TensorField(ONES, ROWS).coordinate_manager.get_coordinates(1), "no map of tensor stride"),
    ],
)
def test_errors_say_what_was_wrong(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_unions_need_equal_channels():
    a = x()
    b = ME.SparseTensor(torch.ones(3, 3), ROWS + 1, coordinate_manager=a.coordinate_manager)
    with pytest.raises(InputError, match="2 and 3 channels"):
        a + b


def nothing(channels, dimension):
    features = torch.zeros(0, channels, requires_grad=True)
    return ME.SparseTensor(features, torch.zeros(0, 1 + dimension, dtype=torch.int32))


GROW = {"expand_coordinates": True}


@pytest.mark.parametrize("dimension", [1, 4])
@pytest.mark.parametrize(
    "make",
    [
        lambda d: ME.MinkowskiConvolution(4, 3, kernel_size=3, bias=True, dimension=d),
        lambda d: ME.MinkowskiConvolution(4, 3, kernel_size=1, dimension=d),
        lambda d: ME.MinkowskiConvolution(4, 3, kernel_size=3, stride=2, **GROW, dimension=d),
        lambda d: GENERATE(4, 3, kernel_size=2, dimension=d),
        lambda d: ME.MinkowskiChannelwiseConvolution(4, kernel_size=3, stride=2, dimension=d),
        lambda d: ME.MinkowskiSumPooling(3, 3, dimension=d),
        lambda d: ME.MinkowskiAvgPooling(2, 2, dimension=d),
        lambda d: ME.MinkowskiMaxPooling(3, 2, dimension=d),
        lambda d: ME.MinkowskiPoolingTranspose(3, 1, dimension=d),
        lambda d: ME.MinkowskiGlobalPooling(),
        lambda d: ME.MinkowskiGlobalMaxPooling(),
        lambda d: ME.MinkowskiBatchNorm(4),
        lambda d: ME.MinkowskiBatchNorm(4, affine=False, track_running_stats=False),
        lambda d: ME.MinkowskiSyncBatchNorm(4),
        lambda d: ME.MinkowskiInstanceNorm(4),
        lambda d: ME.MinkowskiStableInstanceNorm(4),
        lambda d: ME.MinkowskiLinear(4, 3),
        lambda d: ME.MinkowskiSinusoidal(4, 3),
        lambda d: ME.MinkowskiSoftmax(1),
        lambda d: ME.MinkowskiDropout(),
        lambda d: ME.MinkowskiStackCat(ME.MinkowskiReLU(), ME.MinkowskiTanh()),
        lambda d: ME.MinkowskiStackVar(ME.MinkowskiReLU(), ME.MinkowskiTanh()),
        lambda d: ME.modules.senet_block.SEBasicBlock(4, 4, reduction=2, D=d),
        lambda d: lambda x: ME.MinkowskiPruning()(x, torch.zeros(0, dtype=torch.bool)),
        lambda d: lambda x: x + x * x,
        lambda d: lambda x: ME.MinkowskiUnion()(x, ME.MinkowskiPruning()(x, torch.zeros(0, dtype=torch.bool))),
        lambda d: lambda x: ME.MinkowskiBroadcastMultiplication()(x, ME.MinkowskiGlobalSumPooling()(x)),
        lambda d: lambda x: x.with_features(x.features_at_coordinates(torch.zeros(0, 1 + d))),
        lambda d: lambda x: ME.TensorField(x.F, x.C.float()).sparse(2),
        lambda d: lambda x: ME.TensorField(x.F, x.C.float()).splat(),
        lambda d: lambda x: x.slice(ME.TensorField(x.F, x.C.float(), coordinate_manager=x.coordinate_manager)),
    ],
)
def test_nothing_passes_every_layer_and_back(make, dimension):
    given = nothing(4, dimension)
    out = make(dimension)(given)
    assert len(out) == 0
    out.F.sum().backward()
    assert given.F.grad.shape == (0, 4)


def test_an_empty_batch_stays_empty():
    assert ME.utils.batched_coordinates([torch.zeros(0, 3), torch.zeros(0, 3)]).shape == (0, 4)
    assert nothing(2, 3).decomposed_features == []
