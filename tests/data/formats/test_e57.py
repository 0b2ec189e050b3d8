"""E57: poses, spherical scans, rows without a point, fields of some scans only, what stays when written back."""

import numpy as np
import pytest

from pointseg.data.formats import inspect_cloud, iter_cloud, read_cloud, write_predictions
from pointseg.errors import InputError

pye57 = pytest.importorskip("pye57")
lib = pye57.libe57

CARTESIAN = ("cartesianX", "cartesianY", "cartesianZ")


def scan_fields(n, seed, **more):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-9, 9, n) for name in CARTESIAN} | more


def write(path, scans):
    """``scans``: (fields, rotation w x y z, translation) each; through pye57's own writer."""
    with pye57.E57(str(path), mode="w") as file:
        for fields, rotation, translation in scans:
            file.write_scan_raw(fields, rotation=np.array(rotation), translation=np.array(translation))


def reference(path):
    """The same through pye57's own reader, all scans one after another."""
    file = pye57.E57(str(path))
    scans = [file.read_scan(i, ignore_missing_fields=True) for i in range(file.scan_count)]
    return np.concatenate([np.stack([scan[name] for name in CARTESIAN], axis=1) for scan in scans])


def test_poses_and_rows_without_a_point(tmp_path):
    path, target = tmp_path / "a.e57", tmp_path / "b.e57"
    state = np.array([0, 1, 0, 2, 0, 0, 0, 0, 1, 0], np.int8)
    rotation = np.array([0.5, 0.1, -0.7, 0.3]) / np.linalg.norm([0.5, 0.1, -0.7, 0.3])
    first = scan_fields(10, 0, cartesianInvalidState=state)
    first["cartesianX"][1] = 1e30  # what stands in such a row does not matter
    write(path, [(first, rotation, [6e5, 7e6, 50]), (scan_fields(6, 1), [1, 0, 0, 0], [0, 0, 0])])
    assert inspect_cloud(path).num_points == 16
    found = read_cloud(path)
    np.testing.assert_allclose(found.coord, reference(path), rtol=0, atol=1e-8)
    assert len(found.coord) == 13
    assert found.notes["rows the file marks as holding no point: left out"] == 3
    np.testing.assert_array_equal(np.concatenate([c.coord for c in iter_cloud(path, chunk_points=4)]), found.coord)
    with pytest.raises(InputError, match="16 predictions for the 13 points"):
        write_predictions(path, target, np.zeros(16, int))
    write_predictions(path, target, np.arange(13), confidence=np.full(13, 0.5))
    np.testing.assert_array_equal(read_cloud(target).coord, found.coord)
    np.testing.assert_array_equal(read_cloud(target, label_field="pred").label, np.arange(13))
    stored = raw(target, 0, "pointseg:pred", "q"), raw(target, 0, "pointseg:confidence", "f")
    assert stored[0].tolist() == [0, -1, 1, -1, 2, 3, 4, 5, -1, 6]
    assert stored[1].tolist() == [0.5, 0, 0.5, 0, 0.5, 0.5, 0.5, 0.5, 0, 0.5]


def raw(path, scan, field, kind):
    image = lib.ImageFile(str(path), "r")
    points = image.root()["data3D"][scan]["points"]
    values = np.empty(points.childCount(), kind)
    buffers = lib.VectorSourceDestBuffer()
    buffers.append(lib.SourceDestBuffer(image, field, values, len(values), True, False))
    reader = points.reader(buffers)
    reader.read()
    reader.close()
    image.close()
    return values


def tree(node):
    """Everything in a file but the points: path -> type, value and limits."""
    found = {node.pathName(): (type(node).__name__, *(getattr(node, m)() for m in METHODS if hasattr(node, m)))}
    if isinstance(node, lib.BlobNode):
        data = np.empty(node.byteCount(), np.uint8)
        node.read(data, 0, len(data))
        found[node.pathName()] += (data.tobytes(),)
    if isinstance(node, lib.CompressedVectorNode):
        prototype = lib.StructureNode(node.prototype())
        found |= {f"{node.pathName()}/{path}": value for path, value in tree(prototype).items()}
    elif isinstance(node, lib.StructureNode | lib.VectorNode):
        for i in range(node.childCount()):
            found |= tree(node[i])
    return found


METHODS = ("value", "minimum", "maximum", "scale", "offset", "precision", "byteCount", "allowHeteroChildren")


def test_everything_else_stays(tmp_path):
    path, target = tmp_path / "a.e57", tmp_path / "b.e57"
    n = 50
    colors = {
        f"color{c}": np.random.default_rng(2).integers(0, 256, n).astype(np.uint8) for c in ("Red", "Green", "Blue")
    }
    intensity = np.random.default_rng(3).random(n).astype(np.float32)
    write(path, [(scan_fields(n, 0, intensity=intensity, **colors), [0, 1, 0, 0], [1, 2, 3])])
    write_predictions(path, target, np.arange(n))
    old, new = lib.ImageFile(str(path), "r"), lib.ImageFile(str(target), "r")
    before, after = tree(old.root()), tree(new.root())
    added = {key for key in after if "pointseg:pred" in key}
    assert len(added) == 1
    assert {key: value for key, value in after.items() if key not in added} == before
    assert new.extensionsCount() == old.extensionsCount() + 1
    for name in (*CARTESIAN, "intensity"):
        assert raw(path, 0, name, "f").tobytes() == raw(target, 0, name, "f").tobytes()
    for name in colors:
        np.testing.assert_array_equal(raw(path, 0, name, "q"), raw(target, 0, name, "q"))
    found = read_cloud(target)
    np.testing.assert_array_equal(found.color, np.stack(list(colors.values()), axis=1))
    np.testing.assert_array_equal(found.intensity, intensity)


