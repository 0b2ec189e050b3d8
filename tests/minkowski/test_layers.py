"""Precision, memory and edge cases of the layers."""

from types import SimpleNamespace

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.models.segmentor import build_segmentor


def rows(*points):
    return torch.tensor(points, dtype=torch.int32)


def line(count):
    coordinates = torch.zeros(count, 3, dtype=torch.int32)
    coordinates[:, 1] = torch.arange(count)
    return coordinates


def test_broadcast_after_pruning_finds_the_right_entry():
    x = ME.SparseTensor(torch.tensor([[1.0], [10], [20]]), rows((0, 0, 0), (1, 0, 0), (1, 5, 0)))
    total = ME.MinkowskiGlobalSumPooling()(x)
    kept = ME.MinkowskiPruning()(x, x.C[:, 0] == 1)
    assert ME.MinkowskiBroadcast()(kept, total).F.tolist() == [[30], [30]]
    with pytest.raises(InputError, match="batch entry 0 of the input has no row"):
        ME.MinkowskiBroadcast()(x, ME.MinkowskiGlobalSumPooling()(kept))
    with pytest.raises(InputError, match="several of them in one batch entry"):
        ME.MinkowskiBroadcast()(x, x)


def test_broadcast_of_nothing():
    x = ME.SparseTensor(torch.zeros(0, 2), torch.zeros(0, 3, dtype=torch.int32))
    total = ME.MinkowskiGlobalSumPooling()(x)
    assert ME.MinkowskiBroadcastConcatenation()(x, total).F.shape == (0, 4)


def test_a_single_listed_offset_is_used():
    one = torch.tensor([[1, 0]])
    generator = ME.KernelGenerator(region_type=ME.RegionType.CUSTOM, region_offsets=one, dimension=2)
    layer = ME.MinkowskiConvolution(1, 1, kernel_generator=generator, dimension=2)
    torch.nn.init.ones_(layer.kernel)
    x = ME.SparseTensor(torch.tensor([[1.0], [2.0]]), rows((0, 0, 0), (0, 1, 0)))
    assert layer(x).F.tolist() == [[2], [0]]
    centre = ME.KernelGenerator(region_type=ME.RegionType.CUSTOM, region_offsets=one * 0, dimension=2)
    assert ME.MinkowskiConvolution(1, 4, kernel_generator=centre, dimension=2).kernel.shape == (1, 4)


def test_a_generative_layer_leaves_a_shared_generator_alone():
    generator = ME.KernelGenerator(3, 1, dimension=2)
    plain = ME.MinkowskiConvolution(1, 1, kernel_generator=generator, dimension=2)
    growing = ME.MinkowskiGenerativeConvolutionTranspose(1, 1, kernel_generator=generator, dimension=2)
    x = ME.SparseTensor(torch.ones(1, 1), rows((0, 0, 0)))
    assert len(plain(x)) == 1
    assert len(growing(x)) == 9


@pytest.mark.parametrize(
    "layer",
    [
        ME.MinkowskiConvolution(2, 2, kernel_size=3, dimension=2),
        ME.MinkowskiChannelwiseConvolution(2, kernel_size=3, dimension=2),
        ME.MinkowskiSumPooling(3, dimension=2),
        ME.MinkowskiMaxPooling(3, dimension=2),
    ],
)
def test_backward_frees_the_kernel_map_while_the_output_lives(layer):
    x = ME.SparseTensor(torch.ones(50, 2, requires_grad=True), line(50))
    out = layer(x).F
    maps = x.coordinate_manager._kernel_maps.values()
    lists = [StorageWeakRef(t.untyped_storage()) for m in maps for t in m.tensors() if len(t)]
    out.sum().backward()
    del x, maps
    assert len(lists) > 2
    assert all(ref.expired() for ref in lists)
    assert out.grad_fn is not None


