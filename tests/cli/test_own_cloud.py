"""A person's own cloud from end to end: a LAZ file and some clicks in, the same LAZ file with classes out."""

import json

import laspy
import numpy as np
import pytest

from pointseg.cli.main import main

POINTS = 20_000
CLASSES = """dataset: mine
classes:
  - {name: ground, color: [120, 90, 60], source: [2]}
  - {name: roof, color: [200, 40, 40], source: [6]}
"""
TRAINING = [
    "data.features=[ones, height]",
    "data.voxel_size=0.5",
    "data.eval_splits=[]",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=30",
    "batch_size=1",
    "optimizer.warmup_steps=2",
    "optimizer.lr=0.01",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A flat ground with roofs 4 m above parts of it, no colour, never classified; clicks on both."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 60, (2, POINTS))
    z = np.where((x % 30 < 12) & (y % 30 < 12), 4.0, 0.0) + rng.normal(0, 0.02, POINTS)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = [0.001] * 3, [652_000, 6_861_000, 0]
    las = laspy.LasData(header)
    las.x, las.y, las.z = x + 652_300, y + 6_861_100, z + 35.2
    las.intensity = rng.integers(1, 900, POINTS)
    las.gps_time = np.arange(POINTS) * 0.001
    las.write(str(tmp_path / "my scan.laz"))
    (tmp_path / "mine.yaml").write_text(CLASSES)
    clicked = rng.choice(POINTS, 60, replace=False)
    names = np.where(z > 2, "roof", "ground")
    lines = ["{:.2f},{:.2f},{:.2f},{}\n".format(*las.xyz[i], names[i]) for i in clicked]
    (tmp_path / "clicks.csv").write_text("x,y,z,class\n" + "".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_clicks_to_a_classified_laz_file(folder, capsys):
    assert (
        main(["prepare", "cloud", "my scan.laz", "--classes", "mine.yaml", "--out", "root", "--voxel-size", "0.5"]) == 0
    )
    assert main(["label", "--data", "root", "--clicks", "clicks.csv", "--max-distance", "1"]) == 0
    arguments = ["synthetic_supervised", "--data", "root", "--labels", "clicks", "--out", "run", "--workers", "0"]
    assert main(["train", *arguments, "--set", *TRAINING]) == 0
    assert not (folder / "run" / "checkpoints" / "best").exists()
    assert main(["predict", "run", "--native", "--out", "done"]) == 0
    before, after = laspy.read(folder / "my scan.laz"), laspy.read(folder / "done" / "all" / "my scan.laz")
    for name in before.point_format.dimension_names:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    truth = (np.asarray(before.z) > 37).astype(int)
    assert (np.asarray(after.pred) == truth).mean() > 0.95
    assert np.asarray(after.confidence).min() >= 0.5
    # Of two classes, one as sure as this: what is left to the other decides.
    share = np.clip(np.asarray(after.confidence, float), 1e-9, 1 - 1e-9)
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    np.testing.assert_allclose(np.asarray(after.entropy), entropy, atol=1e-4)
    assert main(["evaluate", "run"]) == 2
    assert "trained without held-out splits; name splits to score with --splits" in capsys.readouterr().err
    raw = (folder / "my scan.laz").read_bytes()
    (folder / "all").symlink_to(".")
    assert main(["predict", "run", "--native", "--out", "."]) == 2
    assert "all/my scan.laz is a file that a scene was made from; give another folder" in capsys.readouterr().err
    assert (folder / "my scan.laz").read_bytes() == raw
    (folder / "my scan.laz").write_bytes(b"another file")
    assert main(["predict", "run", "--native", "--out", "again"]) == 2
    assert "my scan.laz, which scene all/my scan was made from, is gone or has changed" in capsys.readouterr().err


def test_scenes_that_no_cloud_file_stands_behind(rooms_root, folder, capsys):
    recipe = ["synthetic_supervised", "--data", str(rooms_root), "--labels", "full", "--out", "run", "--workers", "0"]
    assert (
        main(["train", *recipe, "--set", *TRAINING, "data.voxel_size=0.1", "optimizer.warmup_steps=0", "steps=1"]) == 0
    )
    assert json.loads((folder / "run" / "environment.json").read_text())
    assert main(["predict", "run", "--native"]) == 2
    assert "was not made from one cloud file by 'pointseg prepare cloud'; leave out --native" in capsys.readouterr().err