def test_fields_that_only_some_scans_have(tmp_path):
    colors = {f"color{c}": np.full(5, 200, np.uint8) for c in ("Red", "Green", "Blue")}
    write(
        tmp_path / "a.e57", [(scan_fields(5, s, **more), [1, 0, 0, 0], [0, 0, 0]) for s, more in ((0, colors), (1, {}))]
    )
    found = read_cloud(tmp_path / "a.e57")
    assert found.color is None
    assert found.notes == {"fields not in every scan, so not read: colorRed, colorGreen, colorBlue": 10}


def spherical(path, values):
    image = lib.ImageFile(str(path), "w")
    image.extensionsAdd("", lib.E57_V1_0_URI)
    scans = lib.VectorNode(image, True)
    image.root().set("data3D", scans)
    scan, prototype = lib.StructureNode(image), lib.StructureNode(image)
    buffers = lib.VectorSourceDestBuffer()
    for name, column in values.items():
        prototype.set(name, lib.FloatNode(image, 0.0))
        buffers.append(lib.SourceDestBuffer(image, name, column, len(column), True, True))
    points = lib.CompressedVectorNode(image, prototype, lib.VectorNode(image, True))
    scan.set("points", points)
    scans.append(scan)
    if values:
        writer = points.writer(buffers)
        writer.write(len(column))
        writer.close()
    image.close()


def test_fields_of_an_earlier_namespace_are_read_and_replaced(tmp_path, monkeypatch):
    first, second, third = (tmp_path / f"{name}.e57" for name in "abc")
    write(first, [(scan_fields(4, 0), [1, 0, 0, 0], [0, 0, 0])])
    with monkeypatch.context() as earlier:
        earlier.setattr("pointseg.data.formats.e57_copy._URI", "https://example.org/earlier")
        write_predictions(first, second, np.arange(4))
    assert namespaces(second)["pointseg"] == "https://example.org/earlier"
    assert read_cloud(second, label_field="pred").label.tolist() == [0, 1, 2, 3]
    write_predictions(second, third, np.arange(4)[::-1])
    assert namespaces(third)["pointseg"] == "urn:pointseg:e57"
    assert read_cloud(third, label_field="pred").label.tolist() == [3, 2, 1, 0]
    np.testing.assert_array_equal(read_cloud(third).coord, read_cloud(first).coord)


def namespaces(path):
    image = lib.ImageFile(str(path), "r")
    found = {image.extensionsPrefix(i): image.extensionsUri(i) for i in range(image.extensionsCount())}
    image.close()
    return found


def test_spherical_coordinates(tmp_path):
    quarter = np.pi / 2
    values = {
        "sphericalRange": np.array([2.0, 2, 2, 2]),
        "sphericalAzimuth": np.array([0, quarter, np.pi, 1.0]),
        "sphericalElevation": np.array([0, 0, np.pi / 6, quarter]),
    }
    spherical(tmp_path / "a.e57", values)
    expected = [[2, 0, 0], [0, 2, 0], [-np.sqrt(3), 0, 1], [0, 0, 2]]
    np.testing.assert_allclose(read_cloud(tmp_path / "a.e57").coord, expected, atol=1e-12)


def test_files_that_are_no_cloud(tmp_path):
    spherical(tmp_path / "a.e57", {"intensity": np.zeros(3)})
    with pytest.raises(InputError, match="scan 0 has no coordinates; its fields are intensity"):
        inspect_cloud(tmp_path / "a.e57")
    angles = {"sphericalAzimuth": np.zeros(1), "sphericalElevation": np.zeros(1)}
    spherical(tmp_path / "b.e57", {"sphericalRange": np.array([np.nan]), **angles})
    with pytest.raises(InputError, match=r"point 0 .* nan"):
        read_cloud(tmp_path / "b.e57")
    image = lib.ImageFile(str(tmp_path / "c.e57"), "w")
    image.extensionsAdd("", lib.E57_V1_0_URI)
    image.root().set("data3D", lib.VectorNode(image, True))
    image.close()
    with pytest.raises(InputError, match="holds no points"):
        inspect_cloud(tmp_path / "c.e57")


def test_bytes_that_changed_on_the_way(tmp_path):
    write(tmp_path / "a.e57", [(scan_fields(2000, 0), [1, 0, 0, 0], [0, 0, 0])])
    data = bytearray((tmp_path / "a.e57").read_bytes())
    data[5000] ^= 0xFF
    (tmp_path / "a.e57").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.e57 cannot be read as E57"):
        read_cloud(tmp_path / "a.e57")
    assert (tmp_path / "a.e57").exists()
