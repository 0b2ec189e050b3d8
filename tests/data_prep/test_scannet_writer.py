"""Synthetic scenes in ScanNet's native files: what the files hold, read by plyfile and json, and by our reader."""

import argparse
import hashlib
import json

import numpy as np
import pytest
from plyfile import PlyData

from data_prep import scannet
from data_prep.synthetic.scannet_writer import WORDS, _grids, write_scannet
from data_prep.synthetic.surfaces import DISC, QUAD, TRIANGLE, Paint, patches
from pointseg.data.classes import load_classes
from pointseg.data.scene import open_scene
from pointseg.errors import InputError

SCENES = ["scene0000_00", "scene0001_00", "scene0002_00", "scene0003_00"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    out = tmp_path_factory.mktemp("scannet")
    counts = write_scannet(out, scenes=4, seed=3, density=60.0)
    assert list(counts) == SCENES
    return out


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    """Roots of the 20-class and the 200-class benchmark, the latter with its axes turned to the walls."""
    roots = {}
    for benchmark, flags in ((20, []), (200, ["--axis-align"])):
        roots[benchmark] = tmp_path_factory.mktemp(f"root{benchmark}")
        run(raw, roots[benchmark], "--benchmark", str(benchmark), *flags)
    return roots


def run(raw, out, *flags):
    parser = argparse.ArgumentParser()
    scannet.add_arguments(parser)
    given = ["--raw", str(raw), "--out", str(out), "--workers", "1", "--voxel-size", "0.2", *flags]
    return scannet.run(parser.parse_args(given))


def test_files_and_lists(raw):
    assert sorted(p.name for p in raw.iterdir()) == [
        "scannetv2-labels.combined.tsv",
        "scannetv2_test.txt",
        "scannetv2_train.txt",
        "scannetv2_val.txt",
        "scans",
        "scans_test",
    ]
    assert (raw / "scannetv2_train.txt").read_text().split() == SCENES[:2]
    assert (raw / "scannetv2_val.txt").read_text().split() == [SCENES[2]]
    assert (raw / "scannetv2_test.txt").read_text().split() == [SCENES[3]]
    assert [p.name for p in (raw / "scans_test" / SCENES[3]).iterdir()] == [f"{SCENES[3]}_vh_clean_2.ply"]
    assert len(list((raw / "scans" / SCENES[0]).iterdir())) == 5


def test_a_mesh_is_made_of_small_triangles_that_use_every_vertex(raw):
    ply = PlyData.read(raw / "scans" / SCENES[0] / f"{SCENES[0]}_vh_clean_2.ply")
    coord = np.stack([ply["vertex"][axis] for axis in "xyz"], axis=1).astype(float)
    faces = np.stack(ply["face"]["vertex_indices"])
    assert len(coord) > 2000
    assert len(np.unique(faces)) == len(coord)
    corner = coord[faces]
    edges = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2)
    # Cells of at most 1/sqrt(60) m, noise of millimetres at both ends.
    assert edges.max() < np.sqrt(2 / 60) + 0.03
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 2
    assert area.min() > 0
    assert 0.5 < len(coord) / area.sum() / 60 < 3


@pytest.mark.parametrize(("shape", "area"), [(QUAD, 3.0), (TRIANGLE, 1.5), (DISC, np.pi * 0.75)])
def test_a_patch_is_covered_once_by_faces_that_look_its_way(shape, area):
    surfaces = patches((5, 0, 0), (2, 0, 0), (0, 0, 1.5), Paint((1, 2, 3)), shape)
    patch, st, faces = _grids(surfaces, 0.05)
    assert not patch.any()
    corner = (surfaces.origin + st[:, :1] * surfaces.a + st[:, 1:] * surfaces.b)[faces]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) / 2
    # a x b is -y here; a face without area or turned round would not add up.
    assert (cross[:, 1] < -1e-7).all()
    assert -cross[:, 1].sum() == pytest.approx(area, rel=2e-3)


def test_labels_segments_and_objects_tell_the_same(raw):
    by_word = {word: nyu40 for word, _, nyu40, _ in WORDS.values()}
    for scene in SCENES[:3]:
        folder = raw / "scans" / scene
        label = PlyData.read(folder / f"{scene}_vh_clean_2.labels.ply")["vertex"]["label"]
        segments = np.array(json.loads((folder / f"{scene}_vh_clean_2.0.010000.segs.json").read_text())["segIndices"])
        groups = json.loads((folder / f"{scene}.aggregation.json").read_text())["segGroups"]
        expected = np.zeros(len(segments), dtype=int)
        for group in groups:
            expected[np.isin(segments, group["segments"])] = by_word[group["label"]]
        np.testing.assert_array_equal(label, expected)
        assert 0.01 < np.mean(expected == 0) < 0.12
        assert len({group["objectId"] for group in groups}) == len(groups) > 10


