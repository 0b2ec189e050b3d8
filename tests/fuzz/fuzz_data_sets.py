"""Small valid files of the data sets, and what reading one promises."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import torch
from fuzz_clouds import POINTS
from fuzz_containers import json_sample, npy_bytes, npy_sample, npz_sample, text_sample, zip_sample
from fuzz_mutations import Sample

from data_prep._s3dis_text import parse_points
from data_prep._scannet_lists import read_point_lists, read_scene_list
from data_prep._scannet_mesh import read_mesh, read_vertex_labels
from data_prep._scannet_objects import read_axis_alignment, read_label_table, read_objects
from data_prep._sensaturban_tile import read_tile
from data_prep.pointcept import read_folder
from pointseg.data.classes import load_classes

SCENES = ("scene0000_00", "scene0011_01")
SEGMENTS = [3, 3, 8, 8, 8, 1]
SENSATURBAN = load_classes("sensaturban").labels_by_source()


@cache
def s3dis() -> list[Sample]:
    rows = [f"{x / 7:.3f} -0.25 {x * 1e-2:g} {x} 0 255" for x in range(POINTS)]
    mended = [*rows[:5], rows[5].replace("0.25", "0.2\x155"), *rows[6:]]
    return [text_sample("\n".join(rows) + "\n"), text_sample("\r\n".join(mended))]


def read_s3dis(path: Path) -> None:
    points = parse_points(path, path.read_bytes())
    assert points.coord.shape == points.color.shape == (len(points.coord), 3)
    assert (points.coord.dtype, points.color.dtype) == (np.float64, np.uint8)
    assert np.isfinite(points.coord).all()
    assert len(points.mended) <= 10


@cache
def scene_list() -> list[Sample]:
    return [text_sample("\n".join(SCENES) + "\n"), text_sample("\n".join(f"{name}.ply" for name in SCENES))]


def read_scenes(path: Path) -> None:
    scenes = read_scene_list(path)
    assert len(set(scenes)) == len(scenes) > 0
    assert all(len(scene) == 12 for scene in scenes)


def _lists() -> dict[str, np.ndarray]:
    return {name: np.array([5, 3, 900, 3], np.int64) for name in SCENES}


@cache
def point_lists() -> list[Sample]:
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(_lists(), new)
    tensors = {name: torch.from_numpy(values) for name, values in _lists().items()}
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    text = "".join(f"{name} {' '.join(map(str, values))}\n" for name, values in _lists().items())
    samples = [zip_sample(new.getvalue()), Sample((old.getvalue()[:200], old.getvalue()[200:]))]
    return [*samples, text_sample(text), npz_sample(_lists(), 8), npz_sample(_lists(), 0)]


@cache
def one_list() -> list[Sample]:
    return [npy_sample(values) for values in (_lists()[SCENES[0]], np.arange(9, dtype=np.uint16))]


def read_points(path: Path) -> None:
    for scene, points in read_point_lists(path).items():
        assert len(scene) == 12
        assert (points.ndim, points.dtype) == (1, np.int64)
        assert (points >= 0).all()


@cache
def mesh() -> list[Sample]:
    rng = np.random.default_rng(1)
    kinds = [(n, "<f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue", "alpha")] + [("label", "<u2")]
    vertex = np.zeros(POINTS, kinds)
    for name in vertex.dtype.names:
        vertex[name] = rng.integers(0, 40, POINTS)
    face = np.zeros(4, [("n", "u1"), ("v", "<i4", 3)])
    face["n"], face["v"] = 3, rng.integers(0, POINTS, (4, 3))
    names = {"f": "float", "u": "uchar"}
    lines = ["ply", "format binary_little_endian 1.0", "comment by hand", f"element vertex {POINTS}"]
    lines += [f"property {names[vertex.dtype[n].kind]} {n}" for n in vertex.dtype.names[:-1]]
    lines += ["property ushort label", "element face 4", "property list uchar int vertex_indices", "end_header"]
    head = ("\n".join(lines) + "\n").encode()
    rows = [*vertex.tolist(), *([3, *row] for row in face["v"].tolist())]
    text = "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
    return [Sample((head, vertex.tobytes() + face.tobytes())), Sample((_ascii(head), text))]


def _ascii(head: bytes) -> bytes:
    return head.replace(b"binary_little_endian", b"ascii")


def read_scene_mesh(path: Path) -> None:
    found = read_mesh(path)
    n = len(found.coord)
    assert n > 0
    assert found.coord.shape == found.color.shape == (n, 3)
    assert (found.coord.dtype, found.color.dtype) == (np.float64, np.uint8)
    assert np.isfinite(found.coord).all()
    assert found.faces.shape[1:] == (3,)
    assert found.faces.dtype.kind in "iu"
    assert ((found.faces >= 0) & (found.faces < n)).all()


def read_mesh_labels(path: Path) -> None:
    labels = read_vertex_labels(path)
    assert (labels.ndim, labels.dtype) == (1, np.int64)


def _groups() -> dict[str, object]:
    return {"segGroups": [{"objectId": 7, "label": "wall", "segments": [3, 8]}, _chair()], "sceneId": "s"}


def _chair() -> dict[str, object]:
    return {"objectId": 9, "label": "office chair", "segments": [1, 99]}


@cache
def segments() -> list[Sample]:
    return [json_sample({"sceneId": "s", "segIndices": SEGMENTS})]


@cache
def aggregation() -> list[Sample]:
    return [json_sample(_groups())]


def beside_segments(folder: Path) -> None:
    (folder / "s.aggregation.json").write_bytes(aggregation()[0].parts[0])


def beside_aggregation(folder: Path) -> None:
    (folder / "s.segs.json").write_bytes(segments()[0].parts[0])


def read_segments(path: Path) -> None:
    _objects(path.with_name("s.aggregation.json"), path)


def read_aggregation(path: Path) -> None:
    _objects(path, path.with_name("s.segs.json"))


def _objects(aggregation: Path, segments: Path) -> None:
    found = read_objects(aggregation, segments)
    n = len(found.group)
    assert n > 0
    assert found.instance().shape == found.segment({"wall": 2}).shape == (n,)
    assert ((found.group >= -1) & (found.group < len(found.names))).all()
    assert len(found.names) == len(found.numbers)


@cache
def label_table() -> list[Sample]:
    rows = ["id\traw_category\tcount\tnyu40id", "1\twall\t9\t1", '2\toffice "chair\t8\t5', "1\twalls\t3\t1"]
    return [text_sample("\n".join(rows) + "\n")]


def read_table(path: Path) -> None:
    table = read_label_table(path, "nyu40id")
    assert table
    assert all(isinstance(name, str) and isinstance(number, int) and number >= 0 for name, number in table.items())


@cache
def info() -> list[Sample]:
    matrix = "0.945519 0.325568 0 -5.38439 -0.325568 0.945519 0 -2.87178 0 0 1 -0.06435 0 0 0 1"
    return [text_sample(f"axisAlignment = {matrix}\ncolorHeight = 968\nsceneType = Apartment\n")]


def read_info(path: Path) -> None:
    matrix = read_axis_alignment(path)
    assert (matrix.shape, matrix.dtype) == ((4, 4), np.float64)
    assert np.isfinite(matrix).all()


@cache
def tile() -> list[Sample]:
    rng = np.random.default_rng(2)
    kinds = [(n, "<f8") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue", "class")]
    vertex = np.zeros(POINTS, kinds)
    for name in vertex.dtype.names:
        vertex[name] = rng.integers(0, 12, POINTS)
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {POINTS}"]
    lines += [f"property {'double' if n in 'xyz' else 'uchar'} {n}" for n in vertex.dtype.names]
    head = ("\n".join([*lines, "end_header"]) + "\n").encode()
    text = "".join(" ".join(map(str, row)) + "\n" for row in vertex.tolist()).encode()
    return [Sample((head, vertex.tobytes())), Sample((_ascii(head), text))]


def read_sensaturban(path: Path) -> None:
    scene = read_tile((path,), labels=SENSATURBAN, labelled=True)
    n = len(scene.coord)
    assert scene.coord.shape == scene.color.shape == (n, 3)
    assert (scene.coord.dtype, scene.color.dtype, scene.segment.dtype) == (np.float64, np.uint8, np.int16)
    assert np.isfinite(scene.coord).all()
    assert scene.segment.shape == (n,)


@cache
def pointcept_coord() -> list[Sample]:
    coord = np.random.default_rng(4).normal(size=(POINTS, 3))
    return [npy_sample(coord.astype(np.float32)), npy_sample(np.asfortranarray(coord)), npy_sample(coord.astype(">f8"))]


@cache
def pointcept_segment() -> list[Sample]:
    label = np.arange(POINTS) % 4 - 1
    return [npy_sample(label), npy_sample(label.astype(np.int16)[:, None]), npy_sample(label.astype(float))]


def beside_segment(folder: Path) -> None:
    (folder / "coord.npy").write_bytes(npy_bytes(np.zeros((POINTS, 3), np.float32)))


def read_pointcept(path: Path) -> None:
    files = sorted(path.parent.glob("*.npy"))
    scene = read_folder(files, folder=path.parent, base=path.parent, segment_name="segment", num_classes=4)
    n = len(scene.coord)
    assert (scene.coord.shape, scene.coord.dtype) == ((n, 3), np.float64)
    assert np.isfinite(scene.coord).all()
    if scene.segment is not None:
        assert scene.segment.shape == (n,)
        assert ((scene.segment >= -1) & (scene.segment < 4)).all()
