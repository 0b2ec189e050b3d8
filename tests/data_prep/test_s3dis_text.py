"""The annotation parser: the strict parse, the defects it mends, and what it refuses with file and line."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep._s3dis_text import MAX_MENDED_LINES, MendedLine, mend_line, parse_points
from pointseg.errors import InputError

GOOD = b"-0.870 -0.039 2.674 221 211 175\n"


def parse(tmp_path, data):
    path = tmp_path / "wall_1.txt"
    path.write_bytes(data)
    return parse_points(path, data)


def twin(data):
    """Slow twin: Python's own split and float."""
    return [[float(token) for token in line.split()] for line in data.decode("ascii").splitlines() if line.strip()]


coordinate = st.floats(-1e4, 1e4).map(lambda x: f"{x:.3f}") | st.floats(-1e4, 1e4).map(repr)
color = st.integers(0, 255).map(str) | st.integers(0, 255).map(lambda c: f"{c}.000000")
gap = st.sampled_from([" ", "  ", "\t"])
row = st.tuples(coordinate, coordinate, coordinate, color, color, color, gap).map(lambda t: t[-1].join(t[:-1]))
line = st.tuples(st.sampled_from(["", " "]), row, st.sampled_from(["\n", "\r\n", " \n", "\n\n"])).map("".join)


@given(st.lists(line, min_size=1, max_size=20))
@settings(max_examples=80, deadline=None)
def test_equals_the_slow_twin(tmp_path_factory, lines):
    data = "".join(lines).encode()
    points = parse(tmp_path_factory.getbasetemp(), data)
    expected = np.array(twin(data))
    np.testing.assert_array_equal(points.coord, expected[:, :3])
    np.testing.assert_array_equal(points.color, expected[:, 3:])
    assert points.coord.dtype == np.float64
    assert points.color.dtype == np.uint8
    assert points.mended == ()


def test_the_last_line_needs_no_newline(tmp_path):
    assert parse(tmp_path, GOOD + GOOD.strip()).coord.shape == (2, 3)


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\n"])
def test_a_file_without_points(tmp_path, data):
    points = parse(tmp_path, data)
    assert points.coord.shape == points.color.shape == (0, 3)


