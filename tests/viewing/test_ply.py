"""PLY files, read back by plyfile alone and by read_ply."""

from __future__ import annotations

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.ply import read_ply, read_ply_classes, write_ply

CLASSES = Classes("toy", ("floor", "wall, outer"), np.array([[1, 2, 3], [250, 0, 9]], np.uint8), ((0,), (1,)))


def full_cloud(n: int = 50, **parts) -> Cloud:
    rng = np.random.default_rng(1)
    given = {
        "coord": rng.random((n, 3)).astype(np.float32) * 8,
        "color": rng.integers(0, 256, (n, 3)).astype(np.uint8),
        "gt": rng.integers(-1, 2, n),
        "pred": rng.integers(-1, 2, n),
        "confidence": rng.random(n).astype(np.float32),
        "annotated": rng.integers(-1, 2, n),
        "name": "Büro/1",
    }
    return Cloud(**(given | parts))


def assert_same(read: Cloud, cloud: Cloud) -> None:
    for part in ("coord", "color", "gt", "pred", "confidence", "annotated"):
        expected = getattr(cloud, part)
        if expected is None:
            assert getattr(read, part) is None, part
        else:
            np.testing.assert_array_equal(getattr(read, part), expected, err_msg=part)


def test_plyfile_reads_every_field(tmp_path):
    cloud = full_cloud()
    write_ply(tmp_path / "a.ply", cloud, CLASSES)
    ply = PlyData.read(str(tmp_path / "a.ply"))
    assert (ply.text, ply.byte_order) == (False, "<")
    vertex = ply["vertex"].data
    assert vertex.dtype.descr == [
        *[(axis, "<f4") for axis in "xyz"],
        *[(c, "|u1") for c in ("red", "green", "blue")],
        ("scalar_pred", "<i2"),
        ("scalar_gt", "<i2"),
        ("scalar_error", "|i1"),
        ("scalar_confidence", "<f4"),
        ("scalar_annotated", "<i2"),
    ]
    np.testing.assert_array_equal(np.stack([vertex[a] for a in "xyz"], 1), cloud.coord)
    np.testing.assert_array_equal(np.stack([vertex[c] for c in ("red", "green", "blue")], 1), cloud.color)
    for part in ("pred", "gt", "error", "confidence", "annotated"):
        np.testing.assert_array_equal(vertex[f"scalar_{part}"], getattr(cloud, part))


def test_round_trip(tmp_path):
    cloud = full_cloud()
    read = read_ply(write_ply(tmp_path / "a.ply", cloud, CLASSES))
    assert_same(read, cloud)
    assert read.name == "Büro/1"
    classes = read_ply_classes(tmp_path / "a.ply")
    assert (classes.dataset, classes.names) == ("toy", CLASSES.names)
    np.testing.assert_array_equal(classes.colors, CLASSES.colors)


def test_large_offsets_are_kept_in_float64(tmp_path):
    cloud = full_cloud(offset=(431_000.25, 5_412_000.5, 87.125))
    read = read_ply(write_ply(tmp_path / "far.ply", cloud))
    assert_same(read, cloud)
    assert read.offset == cloud.offset
    vertex = PlyData.read(str(tmp_path / "far.ply"))["vertex"].data
    assert vertex["x"].dtype == np.float64
    np.testing.assert_allclose(vertex["y"] - 5_412_000.5, cloud.coord[:, 1], atol=1e-8)


def test_small_offsets_stay_float32_and_the_argument_wins(tmp_path):
    cloud = full_cloud(offset=(9.0, 9.0, 9.0))
    write_ply(tmp_path / "near.ply", cloud, offset=(3.0, 0.0, -1.0))
    vertex = PlyData.read(str(tmp_path / "near.ply"))["vertex"].data
    assert vertex["x"].dtype == np.float32
    np.testing.assert_allclose(vertex["x"], cloud.coord[:, 0] + 3, atol=1e-6)


@pytest.mark.parametrize("part", ["pred", "gt"])
def test_a_cloud_without_colours_gets_class_colours_and_reads_back_without(tmp_path, part):
    bare = full_cloud(color=None, **{other: None for other in ("pred", "gt") if other != part})
    read = read_ply(write_ply(tmp_path / "a.ply", bare, CLASSES))
    assert read.color is None
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"].data
    # CloudCompare would take "scalar_pred" for the red channel if no real one came before it.
    assert list(vertex.dtype.names)[3] == "red"
    ids = getattr(bare, part)
    assert set(vertex["red"][ids == 1]) == {250}


def test_any_ply_with_coordinates(tmp_path):
    vertex = np.zeros(3, [("x", "f8"), ("y", "f8"), ("z", "f8"), ("red", "u2"), ("green", "u2"), ("blue", "u2")])
    vertex["x"], vertex["red"] = [4_000_000.5, 4_000_001, 4_000_002], [0, 65535, 256]
    PlyData([PlyElement.describe(vertex, "vertex")], text=True).write(str(tmp_path / "foreign.ply"))
    read = read_ply(tmp_path / "foreign.ply")
    assert read.offset == (4_000_000.0, 0.0, 0.0)
    assert read.coord[:, 0].tolist() == [0.5, 1.0, 2.0]
    assert read.color[:, 0].tolist() == [0, 255, 1]
    assert (read.name, read.gt, read.pred) == ("foreign", None, None)
    assert read_ply_classes(tmp_path / "foreign.ply") is None


