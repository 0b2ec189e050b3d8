"""Small valid clouds of every format, and what reading one promises."""

import io
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from fuzz_containers import e57_sample, npy_sample, npz_sample, text_sample
from fuzz_mutations import Sample

from pointseg.data.formats import inspect_cloud, iter_cloud, read_cloud, write_predictions
from pointseg.data.formats.lzf import literals
from pointseg.errors import InputError

POINTS = 12
CHUNK = 5


def read(path: Path) -> None:
    """Read a cloud whole, in chunks and after writing predictions into it; see that all three agree."""
    info = inspect_cloud(path)
    cloud = read_cloud(path)
    count = len(cloud.coord)
    _check(cloud)
    assert info.num_points == count or (path.suffix == ".e57" and info.num_points > count)
    chunks = list(iter_cloud(path, chunk_points=CHUNK))
    assert np.array_equal(np.concatenate([chunk.coord for chunk in chunks]), cloud.coord)
    for part in ("color", "intensity", "normal", "label"):
        whole, parts = getattr(cloud, part), [getattr(chunk, part) for chunk in chunks]
        assert whole is None if parts[0] is None else np.array_equal(np.concatenate(parts), whole), part
    # What is refused on the way back is a kind of its own: NumPy files without names, fields called pred.
    target = path.with_name(f"predicted{path.suffix}")
    pred = np.arange(count)
    try:
        write_predictions(path, target, pred, confidence=np.full(count, 0.5, np.float32))
    except InputError:
        assert not target.exists()
        return
    again = read_cloud(target, label_field={".ply": "scalar_pred", ".e57": "pointseg:pred"}.get(path.suffix))
    assert np.array_equal(again.coord, cloud.coord)
    target.unlink()


def _check(cloud) -> None:
    n = len(cloud.coord)
    assert n > 0
    assert cloud.coord.shape == (n, 3)
    assert cloud.coord.dtype == np.float64
    assert np.isfinite(cloud.coord).all()
    for part, kind, shape in (
        ("color", np.uint8, (n, 3)),
        ("intensity", np.float32, (n,)),
        ("normal", np.float32, (n, 3)),
    ):
        values = getattr(cloud, part)
        assert values is None or (values.shape, values.dtype) == (shape, kind), part
        assert values is None or np.isfinite(values).all(), part
    assert cloud.label is None or (cloud.label.shape == (n,) and cloud.label.dtype.kind in "iuU")
    assert all(isinstance(what, str) and number > 0 for what, number in cloud.notes.items())


def _columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    coord = rng.uniform(-9, 9, (POINTS, 3)).astype(np.float32)
    color = rng.integers(0, 256, (POINTS, 3)).astype(np.uint8)
    label = rng.integers(0, 5, POINTS).astype(np.int32)
    names = ("x", "y", "z"), ("red", "green", "blue")
    return {
        **dict(zip(names[0], coord.T, strict=True)),
        **dict(zip(names[1], color.T, strict=True)),
        "intensity": rng.random(POINTS).astype(np.float32),
        "label": label,
    }


@cache
def las() -> list[Sample]:
    return [_las(".las", point_format, version) for point_format, version in ((3, "1.2"), (7, "1.4"))]


@cache
def laz() -> list[Sample]:
    return [_las(".laz", point_format, version) for point_format, version in ((3, "1.2"), (7, "1.4"))]


def _las(suffix: str, point_format: int, version: str) -> Sample:
    import laspy

    header = laspy.LasHeader(point_format=point_format, version=version)
    header.scales, header.offsets = [0.001] * 3, [600_000, 6_800_000, 0]
    header.add_extra_dims(
        [
            laspy.ExtraBytesParams("height", "i4", scales=np.array([0.01]), offsets=np.array([5.0])),
            laspy.ExtraBytesParams("normal", "3f4"),
        ]
    )
    header.vlrs.append(laspy.VLR("LASF_Projection", 2112, "wkt", b'PROJCS["RGF93"]\0'))
    header.vlrs.append(laspy.VLR("LASF_Projection", 34735, "keys", np.array([1, 1, 0, 1, 3072, 0, 1, 2154], "<u2")))
    header.vlrs[-1].record_data = header.vlrs[-1].record_data.tobytes()
    cloud = laspy.LasData(header, laspy.ScaleAwarePointRecord.zeros(POINTS, header=header))
    rng = np.random.default_rng(point_format)
    cloud.X, cloud.Y, cloud.Z = rng.integers(-(2**20), 2**20, (3, POINTS))
    cloud.classification = rng.integers(0, 9, POINTS)
    cloud.intensity = rng.integers(0, 999, POINTS)
    cloud.red, cloud.green, cloud.blue = rng.integers(0, 65536, (3, POINTS))
    if version == "1.4":
        cloud.evlrs = laspy.vlrs.vlrlist.VLRList([laspy.VLR("company", 5, "more", b"kept")])
    data = io.BytesIO()
    cloud.write(data, do_compress=suffix == ".laz")
    file = data.getvalue()
    size, start = (int.from_bytes(file[at : at + n], "little") for at, n in ((94, 2), (96, 4)))
    return Sample((file[:size], file[size:start], file[start:]))


def _ply_header(order: str, more: str = "", faces: int = 0) -> bytes:
    kinds = {"f": "float", "u": "uchar", "i": "int"}
    lines = ["ply", f"format {order} 1.0", "comment pointseg added scalar_old", f"element vertex {POINTS}"]
    lines += [f"property {kinds[v.dtype.kind]} {name}" for name, v in _columns().items()]
    lines += [more] if more else []
    lines += [f"element face {faces}", "property list uchar int vertex_indices"] if faces else []
    return ("\n".join([*lines, "end_header"]) + "\n").encode()


