"""One cloud in a file of every format, written by other libraries or by hand."""

import struct

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

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