def test_names_of_other_tools(tmp_path):
    """As in any other cloud file: see ``data/formats/roles.py``."""
    names = ("x", "y", "z", "diffuse_red", "diffuse_green", "diffuse_blue", "normal_x", "normal_y", "normal_z")
    vertex = np.zeros(4, [(name, "f4") for name in names] + [("Pred", "i4"), ("scalar_Classification", "f4")])
    vertex["x"], vertex["diffuse_green"], vertex["normal_z"], vertex["Pred"] = range(4), 0.5, 2, [1, 0, -1, 1]
    vertex["scalar_Classification"] = [np.nan, 0.5, 1, 2]  # not asked for, so it may be anything
    PlyData([PlyElement.describe(vertex, "vertex")]).write(str(tmp_path / "a.ply"))
    read = read_ply(tmp_path / "a.ply")
    assert read.color.tolist() == [[0, 128, 0]] * 4
    assert read.normal.tolist() == [[0, 0, 1]] * 4
    assert (read.pred.tolist(), read.gt) == ([1, 0, -1, 1], None)


@pytest.mark.parametrize(
    ("field", "sentence"), [("x", r"a\.ply: point 2 .* must be finite"), ("scalar_confidence", r"a\.ply: confidence ")]
)
def test_values_that_are_no_numbers_are_told_with_the_file(tmp_path, field, sentence):
    path = write_ply(tmp_path / "a.ply", full_cloud())
    data = PlyData.read(str(path), mmap=False)
    data["vertex"].data[field][2] = np.nan
    data.write(str(path))
    with pytest.raises(InputError, match=sentence):
        read_ply(path)


def test_a_scanners_own_confidence_is_no_probability_of_a_class(tmp_path):
    vertex = np.ones(3, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("confidence", "f4")])
    vertex["confidence"] = 7
    PlyData([PlyElement.describe(vertex, "vertex")]).write(str(tmp_path / "bunny.ply"))
    assert read_ply(tmp_path / "bunny.ply").confidence is None


def test_labels_that_came_back_as_floats(tmp_path):
    vertex = np.ones(3, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("pred", "f4")])
    vertex["pred"] = [-1, 0, 5]
    PlyData([PlyElement.describe(vertex, "vertex")]).write(str(tmp_path / "f.ply"))
    assert read_ply(tmp_path / "f.ply").pred.tolist() == [-1, 0, 5]
    vertex["pred"] = 0.5
    PlyData([PlyElement.describe(vertex, "vertex")]).write(str(tmp_path / "f.ply"))
    with pytest.raises(InputError, match="not whole"):
        read_ply(tmp_path / "f.ply")


def test_damaged_files(tmp_path):
    path = write_ply(tmp_path / "a.ply", full_cloud(), CLASSES)
    whole = path.read_bytes()
    for cut, sentence in ((0, "is empty"), (30, "header is damaged or cut short"), (len(whole) - 5, "is cut short")):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=sentence):
            read_ply(path)
    path.write_bytes(whole.replace(b'"floor", [1, 2, 3]', b'"floor", [1, 2, 3e'))
    assert_same(read_ply(path), full_cloud())
    with pytest.raises(InputError, match=r"0, 1, 2 \.\.\. without a gap"):
        read_ply_classes(path)
    path.write_bytes(whole.replace(b"[1, 2, 3]", b"[1, 2,900]"))
    with pytest.raises(InputError, match="its class names cannot be read"):
        read_ply_classes(path)
    with pytest.raises(InputError, match="there is no file"):
        read_ply(tmp_path / "absent.ply")


def test_no_coordinates_no_cloud(tmp_path):
    vertex = np.ones(2, [("x", "f4"), ("y", "f4")])
    PlyData([PlyElement.describe(vertex, "vertex")]).write(str(tmp_path / "flat.ply"))
    with pytest.raises(InputError, match="no coordinates x, y, z; its fields are x, y"):
        read_ply(tmp_path / "flat.ply")
    PlyData([PlyElement.describe(np.ones(2, [("a", "f4")]), "thing")]).write(str(tmp_path / "thing.ply"))
    with pytest.raises(InputError, match="no element 'vertex'"):
        read_ply(tmp_path / "thing.ply")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_ply(tmp_path / "a.ply", full_cloud())
    before = path.read_bytes()

    def broken(self, stream):
        with open(stream, "wb") as file:
            file.write(b"ply half")
        raise OSError("disk full")

    monkeypatch.setattr(PlyData, "write", broken)
    with pytest.raises(OSError, match="disk full"):
        write_ply(path, full_cloud(20))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


def test_wrong_arguments(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        write_ply(tmp_path / "no" / "a.ply", full_cloud())
    with pytest.raises(InputError, match="class id 1 but 'one'"):
        write_ply(tmp_path / "a.ply", full_cloud(), Classes("one", ("x",), np.zeros((1, 3), np.uint8), ((0,),)))


def test_an_empty_cloud(tmp_path):
    empty = Cloud(np.zeros((0, 3)), pred=np.zeros(0, int), name="empty")
    path = write_ply(tmp_path / "e.ply", empty)
    assert PlyData.read(str(path))["vertex"].count == 0
    with pytest.raises(InputError, match="holds no points"):
        read_ply(path)
