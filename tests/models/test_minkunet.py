"""MinkUNet: published names and shapes, row order, learning."""

import pytest
import torch
from torch import Tensor

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.models.minkunet import MODELS, MinkUNet14, MinkUNet14A, MinkUNet18A, MinkUNet34C, MinkUNet50


def cloud(count: int = 400, size: int = 12, dimension: int = 3) -> Tensor:
    torch.manual_seed(0)
    batch = torch.randint(0, 2, (count, 1))
    rows = torch.unique(torch.cat((batch, torch.randint(-size, size, (count, dimension))), dim=1), dim=0)
    return rows[torch.randperm(len(rows))].int()


def published_shapes(c_in: int, classes: int) -> dict[str, tuple[int, ...]]:
    """State dict of MinkUNet14A, written out from the architecture: planes 32 64 128 256 | 128 128 96 96, stem 32."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        for entry in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{entry}"] = (channels,)
        shapes[f"{name}.bn.num_batches_tracked"] = ()

    def block(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.0.conv1.kernel"] = (27, inputs, outputs)
        norm(f"{name}.0.norm1", outputs)
        shapes[f"{name}.0.conv2.kernel"] = (27, outputs, outputs)
        norm(f"{name}.0.norm2", outputs)
        if inputs != outputs:
            shapes[f"{name}.0.downsample.0.kernel"] = (inputs, outputs)
            norm(f"{name}.0.downsample.1", outputs)

    shapes["conv0p1s1.kernel"] = (125, c_in, 32)
    norm("bn0", 32)
    for level, (name, inputs, outputs) in enumerate(
        [("conv1p1s2", 32, 32), ("conv2p2s2", 32, 64), ("conv3p4s2", 64, 128), ("conv4p8s2", 128, 256)], start=1
    ):
        shapes[f"{name}.kernel"] = (8, inputs, inputs)
        norm(f"bn{level}", inputs)
        block(f"block{level}", inputs, outputs)
    for level, (name, inputs, outputs, skip) in enumerate(
        [
            ("convtr4p16s2", 256, 128, 128),
            ("convtr5p8s2", 128, 128, 64),
            ("convtr6p4s2", 128, 96, 32),
            ("convtr7p2s2", 96, 96, 32),
        ],
        start=4,
    ):
        shapes[f"{name}.kernel"] = (8, inputs, outputs)
        norm(f"bntr{level}", outputs)
        block(f"block{level + 1}", outputs + skip, outputs)
    shapes["final.kernel"] = (96, classes)
    shapes["final.bias"] = (1, classes)
    return shapes


def test_state_dict_has_the_published_names_and_shapes():
    state = MinkUNet14A(3, 13).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == published_shapes(3, 13)


@pytest.mark.parametrize("name", MODELS)
def test_every_class_builds(name):
    cls = MODELS[name]
    planes = None if cls.PLANES else (32, 64, 128, 256, 128, 128, 96, 96)
    with torch.device("meta"):
        network = cls(3, 13, planes=planes)
    blocks = [len(getattr(network, f"block{level}")) for level in range(1, 9)]
    depth = name.removeprefix("MinkUNet").rstrip("ABCD")
    expected = {"14": [1] * 8, "18": [2] * 8, "34": [2, 3, 4, 6, 2, 2, 2, 2], "50": [2, 3, 4, 6, 2, 2, 2, 2]}
    assert blocks == expected.get(depth, [2, 3, 4, 23, 2, 2, 2, 2])
    assert network.feature_dim == network.final.in_channels
    last = {"A": 96, "B": 128, "C": 128, "D": 384}
    if name[-1] in last and depth != "34":
        assert network.feature_dim == last[name[-1]]


def test_parameter_counts():
    # 37.9 M is the figure the literature prints for MinkUNet34C (Point Transformer V3, efficiency table).
    with torch.device("meta"):
        count = sum(p.numel() for p in MinkUNet34C(3, 20).parameters())
    assert round(count / 1e6, 1) == 37.9
    with torch.device("meta"):
        assert sum(p.numel() for p in MinkUNet18A(3, 20).parameters()) > sum(
            p.numel() for p in MinkUNet14A(3, 20).parameters()
        )


@pytest.mark.parametrize("dimension", [2, 3])
def test_output_rows_follow_the_input_rows(dimension):
    rows = cloud(dimension=dimension)
    network = MinkUNet14A(3, 5, D=dimension, planes=(8,) * 8, init_dim=8, stem_kernel=3).eval()
    features = torch.randn(len(rows), 3)
    x = ME.SparseTensor(features, rows)
    out = network(x)
    assert torch.equal(out.C, rows)
    assert out.F.shape == (len(rows), 5)
    hidden = network.features(x)
    assert hidden.F.shape == (len(rows), network.feature_dim)
    torch.testing.assert_close(network.final(hidden).F, out.F)
    shuffle = torch.randperm(len(rows))
    again = network(ME.SparseTensor(features[shuffle], rows[shuffle]))
    torch.testing.assert_close(again.F, out.F[shuffle], rtol=1e-4, atol=1e-5)


def test_bottleneck_network_runs():
    rows = cloud(100, size=4)
    network = MinkUNet50(3, 4, planes=(4,) * 8, init_dim=4, stem_kernel=3)
    assert network(ME.SparseTensor(torch.randn(len(rows), 3), rows)).F.shape == (len(rows), 4)
    assert network.feature_dim == 16


def test_planes_are_required_without_a_letter():
    with pytest.raises(InputError, match="planes is None, but MinkUNet14 needs 8"):
        MinkUNet14(3, 5)
    with pytest.raises(InputError, match="needs 8"):
        MinkUNet14A(3, 5, planes=(8, 8))


def test_initialisation_follows_the_published_example():
    network = MinkUNet14A(3, 5)
    kernel = network.block4[0].conv2.kernel
    assert kernel.std().item() == pytest.approx((2 / (27 * 256)) ** 0.5, rel=0.02)
    transposed = network.convtr4p16s2.kernel
    assert transposed.abs().max().item() <= (1 / (128 * 8)) ** 0.5
    assert (network.bn1.bn.weight == 1).all()
    assert (network.bn1.bn.bias == 0).all()


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_a_few_steps_learn(autocast):
    rows = cloud(600, size=6)
    labels = (rows[:, 3] > 0).long() + 2 * (rows[:, 1] > 0).long()
    torch.manual_seed(0)
    network = MinkUNet14A(3, 4, planes=(8, 8, 16, 16, 16, 16, 8, 8), init_dim=8, stem_kernel=3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        x = ME.SparseTensor(rows[:, 1:] / 6.0, rows)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = network(x).F
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
