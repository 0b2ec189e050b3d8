"""PLY beyond plain vertices: other elements, lists, comments, damaged headers, promises that are not kept."""

import tracemalloc

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pointseg.data.formats import inspect_cloud, read_cloud, write_predictions
from pointseg.errors import InputError


def vertices(n):
    rows = np.zeros(n, [("x", "f8"), ("y", "f8"), ("z", "f8"), ("quality", "f4")])
    rng = np.random.default_rng(n)
    for name in rows.dtype.names:
        rows[name] = rng.integers(-1000, 1000, n) / 8
    return PlyElement.describe(rows, "vertex", comments=["quality is the scanner's"])


def faces():
    rows = np.empty(3, [("vertex_indices", "O"), ("part", "u1")])
    rows["vertex_indices"] = [np.array(f, "i4") for f in ([0, 1, 2], [2, 3, 4, 5], [1, 4, 3])]
    rows["part"] = [7, 8, 9]
    return PlyElement.describe(rows, "face")


def cameras():
    return PlyElement.describe(np.array([(1.5, 2), (3.5, 4)], [("f", "f8"), ("id", "i2")]), "camera")


@pytest.mark.parametrize("how", [{"text": True}, {"byte_order": "<"}, {"byte_order": ">"}])
@pytest.mark.parametrize("order", ["vertex only", "vertex first", "fixed rows first", "lists first"])
def test_other_elements_stay_as_they_are(tmp_path, how, order):
    elements = {
        "vertex only": [vertices(20)],
        "vertex first": [vertices(20), faces(), cameras()],
        "fixed rows first": [cameras(), vertices(20), faces()],
        "lists first": [faces(), vertices(20), cameras()],
    }[order]
    path, target = tmp_path / "mesh.ply", tmp_path / "pred.ply"
    PlyData(elements, comments=["made elsewhere"], obj_info=["num_cols 5"], **how).write(str(path))
    old = PlyData.read(str(path))
    found = read_cloud(path)
    np.testing.assert_array_equal(found.coord, np.stack([old["vertex"][a] for a in "xyz"], axis=1))
    pred = np.arange(20) - 1
    write_predictions(path, target, pred, confidence=np.full(20, 0.25))
    new = PlyData.read(str(target))
    assert [e.name for e in new.elements] == [e.name for e in old.elements]
    assert (new.text, new.byte_order) == (old.text, old.byte_order)
    assert new.obj_info == old.obj_info
    assert set(old.comments) <= set(new.comments)
    assert new["vertex"].comments == old["vertex"].comments
    for element in old.elements:
        for name in element.data.dtype.names:
            for a, b in zip(element[name], new[element.name][name], strict=True):
                np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(new["vertex"]["scalar_pred"], pred)
    assert (new["vertex"]["scalar_confidence"] == 0.25).all()
    write_predictions(target, tmp_path / "again.ply", pred[::-1])
    names = PlyData.read(str(tmp_path / "again.ply"))["vertex"].data.dtype.names
    assert names == (*old["vertex"].data.dtype.names, "scalar_pred")


def test_a_list_in_the_vertices(tmp_path):
    rows = np.empty(4, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("seen_from", "O"), ("label", "u1")])
    rows["x"], rows["y"], rows["z"], rows["label"] = range(4), range(4), range(4), [3, 1, 4, 1]
    rows["seen_from"] = [np.array(v, "i4") for v in ([1], [], [4, 5, 6], [7, 8])]
    PlyData([PlyElement.describe(rows, "vertex")], byte_order=">").write(str(tmp_path / "a.ply"))
    assert read_cloud(tmp_path / "a.ply").label.tolist() == [3, 1, 4, 1]
    assert inspect_cloud(tmp_path / "a.ply").fields == ("x", "y", "z", "seen_from", "label")
    write_predictions(tmp_path / "a.ply", tmp_path / "b.ply", np.array([0, 1, 2, 3]))
    new = PlyData.read(str(tmp_path / "b.ply"))["vertex"]
    assert [list(v) for v in new["seen_from"]] == [[1], [], [4, 5, 6], [7, 8]]
    assert new["scalar_pred"].tolist() == [0, 1, 2, 3]


