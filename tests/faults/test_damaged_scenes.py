"""Truncated and altered scenes, class files and labels: whoever reads them says so, and the check finds all of it."""

import json

import numpy as np
import pytest

SCENE = "Area_5/office_1"
GRID = f"{SCENE}/grid_0.1"
SPEC = "sparse_labels/1pct_seed0/spec.json"


def change(value):
    """Set an entry of a JSON file."""
    return lambda data: json.dumps(json.loads(data) | value).encode()


def array(place, value):
    def alter(data):
        values = np.frombuffer(data[128:], np.int64).copy()
        values[place] = value
        return data[:128] + values.tobytes()

    return alter


def not_a_number(data):
    values = np.frombuffer(data[128:], np.float32).copy()
    values[20] = np.nan
    return data[:128] + values.tobytes()


def half(data):
    return data[: len(data) // 2]


def open_header(data):
    """A header whose bracket is closed by another sign: numpy's own reader lets a TokenError through."""
    return data.replace(b"), }", b"(, }", 1)


def deep(data):
    return b"[" * 100_000


def empty(data):
    return b""


READERS = ("info", "evaluate", "predict", "view", "export")
CASES = [
    *[(f"{SCENE}/{name}.npy", damage, READERS) for name in ("coord", "segment") for damage in (half, empty)],
    (f"{SCENE}/coord.npy", open_header, READERS),
    (f"{GRID}/coord.npy", half, READERS),
    (f"{GRID}/point.npy", open_header, READERS),
    (f"{GRID}/inverse.npy", array(7, 2**40), ("evaluate", "predict", "votes")),
    (f"{GRID}/inverse.npy", array(7, -1), ("evaluate", "predict", "votes")),
    (f"{GRID}/point.npy", array(3, 2**40), ("evaluate", "predict", "votes", "label")),
    (f"{SCENE}/coord.npy", not_a_number, ("evaluate", "predict", "votes", "label")),
    (f"{SCENE}/meta.json", deep, READERS),
    (f"{SCENE}/meta.json", half, READERS),
    *[
        (f"{SCENE}/meta.json", change(value), READERS)
        for value in (
            {"offset": []},
            {"offset": [1, 2, float("nan")]},
            {"grids": {"a": {"num_voxels": 1}}},
            {"counts": {"a": 1}},
            {"num_points": True},
            {"arrays": ["color"]},
            {"arrays": ["coord", "coord"]},
            {"facts": None},
            {"repairs": 3},
            {"sha256": None},
        )
    ],
    (SPEC, deep, ("info", "relabel")),
    *[
        (SPEC, change(value), ("info", "relabel"))
        for value in (
            {"counts": "x"},
            {"counts": [10**30] * 13},
            {"counts": []},
            {"scenes": [1]},
            {"scenes": {}},
            {"rule": None},
            {"num_labels": 10**9},
            {"share_of_points": "x"},
            {"classes": None},
        )
    ],
    ("sparse_labels/1pct_seed0/Area_1/office_1.npy", half, ("relabel",)),
    ("sparse_labels/1pct_seed0/Area_1/office_1.npy", array(0, 2**40), ("relabel",)),
    ("classes.yaml", half, READERS),
]


def name_of(value):
    return getattr(value, "__name__", None) if callable(value) else None


@pytest.mark.parametrize(("file", "damage", "readers"), CASES, ids=name_of)
def test_damage_ends_in_one_line_and_is_found_by_the_check(root, run, tmp_path, command, file, damage, readers):
    path = root / file
    path.write_bytes(damage(path.read_bytes()))
    commands = {
        "info": ["data", "info", root],
        "evaluate": ["evaluate", run, "--data", root],
        "votes": ["evaluate", run, "--data", root, "--votes", "2"],
        "predict": ["predict", run, "--data", root, "--out", tmp_path / "out"],
        "view": ["view", root / SCENE, "--out", tmp_path / "views"],
        "export": ["data", "export-pointcept", root, "--out", tmp_path / "pointcept"],
        "label": ["label", "--data", root, "--rule", "1pt", "--splits", "Area_5", "--name", "new"],
        "relabel": ["label", "--data", root, "--rule", "1%", "--voxel-size", "0.1", "--splits", "Area_1", "Area_2"],
    }
    for reader in readers:
        code, said = command(*commands[reader])
        if reader == "info":
            assert code in (1, 2)
            continue
        assert (code, len(said)) == (2, 1), (reader, said)
        assert len(said[0]) < 600
    assert not list(tmp_path.glob("out/*/*.ply"))
    assert not (root / "sparse_labels" / "new").exists()
    assert command("data", "check", root)[0] in (1, 2)
