"""The known defects: each is repaired to what its table says, and what a folder lacks of a complete S3DIS is named."""

import os
from pathlib import Path

import numpy as np
import pytest

from data_prep._s3dis_counts import ROOMS, missing, rooms_of
from data_prep._s3dis_defects import ODD_FILES, STRAY_BYTES, odd_file, skipped_copy, stray_byte
from data_prep._s3dis_text import mend_line, parse_points

DATA = os.environ.get("POINTSEG_TEST_DATA")
LISTED = Path(DATA or ".") / "s3dis" / "anno_paths.txt"
GOOD = b"0.577500 -12.407500 2.604000 1 2 3\n"
LINES = {
    "Area_5/hallway_6/Annotations/ceiling_1.txt": (
        b"22.350 6.692 3.048 185\x00187 182",
        [22.35, 6.692, 3.048, 185, 187, 182],
    ),
    "Area_5/office_19/Annotations/ceiling_1.txt": (
        b"1.0 2.0 3.0 101.000000 102.000000 103.0\x100000",
        [1.0, 2.0, 3.0, 101, 102, 103],
    ),
    "Area_2/auditorium_1/auditorium_1.txt": (
        b"0.577500 -12.407500 2.604000 167.\x1000000 175.000000 177.000000",
        [0.5775, -12.4075, 2.604, 167, 175, 177],
    ),
    "Area_3/hallway_2/hallway_2.txt": (b"19.302 -9.1\x160 1.785 146 137 106", [19.302, -9.16, 1.785, 146, 137, 106]),
}


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("defect", STRAY_BYTES, ids=lambda d: d.file)
def test_a_known_line_reads_as_it_should_and_is_called_known(tmp_path, defect):
    line, values = LINES[defect.file]
    path = write(tmp_path / "anywhere", defect.file, GOOD * (defect.line - 1) + line + b"\n" + GOOD)
    points = parse_points(path, path.read_bytes())
    assert len(points.coord) == defect.line + 1
    assert [*points.coord[-2], *points.color[-2]] == values
    (mended,) = points.mended
    assert (mended.line, mended.known) == (defect.line, True)


@pytest.mark.parametrize("defect", STRAY_BYTES, ids=lambda d: d.file)
def test_the_general_rule_agrees_with_the_table(defect):
    line, _ = LINES[defect.file]
    assert mend_line(line) == line.replace(defect.holds, defect.reads)


def test_the_same_damage_elsewhere_is_unknown(tmp_path):
    defect = STRAY_BYTES[0]
    line, _ = LINES[defect.file]
    for name, content in [
        (defect.file, GOOD + line),
        (defect.file.replace("hallway_6", "hallway_7"), GOOD * (defect.line - 1) + line),
        (defect.file, GOOD * (defect.line - 1) + b"1.0 2.0 3.0 4\x015 6"),
    ]:
        path = write(tmp_path, name, content)
        assert [mended.known for mended in parse_points(path, content).mended] == [False]


def test_defects_are_found_by_the_end_of_the_path_only():
    for defect in STRAY_BYTES:
        assert stray_byte(Path("/a/b") / defect.file, defect.line) is defect
        assert stray_byte(Path(defect.file), defect.line + 1) is None
        assert stray_byte(Path("/a") / f"x{defect.file}", defect.line) is None
    for odd in ODD_FILES:
        assert odd_file(Path("raw") / odd.file) is odd
    assert odd_file(Path("raw/Area_5/office_35/Annotations/wall_3 (1).txt")) is None


def test_a_skipped_copy_says_whether_it_is_one(tmp_path):
    original = write(tmp_path, "Area_5/office_36/Annotations/wall_3.txt", GOOD)
    known = write(tmp_path, "Area_5/office_36/Annotations/wall_3 (1).txt", GOOD)
    assert skipped_copy(known, original) == "skipped, a copy of wall_3.txt, a known defect"
    other = write(tmp_path, "Area_5/office_36/Annotations/wall_3 (2).txt", GOOD * 2)
    assert skipped_copy(other, original) == "skipped, named as a copy of, but different from, wall_3.txt"


def complete(raw):
    for area in ROOMS:
        for room in rooms_of(area):
            (raw / area / room).mkdir(parents=True)


def test_a_complete_download_lacks_nothing(tmp_path):
    complete(tmp_path)
    (tmp_path / "Area_1" / "Area_1_alignmentAngle.txt").touch()
    (tmp_path / "Area_1" / ".ipynb_checkpoints").mkdir()
    assert sum(len(list(area.glob("*_[0-9]*/"))) for area in tmp_path.iterdir()) == 272
    assert missing(tmp_path) == []


def test_what_is_missing_or_extra_is_named(tmp_path):
    complete(tmp_path)
    for room in ("office_7", "hallway_15"):
        (tmp_path / "Area_5" / room).rmdir()
    (tmp_path / "Area_1" / "office_99").mkdir()
    for room in rooms_of("Area_3"):
        (tmp_path / "Area_3" / room).rmdir()
    (tmp_path / "Area_3").rmdir()
    for room in rooms_of("Area_6")[2:]:
        (tmp_path / "Area_6" / room).rmdir()
    assert missing(tmp_path) == [
        "not in the raw folder, so not prepared: Area_3",
        "Area_1 has rooms that are not in S3DIS: office_99",
        "Area_5 has 66 rooms of 68; missing: hallway_15, office_7",
        "Area_6 has 2 rooms of 48; missing: hallway_1, hallway_2, hallway_3, hallway_4, hallway_5, hallway_6, "
        "lounge_1, office_1 and 38 more",
    ]
    assert missing(tmp_path, ["Area_2", "Area_4"]) == []


def test_gaps_in_the_numbers_of_objects_are_named(tmp_path):
    complete(tmp_path)
    for name in ("wall_1", "wall_2", "wall_5", "chair_2", "wall_3 (1)", "floor"):
        write(tmp_path, f"Area_4/office_3/Annotations/{name}.txt", GOOD)
    (note,) = missing(tmp_path, ["Area_4"])
    assert "no Area_4/office_3/chair_1, Area_4/office_3/wall_3, Area_4/office_3/wall_4; files may be missing" in note


@pytest.mark.skipif(not LISTED.is_file(), reason="POINTSEG_TEST_DATA does not hold S3DIS's list of rooms")
def test_the_rooms_are_those_of_the_published_list():
    listed = [line.split("/")[:2] for line in LISTED.read_text().split()]
    assert sorted(map(tuple, listed)) == sorted((area, room) for area in ROOMS for room in rooms_of(area))


@pytest.mark.skipif(not LISTED.is_file(), reason="POINTSEG_TEST_DATA does not hold the S3DIS room")
def test_the_real_room_has_no_gaps_and_its_area_lacks_the_others():
    notes = missing(LISTED.parent)
    assert notes[0] == "not in the raw folder, so not prepared: Area_1, Area_2, Area_4, Area_5, Area_6"
    assert notes[1].startswith(
        "Area_3 has 1 rooms of 23; missing: WC_1, WC_2, conferenceRoom_1, hallway_1, hallway_2, "
    )
    assert len(notes) == 2
    assert np.isin(["hallway_3"], rooms_of("Area_3")).all()
