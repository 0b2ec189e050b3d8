"""Lists of scenes and of annotated points: every form they come in, and that none of them can run anything."""

import os
import pickle

import numpy as np
import pytest
import torch

from data_prep._scannet_lists import read_point_lists, read_scene_list
from pointseg.errors import InputError

LISTS = {"scene0000_00": np.array([7, 3, 81000]), "scene0123_01": np.array([0])}


class Runs:
    """Unpickled carelessly, calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def check(lists):
    assert list(lists) == list(LISTS)
    for scene, expected in LISTS.items():
        np.testing.assert_array_equal(lists[scene], expected)
        assert lists[scene].dtype == np.int64


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["<i8", ">i4", "<u2", "tensor"])
def test_torch_files(tmp_path, zipped, kind):
    if kind == "tensor":
        content = {scene: torch.tensor(points) for scene, points in LISTS.items()}
    else:
        # 81000 does not fit into two bytes.
        content = {scene: (points % 65536).astype(kind) for scene, points in LISTS.items()}
    torch.save(content, tmp_path / "points3", _use_new_zipfile_serialization=zipped)
    lists = read_point_lists(tmp_path / "points3")
    for scene, points in LISTS.items():
        np.testing.assert_array_equal(lists[scene], points if kind == "tensor" else points % 65536)
        assert lists[scene].dtype == np.int64


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_saved_by_older_and_newer_numpy(tmp_path, module):
    path = tmp_path / "points3"
    torch.save(LISTS, path, _use_new_zipfile_serialization=False)
    saved = path.read_bytes()
    ours = next(name for name in (b"numpy.core.multiarray", b"numpy._core.multiarray") if name in saved)
    path.write_bytes(saved.replace(ours, module))
    check(read_point_lists(path))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "name"), [(os.system, r"\S*\.system"), (eval, r"\S*eval"), (np.save, "numpy.save"), (open, r"\S+open")]
)
def test_a_file_that_would_run_something_is_refused_and_runs_nothing(tmp_path, zipped, function, name):
    made = tmp_path / "made"
    arguments = {
        os.system: (f"touch {made}",),
        eval: (f"open({str(made)!r}, 'w')",),
        np.save: (f"{made}.npy", 1),
        open: (str(made), "w"),
    }[function]
    path = tmp_path / "points3"
    torch.save(LISTS | {"scene0002_00": Runs(function, *arguments)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=rf"asks for {name}, but lists of points .* nothing of it was run") as caught:
        read_point_lists(path)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["points3"]


def test_a_plain_pickle_is_refused(tmp_path):
    (tmp_path / "points3").write_bytes(
        pickle.dumps({"scene0000_00": Runs(os.mkdir, str(tmp_path / "made"))}, protocol=2)
    )
    with pytest.raises(InputError, match="points3"):
        read_point_lists(tmp_path / "points3")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"scene0000_00": np.array([1.0])}, "damaged or no dictionary"),
        ({"scene0000_00": np.array([{}])}, "damaged or no dictionary"),
        ({"scene0000_00": torch.tensor([1.0])}, "float32 of shape"),
        ({"scene0000_00": np.array([[1]])}, "of shape"),
        ({"scene0000_00": np.array([-1])}, "point -1"),
        ({"scene0000_00": [1, 2]}, "is a list"),
        ({"hall": np.array([1])}, "'hall' is no scene's name"),
        ({3: np.array([1])}, "an entry 3"),
        ([np.array([1])], "holds a list"),
        ({}, "holds no lists"),
    ],
)
def test_other_content_is_refused(tmp_path, zipped, content, said):
    torch.save(content, tmp_path / "points3", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=said):
        read_point_lists(tmp_path / "points3")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_cut_anywhere_is_refused(tmp_path, zipped):
    path = tmp_path / "points3"
    torch.save(LISTS, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    # The older format ends with a list of storages, which files of NumPy arrays do not need: 6 bytes.
    for length in np.linspace(2, len(whole) - 7, 25).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="points3"):
            read_point_lists(path)


def test_text_npz_and_folders_say_the_same(tmp_path):
    (tmp_path / "lists.txt").write_text("scene0000_00 7 3 81000\n\nscene0123_01 0\n")
    (tmp_path / "lists.csv").write_text("scene0000_00,7,3,81000\r\nscene0123_01,0\r\n")
    np.savez(tmp_path / "lists.npz", **LISTS)
    folders = [tmp_path / "npy", tmp_path / "txt"]
    for folder in folders:
        folder.mkdir()
    for scene, points in LISTS.items():
        np.save(folders[0] / f"{scene}.npy", points.astype(np.int32))
        (folders[1] / f"{scene}.txt").write_text("\n".join(map(str, points)))
    (folders[1] / ".DS_Store").write_bytes(b"\0\0\0\1")
    for path in [tmp_path / "lists.txt", tmp_path / "lists.csv", tmp_path / "lists.npz", *folders]:
        check(read_point_lists(path))
    for one in (folders[0] / "scene0000_00.npy", folders[1] / "scene0000_00.txt"):
        np.testing.assert_array_equal(read_point_lists(one)["scene0000_00"], [7, 3, 81000])


def test_points_named_twice_are_kept_as_the_file_has_them(tmp_path):
    (tmp_path / "lists.txt").write_text("scene0000_00 5 2 5\n")
    np.testing.assert_array_equal(read_point_lists(tmp_path / "lists.txt")["scene0000_00"], [5, 2, 5])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scene0000_00 1 2\nscene0000_00 3\n", "line 2: scene0000_00 has a line already"),
        ("scene0000_00 1 two\n", "line 1: 'two' is not the number of a point"),
        ("scene0000_00 1 -2\n", "line 1: '-2' is not the number"),
        ("scene0000_00 1 2.0\n", "line 1: '2.0' is not the number"),
        ("1 2 3\n", "'1' is no scene's name"),
        ("", "holds no lists"),
        ("scene0000_00 \ud800", "neither text nor a known kind"),
    ],
)
def test_text_that_is_no_list_is_refused(tmp_path, text, said):
    (tmp_path / "lists.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=said):
        read_point_lists(tmp_path / "lists.txt")


def test_numpy_files_with_objects_or_cut_short_are_refused(tmp_path):
    np.save(tmp_path / "scene0000_00.npy", np.array([Runs(os.mkdir, str(tmp_path / "made"))]), allow_pickle=True)
    np.savez(tmp_path / "lists.npz", scene0000_00=np.array([Runs(os.mkdir, str(tmp_path / "made"))], dtype=object))
    np.savez(tmp_path / "cut.npz", **LISTS)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-40])
    for name in ("scene0000_00.npy", "lists.npz", "cut.npz"):
        with pytest.raises(InputError, match=f"{name} is damaged"):
            read_point_lists(tmp_path / name)
    assert not (tmp_path / "made").exists()


def test_no_such_list(tmp_path):
    for read in (read_point_lists, read_scene_list):
        with pytest.raises(InputError, match=r"nowhere"):
            read(tmp_path / "nowhere")


def test_scene_lists(tmp_path):
    path = tmp_path / "5.txt"
    path.write_bytes(b"scene0239_00.ply\r\nscene0013_02\n\n scene0473_01.ply")
    assert read_scene_list(path) == ("scene0239_00", "scene0013_02", "scene0473_01")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scene0001_00\n<html>\n", "line 2: '<html>' is no scene's name"),
        ("scene0001_00\nscene0001_00.ply\n", "line 2: scene0001_00 is on line 1 already"),
        ("\n", "names no scene"),
    ],
)
def test_scene_lists_that_are_none(tmp_path, text, said):
    (tmp_path / "5.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        read_scene_list(tmp_path / "5.txt")
