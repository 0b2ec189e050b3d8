"""Every cloud format against files written by other libraries or by hand: what is read, refused and written back."""

import struct
import sys
import tracemalloc

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pointseg.data.formats import inspect_cloud, iter_cloud, read_cloud, write_predictions
from pointseg.errors import InputError

laspy = pytest.importorskip("laspy")
libe57 = pytest.importorskip("pye57").libe57

FAR = np.array([651_234.125, 6_861_000.5, 42.25])


def cloud(n, seed=0):
    """coord (n, 3) on a grid of 1/64 m far from the origin, color, intensity (whole), normal, label."""
    rng = np.random.default_rng(seed)
    coord = FAR + rng.integers(0, 4096, (n, 3)) / 64
    normal = rng.normal(size=(n, 3)).astype(np.float32)
    return {
        "coord": coord,
        "color": rng.integers(0, 256, (n, 3)).astype(np.uint8),
        "intensity": rng.integers(0, 65536, n).astype(np.float32),
        "normal": normal,
        "label": rng.integers(0, 7, n).astype(np.uint8),
    }


def table(c):
    names = ["x", "y", "z", "red", "green", "blue", "intensity", "nx", "ny", "nz", "label"]
    kinds = ["f8"] * 3 + ["u1"] * 3 + ["f4"] * 4 + ["u1"]
    rows = np.empty(len(c["coord"]), list(zip(names, kinds, strict=True)))
    columns = [*c["coord"].T, *c["color"].T, c["intensity"], *c["normal"].T, c["label"]]
    for name, values in zip(names, columns, strict=True):
        rows[name] = values
    return rows


def make_ply(path, c, **how):
    PlyData([PlyElement.describe(table(c), "vertex")], comments=["made by a scanner"], **how).write(str(path))


def make_las(path, c, point_format=7, extra=()):
    header = laspy.LasHeader(point_format=point_format)
    header.scales, header.offsets = [1 / 64] * 3, np.floor(FAR)
    header.add_extra_dims([laspy.ExtraBytesParams(f"normal{a}", "f4") for a in "xyz"])
    header.add_extra_dims(list(extra))
    las = laspy.LasData(header)
    las.x, las.y, las.z = c["coord"].T
    if "red" in las.point_format.dimension_names:
        las.red, las.green, las.blue = c["color"].T.astype(np.uint16) * 257
    las.intensity, las.classification = c["intensity"].astype(np.uint16), c["label"]
    for axis, values in zip("xyz", c["normal"].T, strict=True):
        las[f"normal{axis}"] = values
    las.write(str(path))


def make_e57(path, c):
    image = libe57.ImageFile(str(path), "w")
    image.extensionsAdd("", libe57.E57_V1_0_URI)
    image.extensionsAdd("nor", "http://example.org/normals")
    image.root().set("coordinateMetadata", libe57.StringNode(image, 'PROJCS["somewhere"]'))
    scans = libe57.VectorNode(image, True)
    image.root().set("data3D", scans)
    images = libe57.VectorNode(image, True)
    image.root().set("images2D", images)
    picture = libe57.StructureNode(image)
    blob = libe57.BlobNode(image, 11)
    picture.set("data", blob)
    images.append(picture)
    blob.write(np.frombuffer(b"hello world", np.uint8).copy(), 0, 11)
    half = len(c["coord"]) // 2
    for part in (slice(0, half), slice(half, None)):
        e57_scan(image, scans, {name: values[part] for name, values in c.items()})
    image.close()