def test_plain_sums_save_no_features():
    features = torch.ones(40, 8, requires_grad=True) * 1
    x = ME.SparseTensor(features, line(40))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        ME.MinkowskiSumPooling(2, 2, dimension=2)(x)
    assert not any(t.is_floating_point() for t in saved)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_instance_norm_in_half_precision(dtype):
    coordinates = rows((0, 0, 0), (0, 1, 0), (0, 2, 0), (1, 2, 0))
    values = torch.tensor([[300.0], [-300], [290], [7]]).to(dtype)
    norm = ME.MinkowskiInstanceNorm(1)
    exact = norm(ME.SparseTensor(values.double(), coordinates)).F
    out = norm(ME.SparseTensor(values, coordinates)).F
    assert out.dtype == dtype
    torch.testing.assert_close(out, exact.to(dtype))
    constant = norm(ME.SparseTensor(torch.ones(4, 1, dtype=dtype), coordinates)).F
    assert constant.tolist() == [[0]] * 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: CPU autocast leaves rsqrt alone")
def test_instance_norm_under_cuda_autocast():
    x = ME.SparseTensor(torch.randn(40, 2).half(), line(40), device="cuda")
    norm = ME.MinkowskiInstanceNorm(2).cuda()
    with torch.autocast("cuda", dtype=torch.float16):
        out = norm(x).F
    torch.testing.assert_close(out, norm(x).F)


@pytest.mark.parametrize(
    "layer", [ME.MinkowskiAvgPooling(2, 2, dimension=2), ME.MinkowskiAvgPooling(3, 1, dimension=2)]
)
def test_averages_do_not_overflow_in_fp16(layer):
    coordinates = rows((0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1))
    x = ME.SparseTensor(torch.full((4, 1), 30000.0, dtype=torch.float16), coordinates)
    out = layer(x).F
    assert out.dtype == torch.float16
    assert (out == 30000).all()


def test_autocast_around_backward_changes_nothing():
    layer = ME.MinkowskiConvolution(32, 32, kernel_size=3, dimension=2)
    features = torch.randn(500, 32, requires_grad=True)
    out = layer(ME.SparseTensor(features, line(500))).F
    upstream = torch.randn_like(out)
    wanted = (features, layer.kernel)
    outside = torch.autograd.grad(out, wanted, upstream, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = torch.autograd.grad(out, wanted, upstream)
    assert all(torch.equal(a, b) for a, b in zip(outside, inside, strict=True))


def test_repeated_rows_are_gathered_with_an_ordered_backward():
    # The gradient of indexing adds with atomics on several threads; that of index_select goes row by row.
    x = ME.SparseTensor(torch.randn(2, 3, requires_grad=True), rows((0, 0, 0), (0, 1, 0)))
    field = ME.TensorField(torch.ones(4, 1), torch.rand(4, 3) * 0.9 * torch.tensor([0, 1, 1]))
    voxels = field.sparse().with_features(x.F[:1])
    spread = ME.MinkowskiBroadcast()(x, ME.MinkowskiGlobalSumPooling()(x)).F
    for out in (voxels.slice(field).F, x.features_at_coordinates(field.C), spread):
        names, queue = set(), [out.grad_fn]
        while queue:
            node = queue.pop()
            names.add(node.name())
            queue += [parent for parent, _ in node.next_functions if parent is not None]
        assert "IndexSelectBackward0" in names


def test_a_segmentor_refuses_duplicate_rows():
    net = build_segmentor("MinkUNet14", 3, 5, planes=(8,) * 8, init_dim=8, stem_kernel=3).eval()
    coord = torch.cat((torch.zeros(60, 1, dtype=torch.int32), torch.arange(180, dtype=torch.int32).view(60, 3)), dim=1)
    features, logits = net(SimpleNamespace(coord=coord, features=torch.ones(60, 3)))
    assert (len(features), len(logits)) == (60, 60)
    coord[1] = coord[0]
    with pytest.raises(InputError, match="1 of 60 coordinate rows are duplicates"):
        net(SimpleNamespace(coord=coord, features=torch.ones(60, 3)))
