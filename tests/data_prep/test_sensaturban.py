"""SensatUrban's tiles to prepared scenes: values, precision, counts, and what is refused."""

import struct

import numpy as np
import pytest
from plyfile import PlyData

from data_prep import sensaturban
from data_prep._jobs import Store, prepare_scenes
from data_prep._main import run_module
from data_prep._sensaturban_tile import _vertices, read_tile
from data_prep.synthetic.sensaturban_writer import write_sensaturban
from pointseg.data.classes import load_classes
from pointseg.data.scene import list_scenes, open_scene
from pointseg.errors import InputError

CLASSES = load_classes("sensaturban")
LABELS = CLASSES.labels_by_source()
XYZ = ["double x", "double y", "double z"]
RGB = ["uchar red", "uchar green", "uchar blue"]
TILE = [*XYZ, *RGB, "uchar class"]
CODES = {"double": "d", "float": "f", "uchar": "B", "int": "i", "short": "h"}


def header(count, properties, form="binary_little_endian", more=""):
    lines = ["ply", f"format {form} 1.0", "comment made by hand", f"element vertex {count}"]
    return ("\n".join([*lines, *(f"property {p}" for p in properties)]) + f"\n{more}end_header\n").encode()


def ply(path, rows, properties=TILE, *, order="<", count=None):
    """Write a binary tile by hand; returns its path."""
    form = "binary_little_endian" if order == "<" else "binary_big_endian"
    row = struct.Struct(order + "".join(CODES[p.split()[0]] for p in properties))
    path.parent.mkdir(parents=True, exist_ok=True)
    body = b"".join(row.pack(*values) for values in rows)
    path.write_bytes(header(len(rows) if count is None else count, properties, form) + body)
    return path


def rows(n, seed=0, first=(405_000.0, 287_000.0, 100.0)):
    rng = np.random.default_rng(seed)
    coord = rng.uniform(0, 50, (n, 3)) + first
    return [
        (*c, *rgb, k)
        for c, rgb, k in zip(coord, rng.integers(0, 256, (n, 3)).tolist(), rng.integers(0, 13, n), strict=True)
    ]


def read(path, labelled=True):
    return read_tile((path,), labels=LABELS, labelled=labelled)


def prepare(raw, out, **settings):
    store = Store(out, "sensaturban", CLASSES, (0.2,))
    return prepare_scenes(sensaturban.jobs(raw, CLASSES), store, **({"workers": 1} | settings))


def command(raw, out, *more):
    arguments = ["--raw", str(raw), "--out", str(out), "--workers", "1", *more]
    return run_module(sensaturban.HELP, sensaturban.add_arguments, sensaturban.run, arguments)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    raw = tmp_path_factory.mktemp("town")
    return raw, write_sensaturban(raw, tiles=3, seed=1, density=5)


def test_made_up_tiles_from_end_to_end(town, tmp_path, capsys):
    raw, paths = town
    assert command(raw, tmp_path / "out") == 0
    scenes = {scene.name: scene for scene in list_scenes(tmp_path / "out")}
    splits = {"birmingham_block_0": "train", "birmingham_block_1": "val", "birmingham_block_2": "test"}
    assert {name: scene.split for name, scene in scenes.items()} == splits
    seen = set()
    for path in paths:
        vertex = PlyData.read(str(path), mmap=False)["vertex"].data
        scene = scenes[path.stem]
        xyz = np.column_stack([vertex["x"], vertex["y"], vertex["z"]])
        np.testing.assert_allclose(scene.coord.astype(float) + scene.offset, xyz, rtol=0, atol=5e-6)
        np.testing.assert_array_equal(scene.color, np.column_stack([vertex[c] for c in ("red", "green", "blue")]))
        if scene.split == "test":
            assert scene.segment is None
        else:
            np.testing.assert_array_equal(scene.segment, vertex["class"])
            seen |= set(np.unique(scene.segment).tolist())
        grid = scene.grid(0.2)
        np.testing.assert_array_equal(grid.coord[grid.inverse], np.floor(scene.coord.astype(np.float64) / 0.2))
    assert seen == set(range(13))
    printed = capsys.readouterr().out
    assert "note: 32 of the 33 official train tiles are not there: birmingham_block_3, " in printed
    assert "cambridge_block_0 (cut short as published)" in printed
    assert "note: 3 of the 4 official val tiles are not there: birmingham_block_5, cambridge_block_7, " in printed
    assert "note: 5 of the 6 official test tiles are not there: birmingham_block_8, cambridge_block_15" in printed
    assert "3 scenes written, 0 up to date, 0 failed" in printed
    assert command(raw, tmp_path / "out") == 0
    assert "0 scenes written, 3 up to date, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["double", "float"])