def header(kind="binary_little_endian", count=1, more=""):
    lines = f"ply\nformat {kind} 1.0\nelement vertex {count}\n" + "".join(f"property double {a}\n" for a in "xyz")
    return (lines + more + "end_header\n").encode()


def test_line_ends_of_windows(tmp_path):
    body = np.array([[1.5, 2.5, 3.5]]).tobytes()
    (tmp_path / "a.ply").write_bytes(header().replace(b"\n", b"\r\n") + body)
    assert read_cloud(tmp_path / "a.ply").coord.tolist() == [[1.5, 2.5, 3.5]]
    write_predictions(tmp_path / "a.ply", tmp_path / "b.ply", np.array([4]))
    assert (tmp_path / "b.ply").read_bytes() == (
        b"ply\r\nformat binary_little_endian 1.0\r\ncomment pointseg added scalar_pred\r\nelement vertex 1\r\n"
        b"property double x\r\nproperty double y\r\nproperty double z\r\nproperty short scalar_pred\r\nend_header\r\n"
        + body + b"\4\0"
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("more", ["", "property list uchar int seen\n"])
def test_a_promise_of_a_trillion_points_takes_no_memory(tmp_path, kind, more):
    (tmp_path / "a.ply").write_bytes(header(kind, 10**12, more) + (b"1 2 3 0\n" if more else b"1 2 3\n") * 100)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a.ply is cut short: .*1,000,000,000,000"):
        read_cloud(tmp_path / "a.ply")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_ascii_rows(tmp_path):
    path = tmp_path / "a.ply"
    start = header("ascii", 3, "property uchar label\n")
    path.write_bytes(start + b"1 2 3 4\n5 6 7 8\n9 10 11\n")
    with pytest.raises(InputError, match=r"a.ply, line 11: 3 columns where 4 are expected \(x, y, z, label\)"):
        read_cloud(path)
    path.write_bytes(start + b"1 2 3 4\n5 6 7 8\n9 10 eleven 1\n")
    with pytest.raises(InputError, match=r"a.ply, line 11: z is 'eleven', which is no number"):
        read_cloud(path)
    path.write_bytes(start + b"1 2 3 4\n5 6 7 8\n")
    with pytest.raises(InputError, match=r"promises 3 points, the file holds 2"):
        read_cloud(path)
    path.write_bytes(start + b"1 2 3 4\n5 6 7 8\n9 10 11 256\n")
    with pytest.raises(InputError, match=r"256.0 stands in a column declared as uint8"):
        read_cloud(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ply\nformat binary_middle_endian 1.0\nend_header\n", "line 2: 'format binary_middle_endian 1.0' is not"),
        (b"ply\nelement vertex 1\nend_header\n", "states no format"),
        (b"ply\nformat ascii 1.0\nelement vertex -1\nend_header\n", "line 3"),
        (b"ply\nformat ascii 1.0\nproperty float x\nend_header\n", "line 3: 'property float x'"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty quad x\nend_header\n", "line 4"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar odd x\nend_header\n", "line 4"),
        (b"ply\nformat ascii 1.0\nelement face 1\nproperty float x\nend_header\n1\n", "no element 'vertex', only face"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n",
            "no coordinates x, y, z; .* are x",
        ),
        (b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n", "holds no points"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 1\n" + b"property float x\n" * 2 + b"end_header\n1 1\n",
            "a property of 'vertex' twice",
        ),
        (b"ply\nformat ascii 1.0\nelement vertex 1\n", "header is damaged or cut short"),
    ],
)
def test_damaged_headers(tmp_path, content, message):
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(InputError, match=message):
        inspect_cloud(tmp_path / "a.ply")
