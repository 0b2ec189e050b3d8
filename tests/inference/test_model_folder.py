"""Model folders: what is written is what is read, and what is wrong is refused in one sentence."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pointseg.data.formats import RawCloud
from pointseg.data.scene import hash_file
from pointseg.errors import InputError
from pointseg.inference import Predictor, save_model


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    return RawCloud(rng.uniform(0, 3, (800, 3)), color=rng.integers(0, 256, (800, 3), np.uint8))


@pytest.fixture
def folder(make_predictor, tmp_path):
    predictor = make_predictor()
    return save_model(predictor.model, predictor.spec, tmp_path / "models" / "my model")


def edit(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_model_that_comes_back_is_the_one_that_was_written(make_predictor, folder, cloud):
    first, second = make_predictor(), Predictor.load(folder)
    assert second.spec == first.spec
    assert np.array_equal(second.spec.classes.colors, first.spec.classes.colors)
    assert second.fingerprint() == first.fingerprint()
    assert not second.model.training
    a, b = first(cloud), second(cloud)
    assert np.array_equal(a.pred, b.pred)
    assert np.array_equal(a.entropy, b.entropy)
    assert b.classes.names == ("a", "b", "c")
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]


def test_fingerprints_tell_weights_and_specs_apart(make_predictor):
    changed = make_predictor()
    changed.model.net.final.bias.data[0] += 1e-6
    prints = {p.fingerprint() for p in (make_predictor(), changed, make_predictor(voxel_size=0.2))}
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, r"has format version 2, this pointseg \(.*\) reads 1"),
        ({"format_version": None}, "has format version None"),
        ({"classes": [{"name": "a", "color": [1, 2, 3]}]}, "names 1 classes, the weights tell 3 apart"),
        ({"classes": [{"name": "a", "color": [1, 2, 3]}] * 3}, "names that differ"),
        ({"classes": [{"name": "a", "color": [1, 2, 300]}] * 3}, "a class is .* must be a name and a colour"),
        ({"classes": {}}, "classes is"),
        ({"features": ["ones", "smell"]}, "features is .*'smell'.* out of ones, color, height"),
        ({"features": ["ones", "height"], "normalisation": {"ones": "1"}}, "normalisation is"),
        ({"normalisation": {}}, "normalisation is"),
        ({"voxel_size": -0.1}, "voxel_size is '-0.1'; it must be a length above 0"),
        ({"voxel_size": float("nan")}, "voxel_size is 'nan'"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"network": {"name": "os.system"}}, "network is .* must be a backbone"),
        ({"network": {"name": "MinkUNet14", "planes": [8] * 7, "init_dim": 8, "stem_kernel": 3}}, "8 widths"),
        ({"network": {"name": "MinkUNet14", "planes": [10**9] * 8, "init_dim": 8, "stem_kernel": 3}}, "1..4096"),
        ({"network": {"name": "MinkUNet14", "planes": [4000] * 8, "init_dim": 8, "stem_kernel": 3}}, "do not fit"),
        ({"network": {"name": "MinkUNet14", "planes": [8] * 8, "init_dim": 8, "stem_kernel": 4000}}, "stem_kernel"),
        ({"network": {"name": "MinkUNet18", "planes": [8] * 8, "init_dim": 8, "stem_kernel": 3}}, "do not fit"),
    ],
)
def test_descriptions_that_are_wrong(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(InputError, match=message) as error:
        Predictor.load(folder)
    assert "\n" not in str(error.value)


def test_damaged_and_missing_files(folder, tmp_path):
    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InputError, match="is damaged or of another model"):
        Predictor.load(folder)
    weights.write_bytes(good[: len(good) // 2])
    edit(folder, sha256=hash_file(weights))
    with pytest.raises(InputError, match="cannot be read"):
        Predictor.load(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        Predictor.load(folder)
    (folder / "model.json").write_text("{" * 10_000)
    with pytest.raises(InputError, match="is no JSON"):
        Predictor.load(folder)
    with pytest.raises(InputError, match="is no model folder"):
        Predictor.load(tmp_path)


def test_weights_of_other_shapes(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["bn0.bn.weight"] = torch.ones(9)
    save_file(tensors, folder / "model.safetensors")
    edit(folder, sha256=hash_file(folder / "model.safetensors"))
    with pytest.raises(InputError, match=r"do not fit the network of model\.json.*bn0"):
        Predictor.load(folder)


def test_a_folder_of_something_else_is_not_replaced(make_predictor, folder, tmp_path):
    predictor = make_predictor()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.txt").write_text("mine")
    with pytest.raises(InputError, match="is there and is no model folder"):
        save_model(predictor.model, predictor.spec, tmp_path / "photos")
    assert (tmp_path / "photos" / "one.txt").read_text() == "mine"
    save_model(predictor.model, predictor.spec, folder)
    assert Predictor.load(folder).fingerprint() == predictor.fingerprint()
