"""Official lists on a real ScanNet scene, and clicks on a real LAZ tile, where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from data_prep._scannet_lists import read_point_lists
from pointseg.data.classes import Classes, load_classes
from pointseg.data.label_clicks import import_clicks
from pointseg.data.label_import import import_lists, import_segment
from pointseg.data.scene import open_scene, prepare_root, write_scene

DATA = os.environ.get("POINTSEG_TEST_DATA")
SCANNET, URBAN = Path(DATA or ".") / "scannet", Path(DATA or ".") / "urban"
TILE = URBAN / "test_data_77050_627755_LA93_IGN69.laz"

needs_scannet = pytest.mark.skipif(
    not DATA or not (SCANNET / "meta" / "limited_annotation").is_dir(),
    reason="POINTSEG_TEST_DATA does not hold the ScanNet scene and its lists",
)
needs_tile = pytest.mark.skipif(not DATA or not TILE.is_file(), reason="POINTSEG_TEST_DATA does not hold the LAZ tiles")

NYU40_OF_THE_20 = [*range(1, 13), 14, 16, 24, 28, 33, 34, 36, 39]


@needs_scannet
@pytest.mark.parametrize("points", [20, 50, 100, 200])
def test_official_lists_of_a_real_scene(tmp_path, points):
    folder = SCANNET / "scans" / "scene0000_00"
    mesh = PlyData.read(folder / "scene0000_00_vh_clean_2.ply")["vertex"]
    nyu40 = np.asarray(PlyData.read(folder / "scene0000_00_vh_clean_2.labels.ply")["vertex"]["label"])
    segment = np.array([NYU40_OF_THE_20.index(i) if i in NYU40_OF_THE_20 else -1 for i in nyu40.tolist()])
    root = prepare_root(tmp_path / "root", load_classes("scannet20"))
    coord = np.stack([mesh[axis] for axis in "xyz"], axis=1)
    write_scene(
        root,
        "train",
        "scene0000_00",
        coord=coord,
        segment=segment,
        dataset="scannet",
        sources=[],
        voxel_sizes=[0.02, 0.05],
    )
    source = SCANNET / "meta" / "limited_annotation" / f"points{points}"
    lists = read_point_lists(source)
    labels = import_lists(root, lists, source=source, splits=["train"])
    assert labels.name == f"points{points}"
    index, label = labels.for_scene(open_scene(root / "train" / "scene0000_00"))
    listed = sorted(set(lists["scene0000_00"].tolist()))
    assert index.tolist() == [i for i in listed if segment[i] >= 0]
    assert label.tolist() == [segment[i] for i in listed if segment[i] >= 0]
    assert labels.spec["scenes"]["train/scene0000_00"]["dropped"] == sum(segment[i] < 0 for i in listed)
    assert labels.spec["other_scenes"] == 1200


@needs_tile
def test_clicks_on_a_real_tile_find_the_points_of_the_file(tmp_path):
    las = pytest.importorskip("laspy").read(TILE)
    coord, code = np.asarray(las.xyz), np.asarray(las.classification).astype(int)
    kept = np.flatnonzero(code >= 2)[:: len(code) // 40]
    segment = np.full(len(code), -1)
    segment[kept] = code[kept] - 2
    names = ("ground", "low", "medium", "high", "building")
    colors = np.zeros((5, 3), np.uint8)
    root = prepare_root(tmp_path / "root", Classes("tile", names, colors, tuple((i + 2,) for i in range(5))))
    for split, own in (("labelled", segment), ("bare", None)):
        write_scene(root, split, "tile", coord=coord, segment=own, dataset="tile", sources=[], voxel_sizes=[0.5])
    given = import_segment(root, splits=["labelled"])
    index, label = given.for_scene(open_scene(root / "labelled" / "tile"))
    assert index.tolist() == kept.tolist()
    assert label.tolist() == (code[kept] - 2).tolist()

    position = coord[kept] + np.random.default_rng(0).uniform(-0.005, 0.005, (len(kept), 3))
    nearest = [int(((coord - p) ** 2).sum(1).argmin()) for p in position]
    clicks = tmp_path / "clicks.csv"
    rows = [f"{x:.4f}\t{y:.4f}\t{z:.4f}\t{names[k]}" for (x, y, z), k in zip(position, code[kept] - 2, strict=True)]
    clicks.write_text("\n".join(["x\ty\tz\tclass", *rows]))
    clicked = import_clicks(root, clicks, splits=["bare"], max_distance=0.02)
    scene = open_scene(root / "bare" / "tile")
    assert scene.segment is None
    assert clicked.spec["unmatched"] == []
    assert clicked.for_scene(scene)[0].tolist() == sorted(nearest)
