"""Predicting a cloud file when things go wrong: damage to what a stopped run left, changed and vanished sources."""

import json
import shutil
import sys

import laspy
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from pointseg.data.formats import read_cloud
from pointseg.data.scene import hash_file

MODULE = "pointseg.inference.predict_file"
"""Looked up among the loaded modules: the package has a function of this name."""


def flip(data):
    return data[:-3] + bytes([data[-3] ^ 8]) + data[-2:]


def truncate(data):
    return data[: len(data) // 2]


def nonsense(data):
    return b"\xff\xfe" + b"[" * 50_000


@pytest.fixture
def predict(model, scan, command, tmp_path):
    return lambda: command("predict", scan, "--model", model, "-o", tmp_path / "out.las")


@pytest.fixture
def stopped(predict, tmp_path, monkeypatch):
    """The working folder of a run that was stopped before it wrote its output, and the output it would have given."""
    assert predict()[0] == 0
    expected = (tmp_path / "out.las").read_bytes()
    (tmp_path / "out.las").unlink()

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[MODULE], "write_predictions", stop)
        said = "pointseg predict: interrupted; the same command goes on where this one stopped"
        assert predict() == (130, [said])
    return tmp_path / ".out.las.predicting", expected


FILES = ("results.bin", "finished.jsonl", "key", "grid/grid.json", "grid/coord.npy", "grid/inverse.npy", "grid/z.npy")


@pytest.mark.parametrize("damage", [flip, truncate, nonsense])
@pytest.mark.parametrize("file", FILES)
def test_damage_to_what_a_stopped_run_left_changes_nothing(stopped, predict, tmp_path, file, damage):
    work, expected = stopped
    (work / file).write_bytes(damage((work / file).read_bytes()))
    assert predict() == (0, [])
    assert (tmp_path / "out.las").read_bytes() == expected
    assert not work.exists()


@pytest.mark.parametrize("file", FILES)
def test_what_is_missing_of_a_stopped_run_is_made_again(stopped, predict, tmp_path, file):
    work, expected = stopped
    (work / file).unlink()
    assert predict() == (0, [])
    assert (tmp_path / "out.las").read_bytes() == expected


@pytest.mark.parametrize("when", ["make_grid", "write_predictions"])
def test_a_source_that_is_replaced_meanwhile_is_not_given_the_predictions_of_the_old_one(
    scan, predict, tmp_path, monkeypatch, when
):
    original = getattr(sys.modules[MODULE], when)

    def replacing(*args, **kwargs):
        result = original(*args, **kwargs)
        las = laspy.read(scan)
        las.x = np.asarray(las.x)[::-1]
        las.write(str(scan))
        return result

    monkeypatch.setattr(sys.modules[MODULE], when, replacing)
    code, (line,) = predict()
    assert code == 2
    assert "scan.las was changed while it was being predicted; run the same command again" in line
    assert not (tmp_path / "out.las").exists()
    monkeypatch.undo()
    assert predict() == (0, [])
    assert np.array_equal(laspy.read(tmp_path / "out.las").x, laspy.read(scan).x)


def test_a_source_that_vanishes_is_named(scan, predict, tmp_path, monkeypatch):
    original = sys.modules[MODULE].make_grid

    def vanishing(*args, **kwargs):
        grid = original(*args, **kwargs)
        scan.unlink()
        return grid

    monkeypatch.setattr(sys.modules[MODULE], "make_grid", vanishing)
    code, (line,) = predict()
    assert code == 2
    assert "scan.las" in line
    assert not (tmp_path / "out.las").exists()


def test_weights_that_are_not_numbers_are_no_prediction(model, predict, run, command, tmp_path):
    weights = model / "model.safetensors"
    tensors = load_file(weights)
    tensors["bn0.bn.weight"][0] = float("nan")
    save_file(tensors, weights)
    document = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(document | {"sha256": hash_file(weights)}))
    code, (line,) = predict()
    assert code == 2
    assert "the network's output is not finite for" in line
    assert not (tmp_path / "out.las").exists()
    shutil.copy(weights, run / "checkpoints" / "final" / "model.safetensors")
    (run / "checkpoints" / "final" / "manifest.json").unlink()
    for name in ("evaluate", "predict"):
        code, (line,) = command(name, run)
        assert code == 2
        assert "the network's output is not finite for" in line


@pytest.mark.parametrize("damage", [flip, truncate, nonsense])
def test_damaged_weights_of_a_run_are_refused(run, command, damage):
    weights = run / "checkpoints" / "final" / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    for name in ("evaluate", "predict"):
        code, (line,) = command(name, run)
        assert code == 2
        assert "is damaged (model.safetensors is not what was written)" in line


@pytest.mark.parametrize("suffix", ["las", "ply", "csv"])
@pytest.mark.parametrize("sign", [1, -1])
def test_ten_thousand_kilometres_off_no_millimetre_is_lost(model, command, tmp_path, suffix, sign):
    """Prepared in both ways and predicted; float32 alone would be a metre coarse there."""
    rng = np.random.default_rng(0)
    coord = sign * (10**10 + rng.integers(0, 2000, (300, 3))) / 1000
    color, source = rng.integers(0, 256, (300, 3)), tmp_path / f"far.{suffix}"
    write_cloud(source, coord, color)
    for memory in ((), ("--memory", "200MB")):
        out = tmp_path / f"out{len(memory)}"
        assert command("prepare", "cloud", source, "--classes", "asprs", "--out", out, "--workers", 1, *memory)[0] == 0
        meta = json.loads((out / "all" / "far" / "meta.json").read_text())
        stored = np.load(out / "all" / "far" / "coord.npy").astype(np.float64) + meta["offset"]
        assert np.abs(stored - coord).max() < 1e-4
    target = tmp_path / f"labelled.{suffix}"
    assert command("predict", source, "--model", model, "-o", target) == (0, [])
    assert np.array_equal(read_cloud(target).coord, read_cloud(source).coord)
    assert np.abs(read_cloud(target).coord - coord).max() < 1e-6


def write_cloud(path, coord, color):
    if path.suffix == ".csv":
        rows = np.hstack([coord, color])
        np.savetxt(path, rows, "%.3f,%.3f,%.3f,%d,%d,%d", header="x,y,z,red,green,blue", comments="")
    elif path.suffix == ".las":
        las = laspy.LasData(laspy.LasHeader(point_format=2, version="1.2"))
        las.header.scales, las.header.offsets = [0.001] * 3, coord[0].round()
        las.x, las.y, las.z = coord.T
        las.red, las.green, las.blue = color.T * 256
        las.write(str(path))
    else:
        names = [(axis, "<f8") for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
        rows = np.empty(len(coord), names)
        for i in range(3):
            rows["xyz"[i]], rows[names[3 + i][0]] = coord[:, i], color[:, i]
        kinds = "".join(f"property {'double' if kind == '<f8' else 'uchar'} {name}\n" for name, kind in names)
        head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(coord)}\n{kinds}end_header\n"
        path.write_bytes(head.encode() + rows.tobytes())