DEFECTS = {
    "separator lost, hallway_6": (b"22.350 6.692 3.048 185\x16187 190", b"22.350 6.692 3.048 185 187 190"),
    "separator lost, other byte": (b"1.5 2.5 3.5 4 5\x00\x0167", b"1.5 2.5 3.5 4 5 67"),
    "digit covered, hallway_2": (b"19.302 -9.1\x160 1.785 146 137 106", b"19.302 -9.10 1.785 146 137 106"),
    "byte after a number": (b"19.302 -9.10\x16 1.785 146 137 106", b"19.302 -9.10 1.785 146 137 106"),
    "inside decimals, office_19": (
        b"1.0 2.0 3.0 101.000000 102.000000 103.0\x100000",
        b"1.0 2.0 3.0 101.000000 102.000000 103.00000",
    ),
    "after the point": (b"1.0 2.0 3.0 167.\x1000000 1.000000 2.000000", b"1.0 2.0 3.0 167.00000 1.000000 2.000000"),
    "between integers of a whole row": (b"1.5 2.5 3.5 1\x102 5 6", b"1.5 2.5 3.5 12 5 6"),
    "between number and decimal of a short row": (b"1.5 2.5 3.5 4 1\x102 6", b"1.5 2.5 3.5 4 12 6"),
    "byte-order mark": (b"\xef\xbb\xbf1.5 2.5 3.5 4 5 6", b"1.5 2.5 3.5 4 5 6"),
    "white space of other alphabets": (b"1.5 2.5 3.5 4 5 6\x0c", b"1.5 2.5 3.5 4 5 6"),
    "unit separator, which Python splits at": (b"1.5 2.5 3.5 4\x1c5 6", b"1.5 2.5 3.5 4 5 6"),
    "first number": (b"3\x107 2.5 3 4 5", b"3 7 2.5 3 4 5"),
    "last number": (b"3.5 7 2 4 5\x106\r", b"3.5 7 2 4 5 6\r"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_known_kinds_of_defects_are_mended(tmp_path, name):
    bad, mended = DEFECTS[name]
    assert mend_line(bad) == mended
    points = parse(tmp_path, GOOD * 3 + bad + b"\n" + GOOD)
    expected = np.array(twin(GOOD * 3 + mended + b"\n" + GOOD))
    np.testing.assert_array_equal(np.hstack([points.coord, points.color]), expected)
    (entry,) = points.mended
    assert entry.line == 4
    assert entry.after == mended.strip().decode()
    assert "\\x" in entry.before
    assert entry.before.isascii()
    assert entry.before.isprintable()


def test_defects_on_first_and_last_line(tmp_path):
    bad = b"1.5 2.5 3.5 4\x165 6"
    points = parse(tmp_path, bad + b"\r\n" + GOOD + bad)
    assert points.color.tolist() == [[4, 5, 6], [221, 211, 175], [4, 5, 6]]
    assert points.mended == tuple(MendedLine(n, "1.5 2.5 3.5 4\\x165 6", "1.5 2.5 3.5 4 5 6") for n in (1, 3))


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_stray_byte_beside_a_number_never_changes_the_values(tmp_path_factory, data):
    tokens = [data.draw(coordinate).encode() for _ in range(3)] + [data.draw(color).encode() for _ in range(3)]
    byte = bytes([data.draw(st.sampled_from([0, 1, 7, 16, 22, 27, 127, 128, 160, 255]))])
    where = data.draw(st.integers(0, 5))
    stained = [*tokens]
    stained[where] = byte + tokens[where] if data.draw(st.booleans()) else tokens[where] + byte
    points = parse(tmp_path_factory.getbasetemp(), b" ".join(stained) + b"\n")
    assert [*points.coord[0], *points.color[0]] == [float(t) for t in tokens]


REFUSED = {
    "five columns": (b"1 2 3 4 5", r"is not six finite numbers"),
    "seven columns": (b"1 2 3 4 5 6 7", r"is not six finite numbers"),
    "not a number": (b"1.0.0 2 3 4 5 6", r"'1\.0\.0 2 3 4 5 6' is not six finite numbers"),
    "a sign alone": (b"- 2 3 4 5 6", r"is not six"),
    "NaN": (b"nan 2 3 4 5 6", r"holds NaN or infinity"),
    "infinity": (b"1 -Infinity 3 4 5 6", r"holds NaN or infinity"),
    "overflow": (b"1e999 2 3 4 5 6", r"out of range: numbers must be finite"),
    "colour above": (b"1 2 3 4 5 256", r"'1 2 3 4 5 256' is out of range: colours must be whole numbers in 0\.\.255"),
    "colour below": (b"1 2 3 -1 5 6", r"colours must be whole numbers in 0\.\.255"),
    "fraction of a colour": (b"1 2 3 0.5 0.25 1", r"colours must be whole numbers"),
    "words": (b"x y z r g b", r"'x y z r g b' is not six numbers .* cannot be repaired"),
    "commas": (b"1.5,2.5,3.5,4,5,6", r"cannot be repaired"),
    "stray byte after a fraction": (b"1.5 2.5 3.5 4.0\x165 6", r"cannot be repaired"),
    "stray byte before a fraction": (b"1\x162.5 3.5 4 5 6", r"cannot be repaired"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_naming_file_and_line(tmp_path, name):
    bad, message = REFUSED[name]
    with pytest.raises(InputError, match=rf"wall_1\.txt, line 4: .*{message}"):
        parse(tmp_path, GOOD + b"\n" + GOOD + bad + b"\n" + GOOD)


def test_the_first_bad_line_is_named_after_a_mended_one(tmp_path):
    with pytest.raises(InputError, match=r"line 3: '1 2 3' is not six"):
        parse(tmp_path, b"1.5 2.5 3.5 4\x165 6\n" + GOOD + b"1 2 3\n1 2\n")


def test_a_whole_file_of_seven_columns_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"line 1: '1 2 3 4 5 6 7' is not six"):
        parse(tmp_path, b"1 2 3 4 5 6 7\n" * 5)


def test_another_format_is_not_mended_line_by_line(tmp_path):
    decimal_commas = b"1,5 2,5 3,5 4 5 6\n"
    parse(tmp_path, decimal_commas * MAX_MENDED_LINES)
    with pytest.raises(InputError, match=rf"line {MAX_MENDED_LINES + 1}: .* in another format"):
        parse(tmp_path, decimal_commas * (MAX_MENDED_LINES + 1))


def test_values_survive_unrounded(tmp_path):
    points = parse(tmp_path, b"1234567.123456789 -0.1 1e-3 0 255 128\n")
    assert points.coord[0].tolist() == [1234567.123456789, -0.1, 0.001]
    assert math.copysign(1, parse(tmp_path, b"-0.0 0 0 0 0 0\n").coord[0, 0]) == -1
