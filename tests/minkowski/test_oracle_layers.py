"""Values and gradients of every layer against recordings of MinkowskiEngine 0.5.4."""

import pytest
import torch
from oracle_checks import DTYPES, by_row, check, close, load_parameters, source
from torch import nn

import pointseg.minkowski as ME

# name -> (layer on the input or None, arguments of the layer under test)
CONVOLUTIONS = {
    "conv_k1_s1": (None, {"kernel_size": 1}),
    "conv_k1_s2": (None, {"kernel_size": 1, "stride": 2}),
    "conv_k2_s1": (None, {"kernel_size": 2}),
    "conv_k2_s2": (None, {"kernel_size": 2, "stride": 2}),
    "conv_k311_s1": (None, {"kernel_size": (3, 1, 5)}),
    "conv_k3_s1": (None, {"kernel_size": 3}),
    "conv_k3_s1_cross": (None, {"kernel_size": 3, "region_type": ME.RegionType.HYPER_CROSS}),
    "conv_k3_s1_dil2": (None, {"kernel_size": 3, "dilation": 2}),
    "conv_k3_s1_expand": (None, {"kernel_size": 3, "expand_coordinates": True}),
    "conv_k3_s1_on_stride2": ({"kernel_size": 2, "stride": 2}, {"kernel_size": 3}),
    "conv_k3_s2": (None, {"kernel_size": 3, "stride": 2}),
    "conv_k3_s212": (None, {"kernel_size": 3, "stride": (2, 1, 2)}),
    "conv_k3_s2_dil2": (None, {"kernel_size": 3, "stride": 2, "dilation": 2}),
    "conv_k3_s3": (None, {"kernel_size": 3, "stride": 3}),
    "conv_k4_s2": (None, {"kernel_size": 4, "stride": 2}),
    "conv_k5_s1_stem": (None, {"kernel_size": 5}),
    "conv2d_k3_s1": (None, {"kernel_size": 3}),
    "conv2d_k3_s2": (None, {"kernel_size": 3, "stride": 2}),
    "conv4d_k3_s1": (None, {"kernel_size": 3}),
}
TRANSPOSED = {
    "convtr_k2_s2_after_k2s2": (2, 2, ME.MinkowskiConvolutionTranspose),
    "convtr_k3_s2_after_k2s2": (2, 3, ME.MinkowskiConvolutionTranspose),
    "convtr_k3_s2_after_k3s2": (3, 3, ME.MinkowskiConvolutionTranspose),
    "genconvtr_k2_s2_after_k2s2": (2, 2, ME.MinkowskiGenerativeConvolutionTranspose),
    "genconvtr_k3_s2_after_k2s2": (2, 3, ME.MinkowskiGenerativeConvolutionTranspose),
}
POOLINGS = {
    "sum": ME.MinkowskiSumPooling,
    "avg": ME.MinkowskiAvgPooling,
    "max": ME.MinkowskiMaxPooling,
}
GLOBAL = {
    "sum": ME.MinkowskiGlobalSumPooling,
    "avg": ME.MinkowskiGlobalAvgPooling,
    "max": ME.MinkowskiGlobalMaxPooling,
}


def convolution(data: dict, options: dict, cls=ME.MinkowskiConvolution) -> nn.Module:
    dimension = data["in_coords"].shape[1] - 1
    kernel = data["param_kernel"]
    shape = {name: value for name, value in options.items() if name != "expand_coordinates"}
    growth = {name: value for name, value in options.items() if name == "expand_coordinates"}
    generator = ME.KernelGenerator(dimension=dimension, **shape)
    bias = "param_bias" in data
    return cls(*kernel.shape[-2:], bias=bias, kernel_generator=generator, dimension=dimension, **growth)


@DTYPES
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(oracle, name, dtype):
    data = oracle(name)
    before, options = CONVOLUTIONS[name]
    x, features = source(data, dtype)
    if before is not None:
        first = ME.MinkowskiConvolution(*data["pre_kernel"].shape[1:], **before, dimension=3)
        load_parameters(first, data, dtype, prefix="pre_")
        x = first(x)
        close(by_row(x.C, x.F.detach()), by_row(data["mid_coords"], data["mid_feats"]), dtype)
    layer = convolution(data, options)
    load_parameters(layer, data, dtype)
    out = layer(x)
    check(out, features, layer, data, dtype)
    if options.get("stride", 1) == 1 and not options.get("expand_coordinates"):
        assert out.C is x.C


@DTYPES
@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution(oracle, name, dtype):
    data = oracle(name)
    first_size, size, cls = TRANSPOSED[name]
    x, features = source(data, dtype)
    first = ME.MinkowskiConvolution(*data["pre_kernel"].shape[1:], kernel_size=first_size, stride=2, dimension=3)
    load_parameters(first, data, dtype, prefix="pre_")
    layer = cls(*data["param_kernel"].shape[1:], kernel_size=size, stride=2, dimension=3)
    load_parameters(layer, data, dtype)
    out = layer(first(x))
    check(out, features, layer, data, dtype)
    if cls is ME.MinkowskiConvolutionTranspose:
        assert torch.equal(out.C, x.C)


