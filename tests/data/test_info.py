"""The summary of a prepared root against numbers worked out here."""

import json

import numpy as np
import pytest

from pointseg.data.classes import load_classes
from pointseg.data.info import Spread, crs_name, describe_root
from pointseg.data.scene import PreparedScene, prepare_root, write_scene
from pointseg.data.sparse_labels import draw
from pointseg.errors import InputError

WKT = 'PROJCS["RGF93 / Lambert-93",GEOGCS["RGF93",DATUM["x"]],AXIS["Easting",EAST]]'


def lattice(nx, ny, step=0.01):
    """Points in the middle of the cells of a flat lattice."""
    x, y = np.meshgrid((np.arange(nx) + 0.5) * step, (np.arange(ny) + 0.5) * step, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.001)], axis=1)


def write(root, split, name, coord, **more):
    given = {"coord": coord, "dataset": "toy", "sources": [], "voxel_sizes": [0.1]}
    return write_scene(root, split, name, **(given | more))


@pytest.fixture
def root(tmp_path):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    small, large = lattice(100, 50), lattice(300, 100) + np.array([1000, -20, 3])
    write(root, "b", "room", small, segment=np.repeat([0, 3, -1], [4000, 900, 100]), color=np.zeros((5000, 3), int))
    write(
        root,
        "a",
        "roof",
        large,
        segment=np.full(30_000, 3),
        intensity=np.ones(30_000),
        voxel_sizes=[0.1, 0.05],
        facts={"crs": WKT},
        repairs=[{"file": "x", "what": "y"}] * 3,
    )
    write(root, "a", "test", lattice(50, 50), facts={"crs": "EPSG:2154"})
    return root


def test_counts_and_sizes(root):
    info = describe_root(root)
    assert (info.scenes, info.points, info.datasets) == (3, 37_500, ("toy",))
    assert [(s.name, s.scenes, s.points) for s in info.splits] == [("a", 2, 32_500), ("b", 1, 5000)]
    assert [s.voxels for s in info.splits] == [{"0.05": 1200, "0.1": 325}, {"0.1": 50}]
    assert [(g.size, g.scenes, g.voxels, g.points_per_voxel) for g in info.grids] == [
        ("0.05", 1, 1200, 25.0),
        ("0.1", 3, 375, 100.0),
    ]
    assert info.spacing == pytest.approx(0.01)
    x, y, z = info.extent
    assert vars(x) == pytest.approx(vars(Spread(0.5, 1.0, 3.0)))
    assert vars(y) == pytest.approx(vars(Spread(0.5, 0.5, 1.0)))
    assert vars(z) == pytest.approx(vars(Spread(0.1, 0.1, 0.1)))


def test_labels_arrays_facts_and_repairs(root):
    info = describe_root(root)
    present = {name: count for name, count in info.classes.items() if count}
    assert present == {"ceiling": 4000, "beam": 30_900}
    assert list(info.classes) == list(load_classes("s3dis").names)
    assert (info.ignored, info.unlabelled_scenes) == (100, 1)
    assert info.arrays == {"coord": 3, "color": 1, "segment": 2, "instance": 0, "normal": 0, "intensity": 1}
    assert info.crs == {"RGF93 / Lambert-93": 1, "EPSG:2154": 1}
    assert info.offset == ([0, -20, 0], [1000, 0, 3])
    assert info.repairs == (3, 1)
    assert info.draws == ()
    assert info.damaged == ()


def test_draws(root):
    draw(root, "10%", seed=4, voxel_size=0.1, splits=["b"])
    (found,) = describe_root(root).draws
    # 50 voxels of 100 points: 40 of class 0, 9 of class 3, one ignored; floor(0.1 * 9) = 0 is raised to 1.
    assert (found.name, found.rule, found.scenes, found.labels) == ("10pct_seed4", "10%", 1, 5)
    assert found.share_of_points == pytest.approx(5 / 5000)
    spec = root / "sparse_labels" / "10pct_seed4" / "spec.json"
    imported = json.loads(spec.read_text()) | {"rule": None, "source": {"kind": "clicks"}}
    for entry in imported["scenes"].values():
        entry["coord_sha256"] = None
    spec.write_text(json.dumps(imported))
    assert [draw.rule for draw in describe_root(root).draws] == ["from clicks"]


def test_sparse_points_have_no_spacing_and_scenes_without_grids_have_extents(tmp_path):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    coord = np.array([[0.25, 0, 0], [3.5, 1, 1]])
    write(root, "a", "b", coord)
    assert describe_root(root).spacing is None
    write(root, "a", "b", coord, voxel_sizes=[])
    info = describe_root(root)
    assert [spread.median for spread in info.extent] == [3.25, 1, 1]
    assert info.grids == ()


def test_arrays_of_points_are_not_read_where_grids_are_stored(root, monkeypatch):
    for name in ("coord", "color", "segment", "intensity"):
        monkeypatch.setattr(PreparedScene, name, property(lambda scene: pytest.fail("read an array of points")))
    assert describe_root(root).points == 37_500


def test_what_is_damaged_is_named_and_the_rest_is_summed_up(root):
    draw(root, "1pt", seed=0, voxel_size=0.1, splits=["b"])
    (root / "sparse_labels" / "1pt_seed0" / "spec.json").write_text("{}")
    (root / "a" / "roof" / "coord.npy").unlink()
    info = describe_root(root)
    assert (info.scenes, info.points) == (2, 7500)
    assert len(info.damaged) == 2
    assert "coord.npy is missing" in info.damaged[0]
    assert "spec.json" in info.damaged[1]
    (root / "a" / "test" / "meta.json").write_text("{")
    (root / "b" / "room" / "meta.json").write_text("{")
    info = describe_root(root)
    assert (info.scenes, info.extent, info.offset, len(info.damaged)) == (0, None, None, 4)


def test_a_class_beyond_the_class_file_is_shown_by_number(root):
    write(root, "a", "odd", lattice(5, 5), segment=np.full(25, 40))
    assert describe_root(root).classes["class 40 (unknown)"] == 25


def test_names_of_reference_systems():
    assert crs_name(WKT) == "RGF93 / Lambert-93"
    assert crs_name('COMPD_CS["A + B", PROJCS["C"]]') == "A + B"
    assert crs_name("EPSG:2154") == "EPSG:2154"


def test_refusals(tmp_path, root):
    with pytest.raises(InputError, match="there is no folder"):
        describe_root(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no prepared scenes"):
        describe_root(root / "a" / "roof" / "grid_0.1")
    (root / "classes.yaml").unlink()
    with pytest.raises(InputError, match="there is no class file"):
        describe_root(root)