def e57_scan(image, scans, c):
    n = len(c["coord"])
    scan = libe57.StructureNode(image)
    scan.set("name", libe57.StringNode(image, "ein Stück"))
    pose, turn, shift = (libe57.StructureNode(image) for _ in range(3))
    # A quarter turn about z: (x, y) -> (-y, x).
    for axis, value in zip("wxyz", (np.sqrt(0.5), 0, 0, np.sqrt(0.5)), strict=True):
        turn.set(axis, libe57.FloatNode(image, value))
    for axis, value in zip("xyz", FAR, strict=True):
        shift.set(axis, libe57.FloatNode(image, value))
    pose.set("rotation", turn)
    pose.set("translation", shift)
    scan.set("pose", pose)
    local = c["coord"] - FAR
    local = np.stack([local[:, 1], -local[:, 0], local[:, 2]], axis=1)
    prototype = libe57.StructureNode(image)
    data = {}
    for axis, values in zip("XYZ", local.T, strict=True):
        prototype.set(f"cartesian{axis}", libe57.ScaledIntegerNode(image, 0, -(2**20), 2**20, 1 / 64, 0.0))
        data[f"cartesian{axis}"] = values.copy()
    for channel, values in zip(("Red", "Green", "Blue"), c["color"].T, strict=True):
        prototype.set(f"color{channel}", libe57.IntegerNode(image, 0, 0, 255))
        data[f"color{channel}"] = values.astype("q")
    prototype.set("intensity", libe57.FloatNode(image, 0.0, libe57.E57_SINGLE))
    data["intensity"] = c["intensity"]
    for axis, values in zip("XYZ", c["normal"].T, strict=True):
        prototype.set(f"nor:normal{axis}", libe57.FloatNode(image, 0.0, libe57.E57_SINGLE))
        data[f"nor:normal{axis}"] = values.copy()
    prototype.set("classification", libe57.IntegerNode(image, 0, 0, 100))
    data["classification"] = c["label"].astype("q")
    points = libe57.CompressedVectorNode(image, prototype, libe57.VectorNode(image, True))
    scan.set("points", points)
    scans.append(scan)
    buffers = libe57.VectorSourceDestBuffer()
    for name, values in data.items():
        buffers.append(libe57.SourceDestBuffer(image, name, values, n, True, True))
    writer = points.writer(buffers)
    if n:
        writer.write(n)
    writer.close()


PCD_FIELDS = [("x", "d"), ("y", "d"), ("z", "d"), ("rgb", "I"), ("intensity", "f")]
PCD_FIELDS += [("normal_x", "f"), ("normal_y", "f"), ("normal_z", "f"), ("_", "3s"), ("label", "B")]


def pcd_rows(c):
    rgb = (c["color"].astype(np.uint32) << [16, 8, 0]).sum(axis=1)
    pad = [b"pad"] * len(rgb)
    return list(zip(*c["coord"].T, rgb, c["intensity"], *c["normal"].T, pad, c["label"], strict=True))


def pcd_header(n, data):
    return (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
        "FIELDS x y z rgb intensity normal_x normal_y normal_z _ label\n"
        "SIZE 8 8 8 4 4 4 4 4 1 1\nTYPE F F F F F F F F U U\nCOUNT 1 1 1 1 1 1 1 1 3 1\n"
        f"WIDTH {n}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {n}\nDATA {data}\n"
    ).encode()


def lzf_literals(data):
    return b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32] for i in range(0, len(data), 32))


def make_pcd(path, c, data):
    rows = pcd_rows(c)
    if data == "ascii":
        lines = []
        for x, y, z, rgb, i, a, b, d, _, label in rows:
            numbers = (float(v) for v in (x, y, z))
            rest = " ".join(repr(float(v)) for v in (i, a, b, d))
            lines.append(f"{' '.join(map(repr, numbers))} {int(rgb)} {rest} 1 2 3 {label}\n")
        body = "".join(lines).encode()
    elif data == "binary":
        body = b"".join(struct.pack("<" + "".join(k for _, k in PCD_FIELDS), *row) for row in rows)
    else:
        fields = zip(zip(*rows, strict=True), PCD_FIELDS, strict=True)
        plain = b"".join(struct.pack(f"<{kind}", value) for values, (_, kind) in fields for value in values)
        packed = lzf_literals(plain)
        body = struct.pack("<II", len(packed), len(plain)) + packed
    path.write_bytes(pcd_header(len(rows), data) + body)


