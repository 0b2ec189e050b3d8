"""Sparse tensors to dense and torch.sparse tensors and back."""

import pytest
import torch
from torch import nn

import pointseg.minkowski as ME
from pointseg.errors import InputError


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_dense_round_trip(dimension):
    image = torch.randn(2, 3, *range(3, 3 + dimension)).relu() * (torch.rand(2, 1, *range(3, 3 + dimension)) > 0.5)
    x = ME.to_sparse(image)
    assert len(x) == int(image.any(dim=1).sum())
    back, low, stride = x.dense(shape=image.shape)
    assert torch.equal(back, image)
    assert low.tolist() == [[0] * dimension]
    assert stride.tolist() == [1] * dimension
    assert torch.equal(ME.to_sparse_all(image).dense(shape=image.shape)[0], image)
    assert len(ME.to_sparse_all(image)) == image[:, 0].numel()


def test_to_sparse_formats():
    image = torch.randn(2, 3, 4, 5)
    expected = ME.to_sparse(image)
    other = ME.to_sparse(image.movedim(1, -1), format="BXXC")
    assert torch.equal(other.C, expected.C)
    assert torch.equal(other.F, expected.F)
    chosen = torch.tensor([[1, 3, 4], [0, 0, 2]], dtype=torch.int32)
    assert torch.equal(ME.to_sparse(image, coordinates=chosen).F, torch.stack([image[1, :, 3, 4], image[0, :, 0, 2]]))
    for bad in ("XBCX", "BXXX", "BCX", "BCXY"):
        with pytest.raises(InputError, match="one letter an axis"):
            ME.to_sparse(image, format=bad)


def test_gradients_pass_through_both_ways():
    image = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    coordinates = ME.dense_coordinates(image.shape)
    assert torch.equal(coordinates, torch.ones(2, 4, 4).nonzero().int())
    network = nn.Sequential(
        ME.MinkowskiToSparseTensor(remove_zeros=False, coordinates=coordinates),
        ME.MinkowskiConvolution(3, 5, kernel_size=3, dimension=2),
        ME.MinkowskiToDenseTensor(torch.Size((2, 5, 4, 4))),
    ).double()
    # Kernel cells run first axis fastest here, last axis fastest in torch.
    weight = network[1].kernel.reshape(3, 3, 3, 5).permute(3, 2, 1, 0)
    expected = nn.functional.conv2d(image, weight, padding=1)
    torch.testing.assert_close(network(image), expected)
    ours, theirs = (torch.autograd.grad(out.square().sum(), image)[0] for out in (network(image), expected))
    torch.testing.assert_close(ours, theirs)
    assert ME.MinkowskiToFeature()(ME.to_sparse(image)).shape == (32, 3)


def test_conversion_layers_check_their_input():
    with pytest.raises(InputError, match="remove_zeros is True"):
        ME.MinkowskiToSparseTensor(coordinates=torch.zeros(1, 3))
    with pytest.raises(InputError, match="the input is list"):
        ME.MinkowskiToSparseTensor()([1])
    field = ME.TensorField(torch.ones(2, 1), torch.tensor([[0, 0.2], [0, 0.4]]))
    assert len(ME.MinkowskiToSparseTensor()(field)) == 1


def strided():
    rows = torch.tensor([[0, -4, 2], [1, 0, 6]], dtype=torch.int32)
    return ME.SparseTensor(torch.tensor([[1.0], [2.0]]), rows, tensor_stride=2)


def test_dense_of_a_strided_tensor():
    x = strided()
    image, low, stride = x.dense(min_coordinate=torch.IntTensor([-4, 2]))
    assert image.shape == (2, 1, 3, 3)
    assert image.nonzero().tolist() == [[0, 0, 0, 0], [1, 0, 2, 2]]
    assert (low.tolist(), stride.tolist()) == ([[-4, 2]], [2, 2])
    apart, _, _ = x.dense(min_coordinate=torch.IntTensor([-4, 2]), contract_stride=False)
    assert apart.nonzero().tolist() == [[0, 0, 0, 0], [1, 0, 4, 4]]
    for arguments, message in (
        ({}, "negative: pass min_coordinate="),
        ({"min_coordinate": torch.IntTensor([-3, 0])}, "off the grid"),
        ({"min_coordinate": 0}, "outside the shape"),
        ({"min_coordinate": torch.IntTensor([-4, 2]), "shape": torch.Size((2, 1, 3, 2))}, "outside the shape"),
        ({"min_coordinate": torch.IntTensor([-4, 2]), "shape": torch.Size((1, 1, 3, 3))}, "in 2 batch entries"),
        ({"min_coordinate": 0, "shape": torch.Size((2, 1, 3))}, "it must have 4"),
    ):
        with pytest.raises(InputError, match=message):
            x.dense(**arguments)


def test_torch_sparse_of_a_strided_tensor():
    x = strided()
    tensor, low, stride = x.sparse()
    assert tensor.shape == (2, 3, 3, 1)
    assert tensor.to_dense()[..., 0].nonzero().tolist() == [[0, 0, 0], [1, 2, 2]]
    assert (low.tolist(), stride.tolist()) == ([[-2, 1]], [2, 2])
    wide, low, _ = x.sparse(torch.IntTensor([-6, 0]), torch.IntTensor([4, 6]), contract_coords=False)
    assert wide.shape == (2, 11, 7, 1)
    assert wide.to_dense()[1, 6, 6] == 2
    assert low.tolist() == [[-6, 0]]
    with pytest.raises(InputError, match="widen them"):
        x.sparse(max_coords=torch.IntTensor([-2, 6]))
    assert x.C.tolist() == [[0, -4, 2], [1, 0, 6]]


def test_empty_conversions():
    x = ME.SparseTensor(torch.zeros(0, 2), torch.zeros(0, 3, dtype=torch.int32))
    assert x.dense()[0].shape == (0, 2, 0, 0)
    assert torch.equal(x.dense(shape=torch.Size((1, 2, 3, 3)))[0], torch.zeros(1, 2, 3, 3))
    assert x.sparse()[0].shape == (0, 0, 0, 2)
    assert len(ME.to_sparse(torch.zeros(1, 2, 3, 3))) == 0
