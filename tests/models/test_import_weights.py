"""Weight import: recorded outputs of other engines, every layout, every refusal."""

import json
import os
from pathlib import Path

import pytest
import record_golden as golden
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.models.import_weights import import_weights

HERE = Path(__file__).parent


class Layers(nn.Module):
    """A submanifold, a strided, an inverse and a pointwise convolution, as in the spconv recording."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ME.MinkowskiConvolution(2, 3, kernel_size=3, dimension=3)
        self.down = ME.MinkowskiConvolution(3, 4, kernel_size=2, stride=2, dimension=3)
        self.up = ME.MinkowskiConvolutionTranspose(4, 2, kernel_size=2, stride=2, dimension=3)
        self.head = ME.MinkowskiConvolution(2, 3, kernel_size=1, dimension=3)


def recorded(engine: str) -> dict[str, Tensor]:
    stored = json.loads((HERE / f"golden_{engine}.json").read_text())
    return {name: torch.tensor(rows, dtype=torch.float64) for name, rows in stored.items()}


@pytest.mark.parametrize("axes", ["zyx", "xyz"])
def test_spconv_layers_give_what_spconv_gave(axes):
    """Columns turned round to (b, x, y, z), or kept as spconv had them: the layout has to follow."""
    columns = [0, 3, 2, 1] if axes == "zyx" else [0, 1, 2, 3]
    network = Layers()
    report = import_weights(network, golden.spconv_weights(), spconv_axes=axes)
    assert report.matched == {f"{name}.kernel": f"{name}.weight" for name in ("stem", "down", "up", "head")}
    assert (report.missing, report.unexpected) == ((), ())
    x = ME.SparseTensor(golden.wave((len(golden.CELLS), 2), 0.3), golden.CELLS[:, columns].contiguous())
    for name, expected in recorded("spconv").items():
        x = getattr(network, name)(x)
        cells = x.C[:, columns].clone()
        cells[:, 1:] = torch.div(cells[:, 1:], x.tensor_stride[0], rounding_mode="floor")
        rows = sorted(torch.cat((cells, x.F.detach()), dim=1).tolist())
        torch.testing.assert_close(torch.tensor(rows, dtype=torch.float64), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["torch file", "safetensors file", "state dict"])
def test_a_minkowski_checkpoint_gives_what_minkowski_engine_gave(kind, tmp_path):
    network = golden.small_unet()
    weights = golden.minkowski_weights({name: value.shape for name, value in network.state_dict().items()})
    source = weights
    if kind == "torch file":
        source = tmp_path / "best.pth"
        state = {f"module.{name}": value for name, value in weights.items()}
        torch.save({"epoch": 3, "best": 0.7, "state_dict": state, "optimizer": {"param_groups": [{"lr": 0.1}]}}, source)
    elif kind == "safetensors file":
        source = tmp_path / "model.safetensors"
        save_file(weights, source)
    report = import_weights(network, source)
    assert (len(report.matched), report.missing, report.unexpected) == (len(weights), (), ())
    rows = torch.tensor(golden.sorted_rows(network(golden.unet_input(ME))), dtype=torch.float64)
    torch.testing.assert_close(rows, recorded("minkowski")["MinkUNet14"], rtol=0, atol=1e-12)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = ME.MinkowskiConvolution(3, 4, kernel_size=3, bias=True, dimension=3)
        self.norm = ME.MinkowskiBatchNorm(4)
        self.fc = ME.MinkowskiLinear(4, 5)
        self.head = ME.MinkowskiConvolution(5, 6, kernel_size=1, bias=True, dimension=3)


def entries() -> dict[str, Tensor]:
    """The weights of a Block under the names that spconv and torch give them."""
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, 3),
        "conv.bias": torch.randn(4),
        "norm.weight": torch.randn(4),
        "norm.bias": torch.randn(4),
        "norm.running_mean": torch.randn(4),
        "norm.running_var": torch.rand(4),
        "norm.num_batches_tracked": torch.tensor(9),
        "fc.weight": torch.randn(5, 4),
        "fc.bias": torch.randn(5),
        "head.weight": torch.randn(6, 5),
        "head.bias": torch.randn(6),
    }


def test_names_and_layouts_of_torch_and_spconv():
    network, given = Block(), entries()
    report = import_weights(network, given)
    assert report.matched["norm.bn.running_var"] == "norm.running_var"
    assert (len(report.matched), report.missing, report.unexpected) == (11, (), ())
    rows = torch.randn(7, 5)
    x = ME.SparseTensor(rows, torch.arange(28).reshape(7, 4).int())
    expected = nn.functional.linear(rows, given["head.weight"], given["head.bias"])
    torch.testing.assert_close(network.head(x).F, expected)
    assert torch.equal(network.fc.linear.weight, given["fc.weight"])
    assert torch.equal(network.norm.bn.running_mean, given["norm.running_mean"])
    assert torch.equal(network.conv.bias, given["conv.bias"][None])


def test_nesting_prefixes_and_half_precision():
    network, given = Block(), entries()
    state = {f"module.model.{name}": value.half() for name, value in given.items()}
    state["model.criterion.weight"] = torch.ones(3)
    state["module.model.epoch"] = 4
    state["module.model.norm.num_batches_tracked"] = 9
    del state["module.model.fc.bias"]
    report = import_weights(network, {"model_state_dict": state, "step": 5})
    assert report.missing == ("norm.bn.num_batches_tracked", "fc.linear.bias")
    assert report.unexpected == (
        "module.model.norm.num_batches_tracked",
        "model.criterion.weight",
        "module.model.epoch",
    )
    assert network.fc.linear.weight.dtype == torch.float32
    assert torch.equal(network.fc.linear.weight, given["fc.weight"].half().float())


def test_a_model_with_a_part_named_model_keeps_its_names():
    network = nn.ModuleDict({"model": Block()})
    report = import_weights(network, {f"module.model.{name}": value for name, value in entries().items()})
    assert report.missing == ()


def test_a_kernel_of_one_offset_may_have_three_axes():
    network, kernel = Block(), torch.randn(1, 5, 6)
    report = import_weights(network, {"head.kernel": kernel})
    assert torch.equal(network.head.kernel, kernel[0])
    assert "head.bias" in report.missing


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("conv.kernel", (27, 4, 3), r"conv\.kernel has shape \(27, 4, 3\), but conv\.kernel of .* \(27, 3, 4\)"),
        ("conv.weight", (4, 5, 5, 5, 3), r"conv\.weight has shape \(4, 5, 5, 5, 3\), but conv\.kernel .* \(27, 3, 4\)"),
        ("conv.weight", (3, 3, 3, 3, 4), r"conv\.weight has shape \(3, 3, 3, 3, 4\), but conv\.kernel .* \(27, 3, 4\)"),
        ("conv.weight", (4,), r"conv\.weight has shape \(4,\), but conv\.kernel of the model is \(27, 3, 4\)"),
        ("head.weight", (5, 6), r"head\.weight has shape \(5, 6\), but head\.kernel of the model is \(5, 6\)"),
        ("norm.bn.weight", (5,), r"norm\.bn\.weight has shape \(5,\), but norm\.bn\.weight of the model is \(4,\)"),
    ],
)
def test_a_wrong_shape_is_refused_and_nothing_is_changed(name, shape, said):
    network = Block()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError, match=said):
        import_weights(network, {"fc.bias": torch.zeros(5), name: torch.zeros(shape)})
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_file_that_would_run_code_is_refused_without_running_it(legacy, tmp_path):
    file, ran = tmp_path / "evil.pth", tmp_path / "ran"
    torch.save({**entries(), "hook": Trap(ran)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"evil\.pth is not loaded: it is damaged, or holds Python objects"):
        import_weights(Block(), file)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"not weights at all", b"PK\x03\x04 cut"])
def test_missing_and_damaged_files_are_refused(name, content, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} (cannot be read|is not loaded)"):
        import_weights(Block(), tmp_path / name)


def test_other_refusals():
    with pytest.raises(InputError, match=r"none of the 1 names in the weights \(a\.b\) .* model's \(conv\.kernel, "):
        import_weights(Block(), {"a.b": torch.zeros(1)})
    with pytest.raises(InputError, match=r"norm\.weight and norm\.bn\.weight are both weights of norm\.bn\.weight"):
        import_weights(Block(), {"norm.weight": torch.zeros(4), "norm.bn.weight": torch.zeros(4)})
    with pytest.raises(InputError, match="spconv_axes is 'yxz'"):
        import_weights(Block(), entries(), spconv_axes="yxz")


def test_a_file_without_names_is_refused(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="the weights are a list, but they must be a state dict"):
        import_weights(Block(), tmp_path / "list.pth")