def make_text(path, c, delimiter, comment=""):
    rows = table(c)
    lines = [comment + delimiter.join(rows.dtype.names)]
    lines += [delimiter.join(repr(v.item()) for v in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def make_npz(path, c):
    np.savez_compressed(path, **c, epsg=np.array(2154), camera=np.eye(4))


MAKERS = {
    "little.ply": lambda p, c: make_ply(p, c, byte_order="<"),
    "big.ply": lambda p, c: make_ply(p, c, byte_order=">"),
    "ascii.ply": lambda p, c: make_ply(p, c, text=True),
    "points.las": make_las,
    "points.LAZ": make_las,
    "points.e57": make_e57,
    "ascii.pcd": lambda p, c: make_pcd(p, c, "ascii"),
    "binary.pcd": lambda p, c: make_pcd(p, c, "binary"),
    "compressed.pcd": lambda p, c: make_pcd(p, c, "binary_compressed"),
    "comma.csv": lambda p, c: make_text(p, c, ","),
    "semicolon.csv": lambda p, c: make_text(p, c, ";"),
    "blank.xyz": lambda p, c: make_text(p, c, " "),
    "commented.txt": lambda p, c: make_text(p, c, " ", comment="//"),
    "tab.txt": lambda p, c: make_text(p, c, "\t", comment="# "),
    "table.npy": lambda p, c: np.save(p, table(c)),
    "arrays.npz": make_npz,
}


def check_equal(found, c):
    np.testing.assert_array_equal(found.coord, c["coord"])
    assert found.coord.dtype == np.float64
    np.testing.assert_array_equal(found.color, c["color"])
    assert found.color.dtype == np.uint8
    np.testing.assert_array_equal(found.intensity, c["intensity"])
    np.testing.assert_array_equal(found.normal, c["normal"])
    assert found.normal.dtype == found.intensity.dtype == np.float32
    np.testing.assert_array_equal(found.label, c["label"])
    assert found.label.dtype.kind in "iu"


@pytest.mark.parametrize("name", MAKERS)
def test_every_format_gives_the_same_cloud(tmp_path, name):
    path = tmp_path / f"größe 1 {name}"
    c = cloud(130)
    MAKERS[name](path, c)
    info = inspect_cloud(path)
    assert info.num_points == 130
    assert info.label_field in ("label", "classification")
    check_equal(read_cloud(path), c)
    chunks = list(iter_cloud(path, chunk_points=37))
    assert len(chunks) > 3
    assert max(len(chunk.coord) for chunk in chunks) <= 37
    check_equal(read_cloud(path), {k: np.concatenate([getattr(chunk, k) for chunk in chunks]) for k in c})


@pytest.mark.parametrize("name", MAKERS)
def test_one_point(tmp_path, name):
    path = tmp_path / name
    c = cloud(1) | {"label": np.array([3], np.uint8)}  # 0 alone would be "never classified" in LAS
    MAKERS[name](path, c)
    check_equal(read_cloud(path), c)


@pytest.mark.parametrize("name", MAKERS)
def test_predictions_are_added_and_replaced_and_nothing_else_changes(tmp_path, name):
    path, target, again = (tmp_path / f"{prefix} {name}" for prefix in ("source", "target", "again"))
    c = cloud(130)
    MAKERS[name](path, c)
    rng = np.random.default_rng(1)
    pred = rng.integers(-1, 5, 130)
    confidence, entropy = rng.random(130).astype(np.float32), rng.random(130)
    before = path.read_bytes()
    write_predictions(path, target, pred, confidence=confidence, entropy=entropy)
    assert path.read_bytes() == before
    info, other = inspect_cloud(path), inspect_cloud(target)
    assert other.fields[: len(info.fields)] == info.fields
    added = other.fields[len(info.fields) :]
    assert [field.removeprefix("scalar_").removeprefix("pointseg:") for field in added] == [
        "pred",
        "confidence",
        "entropy",
    ]
    assert (other.crs, other.label_field) == (info.crs, info.label_field)
    check_equal(read_cloud(target), c)
    np.testing.assert_array_equal(read_cloud(target, label_field="pred").label, pred)
    with pytest.raises(InputError, match="whole numbers"):
        read_cloud(target, label_field="confidence")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, target.name]), "no temporary file is left"
    if target.suffix in (".csv", ".txt", ".xyz", ".npy", ".npz"):
        with pytest.raises(InputError, match="field pred of its own"):
            write_predictions(target, again, pred)
        return
    write_predictions(target, again, pred[::-1])
    assert inspect_cloud(again).fields == (*info.fields, added[0]), "stale confidences are not kept"
    check_equal(read_cloud(again), c)
    np.testing.assert_array_equal(read_cloud(again, label_field="pred").label, pred[::-1])


@pytest.mark.parametrize("name", MAKERS)
def test_files_cut_short_are_refused_in_one_sentence(tmp_path, name):
    path = tmp_path / name
    MAKERS[name](path, cloud(130))
    whole = path.read_bytes()
    # Text has no promise to break: it is cut within a line.
    cuts = [len(whole) - 7] if path.suffix in (".csv", ".xyz", ".txt") else [len(whole) * k // 8 for k in range(1, 8)]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError) as caught:
            read_cloud(path)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted({name.rpartition(".")[2].lower() for name in MAKERS}))
