"""NPY and NPZ: names and shapes that are understood, byte orders, pickles refused, other arrays untouched."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from pointseg.data.formats import inspect_cloud, iter_cloud, read_cloud, write_predictions
from pointseg.errors import InputError

COORD = np.arange(30).reshape(10, 3) / 4


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_arrays(tmp_path, dtype, order):
    array = np.hstack([COORD * 4, COORD[:, :1] * 4 + 100])
    np.save(tmp_path / "a.npy", np.asarray(array, dtype=dtype, order=order))
    found = read_cloud(tmp_path / "a.npy", label_field="column_4")
    np.testing.assert_array_equal(found.coord, COORD * 4)
    np.testing.assert_array_equal(found.label, array[:, 3])
    assert found.notes == {"an array without names: columns taken as x y z column_4": 10}
    pred = np.arange(10)
    if dtype == "<i2":
        with pytest.raises(InputError, match="holds int16 without field names"):
            write_predictions(tmp_path / "a.npy", tmp_path / "b.npy", pred)
        return
    write_predictions(tmp_path / "a.npy", tmp_path / "b.npy", pred, confidence=pred / 16)
    new = np.load(tmp_path / "b.npy")
    assert new.dtype == dtype
    np.testing.assert_array_equal(new, np.hstack([array, pred[:, None], pred[:, None] / 16]))


def test_tables_of_subarrays(tmp_path):
    rows = np.zeros(
        10, np.dtype([("xyz", ">f8", 3), ("rgb", "u1", 3), ("cls", "U6"), ("extra", "f4", (2, 2))], align=True)
    )
    rows["xyz"], rows["rgb"], rows["cls"] = COORD, np.arange(30).reshape(10, 3), "tree"
    np.save(tmp_path / "a.npy", rows)
    found = read_cloud(tmp_path / "a.npy", label_field="cls")
    np.testing.assert_array_equal(found.coord, COORD)
    np.testing.assert_array_equal(found.color, rows["rgb"])
    assert set(found.label) == {"tree"}
    write_predictions(tmp_path / "a.npy", tmp_path / "b.npy", np.arange(10))
    new = np.load(tmp_path / "b.npy")
    for name in rows.dtype.names:
        np.testing.assert_array_equal(new[name], rows[name])
    np.testing.assert_array_equal(new["pred"], np.arange(10))


@pytest.mark.parametrize("names", [("coord", "segment"), ("XYZ", "Labels"), ("points", "semantic")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_zips(tmp_path, names, save):
    label = np.arange(10)[:, None] % 3
    more = {"Colors": np.asfortranarray(np.arange(30).reshape(10, 3) / 30), "scene": np.array("hall"), "eye": np.eye(4)}
    save(tmp_path / "a.npz", **{names[0]: np.asfortranarray(COORD), names[1]: label}, **more)
    found = read_cloud(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.coord, COORD)
    np.testing.assert_array_equal(found.label, label[:, 0])
    np.testing.assert_array_equal(found.color, np.rint(more["Colors"] * 255))
    assert inspect_cloud(tmp_path / "a.npz").fields == (names[0], names[1], "Colors")


def test_single_columns_in_a_zip(tmp_path):
    x, y, z = COORD.T
    np.savez(tmp_path / "a.npz", x=x, y=y, z=z, label=np.array(["a", "bb"] * 5))
    chunks = list(iter_cloud(tmp_path / "a.npz", chunk_points=4))
    np.testing.assert_array_equal(np.concatenate([chunk.coord for chunk in chunks]), COORD)
    assert np.concatenate([chunk.label for chunk in chunks]).tolist() == ["a", "bb"] * 5


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_arrays_for_one_thing_the_more_usual_name_is_read(tmp_path, order):
    """Whatever their order in the file; the other is said to be left out."""
    more = {"x": COORD[:, 0] + 50, "colors": np.full((10, 3), 7, np.uint8), "color": np.full((10, 3), 8, np.uint8)}
    arrays = dict(list(({"coord": COORD, "points": COORD + 9} | more).items())[::order])
    np.savez(tmp_path / "a.npz", **arrays)
    table = np.empty(10, [(name, array.dtype, array.shape[1:]) for name, array in arrays.items()])
    for name, array in arrays.items():
        table[name] = array
    np.save(tmp_path / "b.npy", table)
    said = [f"{name} left out: {first} is read in its place" for name, first in (("points", "coord"), ("x", "coord"))]
    for name in ("a.npz", "b.npy"):
        found = read_cloud(tmp_path / name)
        np.testing.assert_array_equal(found.coord, COORD)
        assert (found.color == 8).all()
        assert found.notes == dict.fromkeys([*said, "colors left out: color is read in its place"], 10)
        assert set(inspect_cloud(tmp_path / name).fields) == set(arrays), (
            "nothing of the file is lost when it is copied"
        )
    np.savez(tmp_path / "a.npz", points=np.zeros((4, 3)), coord=COORD)
    assert len(read_cloud(tmp_path / "a.npz").coord) == 10, "the coordinates say how many points there are"


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_pickles_are_never_opened(tmp_path):
    trap = np.array([Trap()] * 10)
    np.save(tmp_path / "a.npy", trap)
    with pytest.raises(InputError, match="cannot be read as NPY"):
        read_cloud(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", coord=COORD, label=trap)
    found = read_cloud(tmp_path / "a.npz")
    assert found.label is None
    write_predictions(tmp_path / "a.npz", tmp_path / "b.npz", np.arange(10))
    with zipfile.ZipFile(tmp_path / "a.npz") as old, zipfile.ZipFile(tmp_path / "b.npz") as new:
        assert new.namelist() == [*old.namelist(), "pred.npy"]
        assert all(old.read(name) == new.read(name) for name in old.namelist())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"holds float64 of shape \(5,\)"),
        (np.zeros((5, 2)), r"shape \(5, 2\)"),
        (np.zeros((5, 3), complex), "complex128"),
        (np.zeros((0, 3)), "a.npy"),
        (np.zeros(4, [("x", "f4"), ("y", "f4")]), "no coordinates x, y, z; its fields are x, y"),
    ],
)
def test_arrays_that_are_no_cloud(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=message):
        read_cloud(tmp_path / "a.npy")


def test_zips_that_are_no_cloud(tmp_path):
    np.savez(tmp_path / "a.npz", position_ids=np.zeros(4), color=np.zeros((4, 3)))
    with pytest.raises(
        InputError, match=r"neither coord \(N, 3\) nor x, y, z; its arrays are position_ids \(4,\), color"
    ):
        read_cloud(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", coord=np.zeros((0, 3)))
    with pytest.raises(InputError, match="holds no points"):
        read_cloud(tmp_path / "a.npz")


def test_a_zip_whose_other_array_is_damaged_is_not_copied(tmp_path):
    other = np.arange(50_000.0)
    np.savez(tmp_path / "a.npz", coord=COORD, other=other)
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data.replace(other.tobytes(), other[::-1].tobytes()))
    assert len(read_cloud(tmp_path / "a.npz").coord) == 10
    with pytest.raises(InputError, match=r"cannot write .*b\.npz: Bad CRC-32 for file 'other.npy'"):
        write_predictions(tmp_path / "a.npz", tmp_path / "b.npz", np.arange(10))
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_promises_of_trillions_of_points_take_no_memory(tmp_path):
    np.save(tmp_path / "a.npy", COORD)
    data = (tmp_path / "a.npy").read_bytes().replace(b"(10, 3), }       ", b"(1000000000, 3), }")
    data = data[:10] + data[10:].replace(b"(1000000000, 3), }", b"(99999999, 3), }  ")[: len(data) - 10]
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("coord.npy", data)
    tracemalloc.start()
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError, match=name):
            read_cloud(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_chunks_take_the_memory_of_a_chunk(tmp_path):
    n = 400_000
    np.save(tmp_path / "a.npy", np.zeros((n, 3)))
    np.savez(tmp_path / "a.npz", coord=np.zeros((n, 3)))
    for name in ("a.npy", "a.npz"):
        tracemalloc.start()
        assert sum(len(chunk.coord) for chunk in iter_cloud(tmp_path / name, chunk_points=5000)) == n
        assert tracemalloc.get_traced_memory()[1] < n * 24 / 4
        tracemalloc.stop()