def test_relative_positions_survive_large_coordinates(tmp_path, kind):
    """Steps of 0.1 mm in float64; in float32 exactly the positions the file can hold, 31 mm apart."""
    step = 1e-4 if kind == "double" else 2.0**-5
    path = tmp_path / "birmingham_block_0.ply"
    given = [(412_345.0 + step * k, 298_765.0 + step * (k % 7), 110.0 + step * k, 1, 2, 3, 0) for k in range(200)]
    ply(path, given, [f"{kind} x", f"{kind} y", f"{kind} z", *RGB, "uchar class"])
    prepare(tmp_path, tmp_path / "out")
    scene = open_scene(tmp_path / "out" / "train" / path.stem)
    local = np.asarray(scene.coord, dtype=np.float64)
    expected = np.array([(step * k, step * (k % 7), step * k) for k in range(200)])
    assert np.abs((local - local[0]) - expected).max() < 1e-6
    wrong = np.array([row[:3] for row in given], np.float32).astype(np.float64)
    if kind == "double":
        assert np.abs((wrong - wrong[0]) - expected).max() > 0.01, "without an offset float32 loses centimetres"
    assert scene.meta["facts"]["coordinates"] == ("float64" if kind == "double" else "float32")
    assert scene.meta["facts"]["coordinate_step_metres"] == (2.0**-34 if kind == "double" else 2.0**-5)


@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_tiles_of_either_byte_order_are_mapped(tmp_path, order):
    given = rows(50)
    path = ply(tmp_path / "t.ply", given, order=order)
    assert isinstance(_vertices(path), np.memmap)
    raw = read(path)
    np.testing.assert_array_equal(raw.coord, [row[:3] for row in given])
    np.testing.assert_array_equal(raw.color, [row[3:6] for row in given])
    np.testing.assert_array_equal(raw.segment, [row[6] for row in given])
    assert (raw.coord.dtype, raw.color.dtype) == (np.float64, np.uint8)


def test_text_tiles_other_orders_types_and_more_properties(tmp_path):
    properties = ["uchar class", "float quality", *RGB, "double z", "double y", "double x"]
    path = tmp_path / "t.ply"
    path.write_bytes(header(2, properties, "ascii") + b"12 0.5 1 2 3 30.25 20.5 10.125\n0 0.5 255 0 9 3 2 1\n")
    raw = read(path)
    assert raw.coord.tolist() == [[10.125, 20.5, 30.25], [1, 2, 3]]
    assert raw.color.tolist() == [[1, 2, 3], [255, 0, 9]]
    assert raw.segment.tolist() == [12, 0]
    path = ply(
        tmp_path / "u.ply", [(1, 2, 3, 4, 5, 6, 12.0)], [*XYZ, "int red", "short green", "uchar blue", "float class"]
    )
    assert (read(path).color.tolist(), read(path).segment.tolist()) == ([[4, 5, 6]], [12])


def test_classes_are_optional_in_the_test_split_only(tmp_path):
    path = ply(tmp_path / "t.ply", [row[:6] for row in rows(3)], [*XYZ, *RGB])
    assert read(path, labelled=False).segment is None
    with pytest.raises(
        InputError, match=r"t\.ply has no property class; it has x, y, z, red, green, blue; a tile needs"
    ):
        read(path)
    path = ply(tmp_path / "u.ply", rows(3))
    assert read(path, labelled=False).segment is not None


def test_classes_follow_the_class_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "dataset: mine\nclasses: [{name: high, color: [1, 2, 3], source: [1, 2]}, {name: low, color: [1, 2, 4], "
        "source: [0]}]\nignore: [9]\n"
    )
    labels = load_classes(tmp_path / "mine.yaml").labels_by_source()
    path = ply(tmp_path / "t.ply", [(*row[:6], k) for row, k in zip(rows(5), (2, 0, 9, 1, 9), strict=True)])
    assert read_tile((path,), labels=labels, labelled=True).segment.tolist() == [0, 1, -1, 0, -1]


def damaged(path, change):
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(("lost", "held"), [(1, 9), (28, 9), (29, 8), (28 * 10, 0)])
def test_a_cut_file_names_both_counts(tmp_path, lost, held):
    path = damaged(ply(tmp_path / "birmingham_block_3.ply", rows(10)), lambda data: data[:-lost])
    with pytest.raises(InputError, match=rf"header says 10 points, but it holds {held}; fetch it again"):
        read(path)


def test_a_tile_cut_short_as_published_says_so(tmp_path):
    path = ply(tmp_path / "cambridge_block_34.ply", rows(3), count=47_845_657)
    with pytest.raises(
        InputError, match=r"says 47,845,657 points, but it holds 3; the published file itself is cut short"
    ):
        read(path)


