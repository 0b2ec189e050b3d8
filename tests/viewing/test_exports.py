"""LAS, LAZ and PLY exports, read back by laspy, by plyfile and by our own readers."""

from __future__ import annotations

import os
from pathlib import Path

import laspy
import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pointseg.data.classes import Classes
from pointseg.data.formats import inspect_cloud, read_cloud
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.cloud_file import read_view
from pointseg.viewing.colors import RIGHT_COLOR, WRONG_COLOR, colorize, numbered_classes
from pointseg.viewing.exports import baked, write_las
from pointseg.viewing.holding import within_memory
from pointseg.viewing.ply import read_ply, write_ply

CLASSES = Classes("toy", ("ground", "crate, ä big one"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ())
N = 400
RNG = np.random.default_rng(0)
OFFSET = (12_345_678.0, -9_876_543.0, 100.0)
COORD = RNG.random((N, 3)).astype(np.float32) * 50
NORMAL = RNG.normal(size=(N, 3))
PARTS = {
    "color": RNG.integers(0, 256, (N, 3), dtype=np.uint8),
    "gt": RNG.integers(-1, 2, N),
    "pred": RNG.integers(-1, 2, N),
    "confidence": RNG.random(N, dtype=np.float32),
    "entropy": RNG.random(N, dtype=np.float32),
    "pseudo": RNG.integers(-1, 2, N),
    "annotated": RNG.integers(-1, 2, N),
    "normal": (NORMAL / np.linalg.norm(NORMAL, axis=1, keepdims=True)).astype(np.float32),
}
WKT = 'PROJCS["toy / zone 1",GEOGCS["toy",UNIT["degree",0.0174532925199433]],UNIT["metre",1]]'


def cloud(**parts) -> Cloud:
    return Cloud(COORD, **(PARTS | parts), name="toy", offset=OFFSET)


def written(path: Path, *given, **named) -> Path:
    write_las(path, *given, **named)
    return path


@pytest.mark.parametrize("ending", [".laz", ".las"])
def test_laspy_reads_exactly_what_the_cloud_holds(tmp_path, ending):
    path = written(tmp_path / f"a{ending}", cloud(), CLASSES)
    las = laspy.read(path)
    assert (str(las.header.version), las.header.are_points_compressed) == ("1.4", ending == ".laz")
    for name in ("gt", "pred", "confidence", "entropy", "pseudo", "annotated"):
        np.testing.assert_array_equal(las[name], PARTS[name], err_msg=name)
    np.testing.assert_array_equal(las.error, cloud().error)
    np.testing.assert_array_equal(np.stack([las.red, las.green, las.blue], axis=1), PARTS["color"] * np.uint16(257))
    np.testing.assert_array_equal(np.stack([las[f"Normal{a}"] for a in "XYZ"], axis=1), PARTS["normal"])
    exact = COORD.astype(np.float64) + OFFSET
    np.testing.assert_allclose(las.xyz, exact, atol=0.0005 + 1e-8)
    np.testing.assert_array_equal(las.classification, np.where(PARTS["pred"] < 0, 255, PARTS["pred"]))
    assert las.header.vlrs.get("ClassificationLookupVlr")[0][0] == "ground"


def test_our_own_reader_gives_the_cloud_back(tmp_path):
    path = written(tmp_path / "a.laz", cloud(), CLASSES)
    back = read_view(path)
    for name in ("color", "gt", "pred", "confidence", "entropy", "pseudo", "annotated"):
        np.testing.assert_array_equal(getattr(back, name), getattr(cloud(), name), err_msg=name)
    np.testing.assert_allclose(back.normal, PARTS["normal"], atol=1e-6)
    np.testing.assert_allclose(back.coord + np.array(back.offset), COORD.astype(np.float64) + OFFSET, atol=6e-4)


def test_only_what_is_there_is_written(tmp_path):
    bare = Cloud(COORD, name="bare")
    las = laspy.read(written(tmp_path / "a.laz", bare, numbered_classes(0)))
    assert list(las.point_format.extra_dimension_names) == []
    assert "red" not in las.point_format.dimension_names
    assert not las.classification.any()
    truth = laspy.read(written(tmp_path / "b.laz", Cloud(COORD, gt=PARTS["gt"]), CLASSES))
    np.testing.assert_array_equal(truth.classification, np.where(PARTS["gt"] < 0, 255, PARTS["gt"]))


def test_classes_that_do_not_fit_leave_the_classification_alone(tmp_path):
    ids = RNG.integers(0, 300, N)
    las = laspy.read(written(tmp_path / "a.laz", Cloud(COORD, pred=ids), numbered_classes(300)))
    np.testing.assert_array_equal(las.pred, ids)
    assert not las.classification.any()


def test_the_classification_has_the_numbers_of_the_class_file(tmp_path):
    classes = Classes("asprs", ("ground", "building"), CLASSES.colors, ((2, 8), (6,)))
    assert write_las(tmp_path / "a.laz", cloud(), classes) == {2: "ground", 6: "building"}
    las = laspy.read(tmp_path / "a.laz")
    np.testing.assert_array_equal(las.classification, np.array([2, 6, 255])[PARTS["pred"]])
    np.testing.assert_array_equal(las.pred, PARTS["pred"])
    words = Classes("rooms", ("floor", "wall"), CLASSES.colors, (("floor",), ("wall",)))
    assert write_las(tmp_path / "b.laz", cloud(), words) == {0: "floor", 1: "wall"}
    assert laspy.read(tmp_path / "b.laz").header.vlrs.get("ClassificationLookupVlr")[0].lookups == {
        0: "floor",
        1: "wall",
    }


def test_baked_colours_are_those_of_the_colouring(tmp_path):
    shown = baked(cloud(), CLASSES, "error")
    las = laspy.read(written(tmp_path / "a.laz", shown, CLASSES, note="colours: error"))
    rgb = np.stack([las.red, las.green, las.blue], axis=1) // 257
    assert {tuple(row) for row in rgb[cloud().error == 1]} == {WRONG_COLOR}
    assert {tuple(row) for row in rgb[cloud().error == 0]} == {RIGHT_COLOR}
    np.testing.assert_array_equal(rgb, colorize(cloud(), "error", CLASSES))
    assert las.header.system_identifier.strip("\0") == "colours: error"
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.laz").color, rgb)


def test_wkt_is_kept(tmp_path):
    path = written(tmp_path / "a.laz", cloud(), CLASSES, crs=WKT)
    assert inspect_cloud(path).crs == WKT
    assert laspy.read(path).header.global_encoding.wkt
    again = written(tmp_path / "b.las", cloud(), CLASSES, crs=path)
    assert inspect_cloud(again).crs == WKT


def test_geotiff_keys_are_kept_in_a_point_format_that_may_have_them(tmp_path):
    source = laspy.LasData(laspy.LasHeader(point_format=1, version="1.2"))
    keys = np.array([1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 2154], "<u2").tobytes()
    source.header.vlrs.append(laspy.VLR("LASF_Projection", 34735, "keys", keys))
    source.x = source.y = source.z = np.zeros(3)
    source.write(str(tmp_path / "source.las"))
    path = written(tmp_path / "a.laz", cloud(), CLASSES, crs=tmp_path / "source.las")
    assert inspect_cloud(path).crs == "EPSG:2154"
    las = laspy.read(path)
    assert las.header.point_format.id == 2
    assert not las.header.global_encoding.wkt
    np.testing.assert_array_equal(las.classification, np.where(PARTS["pred"] < 0, 31, PARTS["pred"]))


def test_a_real_tile_keeps_its_reference_system(tmp_path):
    root = os.environ.get("POINTSEG_TEST_DATA")
    if not root:
        pytest.skip("POINTSEG_TEST_DATA is not set")
    path = Path(root) / "urban" / "test_data_77055_627755_LA93_IGN69.laz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    source = read_view(path, label_field="classification")
    out = written(tmp_path / "out.laz", source, numbered_classes(source.num_classes), crs=path)
    assert inspect_cloud(out).crs == inspect_cloud(path).crs
    assert inspect_cloud(out).crs is not None
    np.testing.assert_allclose(laspy.read(out).xyz, laspy.read(path).xyz, atol=1.1e-3)
    np.testing.assert_array_equal(laspy.read(out).classification, laspy.read(path).classification)


def test_ply_carries_all_parts_too(tmp_path):
    path = write_ply(tmp_path / "a.ply", cloud(), CLASSES)
    vertex = PlyData.read(path)["vertex"]
    for name in ("gt", "pred", "confidence", "entropy", "pseudo", "annotated"):
        np.testing.assert_array_equal(vertex[f"scalar_{name}"], PARTS[name], err_msg=name)
    np.testing.assert_array_equal(np.stack([vertex[f"n{a}"] for a in "xyz"], axis=1), PARTS["normal"])
    for back in (read_ply(path), read_view(path)):
        for name in PARTS:
            np.testing.assert_allclose(getattr(back, name), getattr(cloud(), name), atol=1e-7, err_msg=name)


def test_ply_with_baked_colours_says_so(tmp_path):
    path = write_ply(tmp_path / "a.ply", cloud(), CLASSES, bake="error")
    data = PlyData.read(path)
    assert 'pointseg colors "error"' in data.comments
    rgb = np.stack([data["vertex"][c] for c in ("red", "green", "blue")], axis=1)
    np.testing.assert_array_equal(rgb, colorize(cloud(), "error", CLASSES))
    assert read_ply(path).color is None
    with pytest.raises(InputError, match="'error' needs the classes"):
        write_ply(path, cloud(), bake="error")


def test_normals_of_other_tools_are_brought_to_length_1(tmp_path):
    normal = np.array([[0, 0, 2], [3, 4, 0], [0, 0, 0], [np.nan, 1, 0]], "f4")
    vertex = np.zeros(4, dtype=[(n, "f4") for n in ("x", "y", "z", "nx", "ny", "nz")])
    for i, axis in enumerate("xyz"):
        vertex[axis], vertex[f"n{axis}"] = np.arange(4), normal[:, i]
    PlyData([PlyElement.describe(vertex, "vertex")]).write(str(tmp_path / "a.ply"))
    expected = [[0, 0, 1], [0.6, 0.8, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(read_ply(tmp_path / "a.ply").normal, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "given", "classes", "sentence"),
    [
        ("a.ply", cloud(), CLASSES, "does not end in .las or .laz"),
        ("none/a.laz", cloud(), CLASSES, "make it first"),
        ("a.laz", Cloud(np.zeros((0, 3))), CLASSES, "has no points"),
        ("a.laz", cloud(), numbered_classes(1), "class id 1 but 'numbered' names only 1"),
        (
            "a.laz",
            within_memory(cloud(), 100),
            CLASSES,
            "has 400 points, and an export holds at most 20,000,000",
        ),
    ],
)
def test_what_cannot_be_written(tmp_path, name, given, classes, sentence):
    with pytest.raises(InputError, match=sentence):
        write_las(tmp_path / name, given, classes)
    assert list(tmp_path.iterdir()) == []
