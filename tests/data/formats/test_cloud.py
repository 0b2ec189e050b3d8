"""Every cloud format against files written by other libraries or by hand: what is read, refused and written back."""

import sys
import tracemalloc

import numpy as np
import pytest
from foreign_files import MAKERS, cloud, make_ply
from plyfile import PlyData, PlyElement

from pointseg.data.formats import inspect_cloud, iter_cloud, read_cloud, write_predictions
from pointseg.errors import InputError


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