def test_a_text_tile_cut_short_names_both_counts(tmp_path):
    path = tmp_path / "t.ply"
    path.write_bytes(header(3, TILE, "ascii") + b"1 2 3 4 5 6 7\n" * 2)
    with pytest.raises(InputError, match="says 3 points, but it holds 2"):
        read(path)


REFUSED = {
    "points beyond the count": (
        lambda p: ply(p, rows(5), count=3),
        r"longer than its header says: 3 points, but it holds 5\.0",
    ),
    "a broken row beyond": (lambda p: damaged(ply(p, rows(5)), lambda d: d + b"abc"), r"5 points, but it holds 5\.1"),
    "not a PLY": (lambda p: p.write_bytes(b"x y z\n1 2 3\n"), "cannot be read as PLY"),
    "nothing at all": (lambda p: p.write_bytes(b""), "cannot be read as PLY"),
    "a header cut short": (lambda p: p.write_bytes(header(5, TILE)[:60]), "cannot be read as PLY"),
    "no vertices": (
        lambda p: p.write_bytes(b"ply\nformat ascii 1.0\nelement face 0\nproperty int a\nend_header\n"),
        "no element 'vertex'",
    ),
    "no colours": (lambda p: ply(p, [(1, 2, 3, 4)], [*XYZ, "uchar class"]), "has no property red, green, blue"),
    "a word among numbers": (
        lambda p: p.write_bytes(header(1, TILE, "ascii") + b"1 2 x 4 5 6 7\n"),
        r"cannot be read \(.*malformed input",
    ),
    "NaN": (
        lambda p: ply(p, [*rows(4), (1.0, np.nan, 3.0, 1, 2, 3, 0), (1.0, np.inf, 3.0, 1, 2, 3, 0)]),
        "y is NaN or infinite at 2 of 6 points, first at point 4",
    ),
    "colours of 0 to 1": (
        lambda p: ply(
            p, [(1, 2, 3, 0.5, 0.5, 0.5, 0)], [*XYZ, "float red", "float green", "float blue", "uchar class"]
        ),
        r"red is float32 and not whole numbers in 0\.\.255",
    ),
    "colours above 255": (
        lambda p: ply(p, [(1, 2, 3, 0, 256, 0, 0)], [*XYZ, "uchar red", "int green", "uchar blue", "uchar class"]),
        "green is int32 and not whole",
    ),
    "unknown classes": (
        lambda p: ply(p, [(1, 2, 3, 4, 5, 6, k) for k in (0, 13, 255, 13, 12)]),
        r"holds the class 13 \(2 points\), 255 \(1 points\), but the class file knows 0, 1, 2, .*, 12; fetch",
    ),
    "a class that is no whole number": (
        lambda p: ply(p, [(1, 2, 3, 4, 5, 6, 2.5)], [*XYZ, *RGB, "float class"]),
        r"class 2\.5 \(1 points\)",
    ),
    "lists for coordinates": (
        lambda p: p.write_bytes(header(1, ["list uchar float x", *TILE[1:]], "ascii") + b"1 5 2 3 4 5 6 7\n"),
        "x is a list at each point",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_file_and_what_is_wrong(tmp_path, name):
    make, message = REFUSED[name]
    make(tmp_path / "birmingham_block_4.ply")
    with pytest.raises(InputError, match=rf"birmingham_block_4\.ply.*{message}"):
        read(tmp_path / "birmingham_block_4.ply")


def test_one_bad_tile_does_not_stop_the_others(tmp_path, capsys):
    for name in ("birmingham_block_0", "cambridge_block_7"):
        ply(tmp_path / "raw" / "train" / f"{name}.ply", rows(20))
    ply(tmp_path / "raw" / "train" / "cambridge_block_0.ply", rows(20), count=1000)
    assert command(tmp_path / "raw", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "2 scenes written, 0 up to date, 1 failed" in captured.out
    assert "failed: train/cambridge_block_0: " in captured.err
    assert "1,000 points, but it holds 20" in captured.err
    scenes = list_scenes(tmp_path / "out")
    assert [(s.split, s.name) for s in scenes] == [("train", "birmingham_block_0"), ("val", "cambridge_block_7")]
    assert all(scene.voxel_sizes == (0.2,) for scene in scenes)


def test_an_empty_tile_and_one_point(tmp_path):
    ply(tmp_path / "birmingham_block_0.ply", [])
    ply(tmp_path / "birmingham_block_3.ply", rows(1))
    report = prepare(tmp_path, tmp_path / "out")
    assert [(r.name, r.status) for r in report.results] == [
        ("train/birmingham_block_0", "failed"),
        ("train/birmingham_block_3", "written"),
    ]
    assert "holds no points" in report.failed[0].error
