"""ScanNet's meshes: what is read from bytes written here, what is refused, and normals against a slow twin."""

import struct

import numpy as np
import pytest

from data_prep._scannet_mesh import read_mesh, read_vertex_labels, vertex_normals
from pointseg.errors import InputError

COORD = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.5, -0.25, 3.0)]
COLOR = [(1, 2, 3), (4, 5, 6), (7, 8, 9), (250, 251, 252)]
FACES = [(0, 1, 2), (0, 3, 1)]


def ply(coord=COORD, faces=FACES, labels=None, label_type="ushort"):
    header = "ply\nformat binary_little_endian 1.0\ncomment by hand\n"
    header += f"element vertex {len(coord)}\n"
    header += "".join(f"property float {name}\n" for name in "xyz")
    header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue", "alpha"))
    header += f"property {label_type} label\n" if labels else ""
    header += f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    body = b""
    for k, point in enumerate(coord):
        body += struct.pack("<3f4B", *point, *COLOR[k % 4], 255)
        body += struct.pack("<f" if label_type == "float" else "<H", labels[k]) if labels else b""
    for face in faces:
        body += struct.pack(f"<B{len(face)}i", len(face), *face)
    return header.encode() + body


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scene0000_00_vh_clean_2.ply"


def test_vertices_colours_and_faces_are_those_of_the_bytes(path):
    path.write_bytes(ply())
    mesh = read_mesh(path)
    np.testing.assert_array_equal(mesh.coord, np.array(COORD))
    np.testing.assert_array_equal(mesh.color, np.array(COLOR))
    np.testing.assert_array_equal(mesh.faces, np.array(FACES))
    assert mesh.coord.dtype == np.float64
    assert mesh.color.dtype == np.uint8


def ascii_ply(faces=FACES):
    head, _ = ply(faces=faces).split(b"end_header\n")
    rows = [" ".join(map(str, [*p, *c, 255])) for p, c in zip(COORD, COLOR, strict=True)]
    rows += [" ".join(map(str, [len(face), *face])) for face in faces]
    return head.replace(b"binary_little_endian", b"ascii") + b"end_header\n" + "\n".join(rows).encode() + b"\n"


def test_an_ascii_file_reads_the_same(path):
    path.write_bytes(ascii_ply())
    mesh = read_mesh(path)
    np.testing.assert_array_equal(mesh.coord, np.array(COORD))
    np.testing.assert_array_equal(mesh.color, np.array(COLOR))
    np.testing.assert_array_equal(mesh.faces, np.array(FACES))


def test_labels_beyond_a_byte_survive(path):
    path.write_bytes(ply(labels=[0, 40, 149, 1191]))
    np.testing.assert_array_equal(read_vertex_labels(path), [0, 40, 149, 1191])


def test_a_file_cut_anywhere_is_refused(path):
    whole = ply()
    for length in [0, 3, 60, 150, whole.index(b"end_header"), *range(len(whole) - 90, len(whole), 7)]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=path.name):
            read_mesh(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ply(coord=[*COORD[:3], (0.0, float("nan"), 0.0)]), "vertex 3 is at"),
        (ply(coord=[*COORD[:3], (float("inf"), 0.0, 0.0)]), "vertex 3 is at"),
        (ply(faces=[(0, 1, 4)]), "faces of vertices 0 to 4, but its vertices are 0 to 3"),
        (ply(faces=[(0, -1, 2)]), "faces of vertices -1 to 2"),
        (ply(faces=[(0, 1, 2, 3)]), "damaged or not a mesh of triangles"),
        (ascii_ply(faces=[(0, 1, 2), (0, 1, 2, 3)]), "faces that are no triangles"),
        (ply(coord=[], faces=[]), "holds no vertices"),
        (ply().replace(b" red\n", b" rot\n"), "no vertex red"),
        (ply().replace(b" vertex_indices\n", b" corner_indices\n"), "no face vertex_indices"),
        (b"\x89PNG\r\n" * 20, "damaged or not"),
    ],
)
def test_what_is_not_a_mesh_is_refused(path, content, said):
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_mesh(path)


@pytest.mark.parametrize("content", [ply(), ply(labels=[1, 2, 3, 4], label_type="float")])
def test_labels_must_be_there_and_whole(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match="label"):
        read_vertex_labels(path)


def slow_normals(coord, faces):
    """One vertex at a time, with areas by Heron's formula."""
    normals = np.zeros((len(coord), 3))
    for v in range(len(coord)):
        for face in faces:
            if v not in face:
                continue
            a, b, c = (coord[i] for i in face)
            sides = [np.linalg.norm(b - a), np.linalg.norm(c - b), np.linalg.norm(a - c)]
            half = sum(sides) / 2
            area = np.sqrt(max(half * np.prod([half - side for side in sides]), 0.0))
            direction = np.cross(b - a, c - a)
            length = np.linalg.norm(direction)
            # A triangle that has v as two of its corners has no area.
            if length > 0:
                normals[v] += area * direction / length
    lengths = np.linalg.norm(normals, axis=1)
    normals[lengths > 0] /= lengths[lengths > 0, None]
    return normals


def test_normals_agree_with_the_slow_twin():
    rng = np.random.default_rng(0)
    coord = rng.normal(size=(40, 3)) * 3
    faces = np.stack([rng.choice(36, 3, replace=False) for _ in range(60)])
    faces = np.concatenate([faces, [[36, 36, 1]]])
    normals = vertex_normals(coord, faces)
    assert normals.dtype == np.float32
    np.testing.assert_allclose(normals, slow_normals(coord, faces), atol=1e-5)
    assert not normals[36:].any()


def test_large_faces_weigh_more():
    # Vertex 0 is on a triangle of area 2 facing up and one of area 0.5 facing along x.
    coord = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    normals = vertex_normals(coord, np.array([[0, 1, 2], [0, 3, 4]]))
    np.testing.assert_allclose(normals[0], np.array([0.5, 0, 2]) / np.hypot(0.5, 2), atol=1e-6)


def test_no_faces_no_normals():
    np.testing.assert_array_equal(vertex_normals(np.zeros((2, 3)), np.empty((0, 3), int)), np.zeros((2, 3)))
