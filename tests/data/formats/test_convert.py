"""What columns become: labels by name, colours of every depth, normals that are not finite."""

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pointseg.data.formats import iter_cloud, read_cloud
from pointseg.errors import InputError


def test_label_fields(tmp_path):
    path = tmp_path / "a.ply"
    rows = np.zeros(
        3, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("scalar_Classification", "f4"), ("material", "i2"), ("label", "u1")]
    )
    rows["scalar_Classification"], rows["material"] = [1, 2, 6], [-4, 0, 300]
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(path))
    found = read_cloud(path)
    assert found.label.tolist() == [1, 2, 6]
    assert found.label.dtype.kind == "i"
    assert found.notes == {"labels from scalar_Classification, not from label": 3}
    assert read_cloud(path, label_field="material").label.tolist() == [-4, 0, 300]
    with pytest.raises(InputError, match=r"no label field 'klass'; its fields are x, y, z, scalar_Classification"):
        read_cloud(path, label_field="klass")
    rows["scalar_Classification"] = [1, 2.5, 6]
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(path))
    with pytest.raises(InputError, match=r"point 1 .* scalar_Classification = 2.5; class ids are whole"):
        read_cloud(path)


def color_ply(path, color):
    rows = np.zeros(len(color), [("x", "f4"), ("y", "f4"), ("z", "f4")] + [(c, color.dtype) for c in ("r", "g", "b")])
    rows["r"], rows["g"], rows["b"] = color.T
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(path))


def test_colour_depth_is_decided_for_the_whole_file(tmp_path):
    path = tmp_path / "a.ply"
    color = np.full((50, 3), 200, np.uint16)
    color_ply(path, color)
    assert (read_cloud(path).color == 200).all()
    assert list(read_cloud(path).notes) == ["16-bit colours without a value beyond 255: taken as 8 bit"]
    color[-1] = [256, 65535, 511]
    color_ply(path, color)
    chunks = [chunk.color for chunk in iter_cloud(path, chunk_points=10)]
    assert np.concatenate(chunks)[[0, -1]].tolist() == [[0, 0, 0], [1, 255, 1]]


def test_float_colours(tmp_path):
    path = tmp_path / "a.ply"
    color_ply(path, np.array([[0, 0.5, 1], [1, 0.2, 0.25]], np.float32))
    assert read_cloud(path).color.tolist() == [[0, 128, 255], [255, 51, 64]]
    color_ply(path, np.array([[0, 128, 255], [1, 0, 0]], np.float32))
    assert read_cloud(path).color.tolist() == [[0, 128, 255], [1, 0, 0]]
    for bad in (-0.1, np.nan, 70000):
        color_ply(path, np.array([[0, 0, 0], [bad, 0, 0]], np.float32))
        with pytest.raises(InputError, match=r"point 1 .* has the colour"):
            read_cloud(path)


def test_normals_that_are_not_finite_are_counted(tmp_path):
    normal = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    normal[2] = np.nan
    normal[5, 1] = np.inf
    np.savez(tmp_path / "a.npz", coord=np.zeros((10, 3)), normal=normal)
    found = read_cloud(tmp_path / "a.npz")
    assert found.notes == {"normals that are not finite: set to 0": 2}
    assert (found.normal[[2, 5]] == 0).all(), "without one part it would point elsewhere"
    np.testing.assert_array_equal(found.normal[6:], normal[6:])