@cache
def ply() -> list[Sample]:
    columns = _columns()
    words = [" ".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    faces = "3 0 1 2\n3 1 2 3\n"
    samples = [Sample((_ply_header("ascii", faces=2), ("\n".join(words) + "\n" + faces).encode()))]
    lists = ("\n".join(f"{row} 2 7 8" for row in words) + "\n").encode()
    samples.append(Sample((_ply_header("ascii", "property list uchar short more"), lists)))
    for order, name in (("<", "binary_little_endian"), (">", "binary_big_endian")):
        rows = np.empty(POINTS, [(n, v.dtype.newbyteorder(order)) for n, v in columns.items()])
        for field, values in columns.items():
            rows[field] = values
        face = b"".join(b"\3" + np.arange(i, i + 3).astype(f"{order}i4").tobytes() for i in range(2))
        samples.append(Sample((_ply_header(name, faces=2), rows.tobytes() + face)))
        listed = b"".join(row.tobytes() + b"\2" + np.array([7, 8]).astype(f"{order}i2").tobytes() for row in rows)
        samples.append(Sample((_ply_header(name, "property list uchar short more"), listed)))
    return samples


@cache
def pcd() -> list[Sample]:
    columns = _columns()
    rgb = columns["red"].astype(np.uint32) << 16 | columns["green"].astype(np.uint32) << 8 | columns["blue"]
    fields = {n: columns[n] for n in ("x", "y", "z", "intensity", "label")} | {"rgb": rgb.view(np.float32)}
    samples = []
    for data in ("ascii", "binary", "binary_compressed"):
        sizes = " ".join(str(v.dtype.itemsize) for v in fields.values())
        types = " ".join(v.dtype.kind.upper() for v in fields.values())
        lines = ["# .PCD v0.7", "VERSION 0.7", f"FIELDS {' '.join(fields)} _", f"SIZE {sizes} 1", f"TYPE {types} U"]
        lines += [f"COUNT {' '.join('1' for _ in fields)} 2", f"WIDTH {POINTS}", "HEIGHT 1"]
        lines += ["VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {POINTS}", f"DATA {data}"]
        header = ("\n".join(lines) + "\n").encode()
        if data == "ascii":
            body = "".join(" ".join(map(str, row)) + " 0 0\n" for row in zip(*fields.values(), strict=True)).encode()
        elif data == "binary":
            rows = np.zeros(POINTS, [(n, v.dtype) for n, v in fields.items()] + [("_", "u1", 2)])
            for name, values in fields.items():
                rows[name] = values
            body = rows.tobytes()
        else:
            content = b"".join(v.tobytes() for v in fields.values()) + bytes(2 * POINTS)
            stream = literals(content)
            body = np.array([len(stream), len(content)], "<u4").tobytes() + stream
        samples.append(Sample((header, body)))
    return samples


@cache
def e57() -> list[Sample]:
    import pye57

    columns = _columns()
    fields = {f"cartesian{n.upper()}": columns[n].astype(float) for n in "xyz"}
    fields |= {f"color{n.title()}": columns[n] for n in ("red", "green", "blue")} | {"intensity": columns["intensity"]}
    invalid = {"cartesianInvalidState": np.array([0, 0, 2] + [0] * (POINTS - 3), np.int8)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.e57"
        with pye57.E57(str(path), mode="w") as file:
            file.write_scan_raw(fields | invalid, rotation=np.array([0.6, 0, 0.8, 0]), translation=np.ones(3))
            file.write_scan_raw(fields)
        return [e57_sample(path.read_bytes())]


@cache
def text() -> list[Sample]:
    columns = _columns()
    rows = [[str(v) for v in row] for row in zip(*columns.values(), strict=True)]
    words = [[*row[:3], f"kind {row[-1]}"] for row in rows]

    def lines(rows: list[list[str]], delimiter: str) -> str:
        return "".join(delimiter.join(row) + "\n" for row in rows)

    return [
        text_sample(lines([row[:6] for row in rows], " ")),
        text_sample("# made here\n# x y z r g b\n" + lines([row[:6] for row in rows], "\t")),
        text_sample("X,Y,Z,R,G,B,Intensity,Label\n" + lines(rows, ",")),
        text_sample('x;y;z;"class"\n' + lines(words, ";")),
    ]


@cache
def npy() -> list[Sample]:
    columns = _columns()
    table = np.empty(POINTS, [(n, v.dtype) for n, v in columns.items()] + [("normal", ">f4", 3), ("word", "U3")])
    for name, values in columns.items():
        table[name] = values
    table["normal"], table["word"] = 1, "abc"
    coord = np.stack([columns[n] for n in "xyz"], 1)
    return [npy_sample(table), npy_sample(coord), npy_sample(np.asfortranarray(np.hstack([coord, coord % 1])))]


@cache
def npz() -> list[Sample]:
    columns = _columns()
    coord = np.stack([columns[n] for n in "xyz"], 1)
    color = np.stack([columns[n] for n in ("red", "green", "blue")], 1)
    parts = {"coord": np.asfortranarray(coord), "color": color, "label": columns["label"], "note": np.array("a b")}
    return [npz_sample(parts | {"normal": coord}, 8), npz_sample(columns, 0)]