def test_prepared_scenes_have_the_classes_of_both_benchmarks(raw, prepared):
    twenty, two_hundred = load_classes("scannet20"), load_classes("scannet200")
    for split, scene in (("train", SCENES[0]), ("train", SCENES[1]), ("val", SCENES[2])):
        label = PlyData.read(raw / "scans" / scene / f"{scene}_vh_clean_2.labels.ply")["vertex"]["label"]
        a, b = (open_scene(prepared[k] / split / scene) for k in (20, 200))
        for word, _, nyu40, nyu40_name in WORDS.values():
            rows = label == nyu40
            if not rows.any():
                continue
            in20 = nyu40_name in twenty.names
            assert set(a.segment[rows]) == {twenty.index(nyu40_name) if in20 else -1}
            if word not in ("wood beam", "column"):  # these share a NYU40 id
                assert set(b.segment[rows]) == {two_hundred.index(word)}
        assert set(a.segment[label == 0]) == set(b.segment[label == 0]) == {-1}
        assert a.meta["repairs"] == b.meta["repairs"] == []
        np.testing.assert_array_equal(a.instance, b.instance)
        np.testing.assert_array_equal(a.instance == -1, label == 0)
    assert open_scene(prepared[20] / "test" / SCENES[3]).segment is None


def test_aligned_rooms_have_their_walls_along_the_axes(prepared):
    classes = load_classes("scannet200")
    for scene in SCENES[:2]:
        turned = open_scene(prepared[200] / "train" / scene)
        walls = turned.normal[turned.segment == classes.index("wall")]
        assert np.median(np.abs(walls[:, :2]).max(axis=1)) > 0.999
        as_scanned = open_scene(prepared[20] / "train" / scene)
        walls = as_scanned.normal[turned.segment == classes.index("wall")]
        assert np.median(np.abs(walls[:, :2]).max(axis=1)) < 0.997
        # In the room's own frame the outline's corner is the origin.
        is_wall = turned.segment == classes.index("wall")
        np.testing.assert_allclose(turned.coord[is_wall].min(axis=0) + turned.offset, 0, atol=0.05)
        assert np.abs(as_scanned.coord[is_wall].min(axis=0) + as_scanned.offset).max() > 0.3
        floor = turned.normal[turned.segment == classes.index("floor")]
        ceiling = turned.normal[turned.segment == classes.index("ceiling")]
        assert np.median(floor[:, 2]) > 0.98
        assert np.median(ceiling[:, 2]) < -0.98


def test_a_test_scene_has_no_matrix_and_says_so(prepared, raw, tmp_path, capsys):
    assert run(raw, tmp_path, "--axis-align", "--benchmark", "200") == 1
    assert f"failed: test/{SCENES[3]}: there is no {SCENES[3]}.txt" in capsys.readouterr().err
    assert (prepared[20] / "test" / SCENES[3]).is_dir()
    assert not (prepared[200] / "test" / SCENES[3]).exists()


def test_the_same_seed_gives_the_same_bytes(raw, tmp_path):
    write_scannet(tmp_path, scenes=4, seed=3, density=60.0)

    def digest(root):
        files = sorted(p for p in root.rglob("*") if p.is_file())
        return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    assert digest(tmp_path) == digest(raw)


def test_fewer_scenes_leave_no_list_of_the_others(tmp_path):
    write_scannet(tmp_path, scenes=3, seed=0, density=5.0)
    assert (tmp_path / "scannetv2_test.txt").is_file()
    write_scannet(tmp_path, scenes=1, seed=0, density=5.0)
    assert [p.name for p in tmp_path.glob("*.txt")] == ["scannetv2_train.txt"]


@pytest.mark.parametrize(("name", "value"), [("scenes", 0), ("seed", -1), ("density", 0.5), ("density", float("nan"))])
def test_numbers_out_of_range(tmp_path, name, value):
    with pytest.raises(InputError, match=f"--{name} is {value}"):
        write_scannet(tmp_path, **({"scenes": 1, "seed": 0, "density": 10.0} | {name: value}))
