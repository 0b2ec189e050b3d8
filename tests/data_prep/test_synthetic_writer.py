"""S3DIS text: the quick formatter against Python's own, rooms written whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.synthetic import writer
from data_prep.synthetic.writer import format_points, write_room

MILLIMETRES = st.integers(-9_999_999, 9_999_999)


@given(st.lists(st.tuples(MILLIMETRES, MILLIMETRES, MILLIMETRES, *[st.integers(0, 255)] * 3), max_size=20))
def test_lines_equal_pythons_formatting(rows: list[tuple[int, ...]]) -> None:
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)
    slow = "".join("{:.3f} {:.3f} {:.3f} {} {} {}\n".format(*(v / 1000 for v in row[:3]), *row[3:]) for row in rows)
    assert format_points(table[:, :3] / 1000, table[:, 3:].astype(np.uint8)) == slow.encode()


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert (
        format_points(np.array([[-0.0004, 0.0004, -0.0006]]), np.zeros((1, 3), np.uint8))
        == b"0.000 0.000 -0.001 0 0 0\n"
    )


def test_room_is_split_by_object_and_replaces_an_older_one(tmp_path: Path) -> None:
    folder = tmp_path / "Area_1" / "office_1"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "Annotations" / "sofa_1.txt").write_text("stale")
    segment = np.array([8, 2, 8, 8])
    instance = np.array([5, 0, 9, 5])
    write_room(folder, np.arange(12.0).reshape(4, 3), np.zeros((4, 3), np.uint8), segment, instance)
    found = {file.name: file.read_text() for file in (folder / "Annotations").iterdir()}
    assert sorted(found) == ["chair_1.txt", "chair_2.txt", "wall_1.txt"]
    assert found["chair_1.txt"] == "0.000 1.000 2.000 0 0 0\n9.000 10.000 11.000 0 0 0\n"
    assert [path.name for path in folder.parent.iterdir()] == ["office_1"]


def test_a_failure_in_mid_write_keeps_the_older_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "office_1"
    arguments = (np.zeros((2, 3)), np.zeros((2, 3), np.uint8), np.array([2, 8]), np.array([0, 1]))
    write_room(folder, *arguments)
    calls = []

    def fail_on_second(coord: np.ndarray, color: np.ndarray) -> bytes:
        calls.append(len(coord))
        if len(calls) == 2:
            raise OSError("disk full")
        return b"new\n"

    monkeypatch.setattr(writer, "format_points", fail_on_second)
    with pytest.raises(OSError, match="disk full"):
        write_room(folder, *arguments)
    assert (folder / "Annotations" / "wall_1.txt").read_text() == "0.000 0.000 0.000 0 0 0\n"