def test_missing_empty_and_foreign_files(tmp_path, name):
    path = tmp_path / f"cloud.{name}"
    with pytest.raises(InputError, match=r"there is no file .*cloud"):
        inspect_cloud(path)
    path.mkdir()
    with pytest.raises(InputError, match="there is no file"):
        read_cloud(path)
    path.rmdir()
    path.write_bytes(b"")
    for read in (inspect_cloud, read_cloud):
        with pytest.raises(InputError, match="is empty"):
            read(path)
    for content in (b"\x00\xff" * 500, b"hello\n", b"\n\n\n", b"PK\x03\x04" + b"x" * 300):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cloud"):
            read_cloud(path)


def test_unknown_endings(tmp_path):
    (tmp_path / "cloud.obj").write_text("v 1 2 3\n")
    with pytest.raises(InputError, match=r"ends in '.obj'; files that can be read end in .ply, .las, .laz"):
        inspect_cloud(tmp_path / "cloud.obj")


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ("points.las", "points.LAZ", "points.e57")])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_coordinates_that_are_not_finite(tmp_path, name, value):
    path = tmp_path / name
    c = cloud(60)
    c["coord"][41, 1] = value
    MAKERS[name](path, c)
    with pytest.raises(InputError, match=r"point 41 \(the first is 0\) is at .*(nan|inf)"):
        list(iter_cloud(path, chunk_points=25))


def test_many_identical_points(tmp_path):
    n = 1_000_000
    rows = np.zeros(n, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("label", "u1")])
    rows["x"] = 1.5
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(tmp_path / "same.ply"))
    found = read_cloud(tmp_path / "same.ply")
    assert found.coord.shape == (n, 3)
    assert (found.coord == [1.5, 0, 0]).all()


@pytest.mark.parametrize("name", ["little.ply", "points.LAZ", "points.e57", "binary.pcd", "ascii.pcd", "comma.csv"])
def test_chunks_take_the_memory_of_a_chunk(tmp_path, name):
    n = 40_000
    MAKERS[name](tmp_path / name, cloud(n))
    tracemalloc.start()
    assert sum(len(chunk.coord) for chunk in iter_cloud(tmp_path / name, chunk_points=1000)) == n
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * 24, "the coordinates alone"


@pytest.mark.parametrize("missing", ["laspy", "pye57"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, missing):
    name, extra = {"laspy": ("points.las", "las"), "pye57": ("points.e57", "e57")}[missing]
    MAKERS[name](tmp_path / name, cloud(5))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"needs the package {missing}.*pip install 'pointseg\[{extra}\]'"):
        read_cloud(tmp_path / name)


def test_what_cannot_be_written(tmp_path):
    path = tmp_path / "a.ply"
    make_ply(path, cloud(4))
    pred = np.zeros(4, np.int64)
    refused = [
        ({"target": tmp_path / "b.las"}, "does not end in .ply"),
        ({"target": path}, "is the source itself"),
        ({"target": tmp_path / "nowhere" / "b.ply"}, "cannot write .*b.ply: No such file"),
        ({"pred": pred[:3]}, "3 predictions for the 4 points"),
        ({"pred": pred.astype(float)}, "pred is float64"),
        ({"pred": pred + 2**40}, "32-bit whole numbers"),
        ({"confidence": np.zeros(3)}, r"confidence is float64 of shape \(3,\)"),
        ({"entropy": pred}, "entropy is int64"),
    ]
    for change, message in refused:
        with pytest.raises(InputError, match=message):
            write_predictions(**({"source": path, "target": tmp_path / "b.ply", "pred": pred} | change))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


def test_a_full_disk_is_one_sentence_and_keeps_the_older_file(tmp_path, monkeypatch):
    from pointseg.data.formats import ply_copy

    path, target = tmp_path / "a.ply", tmp_path / "b.ply"
    make_ply(path, cloud(4))
    target.write_text("older")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ply_copy.shutil, "copyfileobj", full)
    with pytest.raises(InputError, match=r"cannot write .*b.ply: No space left on device"):
        write_predictions(path, target, np.zeros(4, int))
    assert target.read_text() == "older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ply", "b.ply"]