@DTYPES
def test_convolution_at_given_coordinates(oracle, dtype):
    data = oracle("conv_k3_to_given_coords")
    x, features = source(data, dtype)
    layer = convolution(data, {"kernel_size": 3})
    load_parameters(layer, data, dtype)
    check(layer(x, torch.tensor(data["out_coords"])), features, layer, data, dtype)


@DTYPES
def test_channelwise_convolution(oracle, dtype):
    data = oracle("chconv_k3_s1")
    x, features = source(data, dtype)
    layer = ME.MinkowskiChannelwiseConvolution(4, kernel_size=3, dimension=3)
    load_parameters(layer, data, dtype)
    check(layer(x), features, layer, data, dtype)


@DTYPES
def test_batch_norm_in_training(oracle, dtype):
    data = oracle("batchnorm_train")
    x, features = source(data, dtype)
    layer = ME.MinkowskiBatchNorm(4)
    load_parameters(layer, data, dtype)
    check(layer(x), features, layer, data, dtype)


@DTYPES
def test_instance_norm(oracle, dtype):
    data = oracle("instancenorm")
    x, features = source(data, dtype)
    layer = ME.MinkowskiInstanceNorm(4)
    load_parameters(layer, data, dtype)
    check(layer(x), features, layer, data, dtype)


@DTYPES
@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (3, 2)])
def test_pooling(oracle, kind, size, stride, dtype):
    data = oracle(f"pool_{kind}_k{size}_s{stride}")
    x, features = source(data, dtype)
    check(POOLINGS[kind](size, stride, dimension=3)(x), features, None, data, dtype)


@DTYPES
def test_pooling_transpose(oracle, dtype):
    data = oracle("pooltr_k2_s2_after_k2s2")
    x, features = source(data, dtype)
    first = ME.MinkowskiConvolution(4, 5, kernel_size=2, stride=2, dimension=3)
    load_parameters(first, data, dtype, prefix="pre_")
    check(ME.MinkowskiPoolingTranspose(2, 2, dimension=3)(first(x)), features, None, data, dtype)


@DTYPES
@pytest.mark.parametrize("kind", GLOBAL)
def test_global_pooling(oracle, kind, dtype):
    data = oracle(f"globalpool_{kind}")
    x, features = source(data, dtype)
    check(GLOBAL[kind]()(x), features, None, data, dtype)


@DTYPES
@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("add", ME.MinkowskiBroadcastAddition),
        ("mul", ME.MinkowskiBroadcastMultiplication),
        ("cat", ME.MinkowskiBroadcastConcatenation),
    ],
)
def test_broadcast(oracle, kind, layer, dtype):
    data = oracle(f"broadcast_{kind}_globalavg")
    x, features = source(data, dtype)
    check(layer()(x, ME.MinkowskiGlobalAvgPooling()(x)), features, None, data, dtype)


@DTYPES
def test_pruning(oracle, dtype):
    data = oracle("pruning")
    x, features = source(data, dtype)
    check(ME.MinkowskiPruning()(x, torch.tensor(data["mask"])), features, None, data, dtype)


@DTYPES
@pytest.mark.parametrize("stride", [1, 2])
def test_interpolation(oracle, stride, dtype):
    data = oracle(f"interpolation_ts{stride}")
    features = torch.tensor(data["sparse_feats"], dtype=dtype, requires_grad=True)
    x = ME.SparseTensor(features, torch.tensor(data["sparse_coords"]), tensor_stride=stride)
    query = torch.tensor(data["query"], dtype=dtype)
    out, (rows, queries), weights = ME.MinkowskiInterpolation(return_kernel_map=True, return_weights=True)(x, query)
    close(out, data["out"], dtype)
    ours = {(int(r), int(q)): float(w) for r, q, w in zip(rows, queries, weights, strict=True) if w > 1e-6}
    triples = zip(data["in_map"], data["out_map"], data["weights"], strict=True)
    theirs = {(int(r), int(q)): float(w) for r, q, w in triples if w > 1e-6}
    assert ours.keys() == theirs.keys()
    assert ours == pytest.approx(theirs, abs=1e-5)
    if stride == 1:
        out.backward(torch.tensor(data["grad_out"], dtype=dtype))
        close(features.grad, data["grad_in"], dtype)


@DTYPES
@pytest.mark.parametrize("name", ["union_add", "union_sub", "union_mul", "union_div", "MinkowskiUnion"])
def test_union(oracle, name, dtype):
    data = oracle(name)
    a, a_features = source(data, dtype, "a")
    b_features = torch.tensor(data["b_feats"], dtype=dtype, requires_grad=True)
    b = ME.SparseTensor(b_features, torch.tensor(data["b_coords"]), coordinate_manager=a.coordinate_manager)
    operations = {
        "union_add": lambda: a + b,
        "union_sub": lambda: a - b,
        "union_mul": lambda: a * b,
        "union_div": lambda: a / b,
        "MinkowskiUnion": lambda: ME.MinkowskiUnion()(a, b),
    }
    check(operations[name](), a_features, None, data | {"grad_in": data["grad_a"]}, dtype)
    close(b_features.grad, data["grad_b"], dtype)
