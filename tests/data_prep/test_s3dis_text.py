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
@settings(max_examples=80)
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
    "space turned NUL, hallway_6": (b"22.350 6.692 3.048 185\x00187 182", b"22.350 6.692 3.048 185 187 182"),
    "6 turned 0x16, hallway_2": (b"19.302 -9.1\x160 1.785 146 137 106", b"19.302 -9.160 1.785 146 137 106"),
    "0 turned 0x10, office_19": (
        b"1.0 2.0 3.0 101.000000 102.000000 103.0\x100000",
        b"1.0 2.0 3.0 101.000000 102.000000 103.000000",
    ),
    "0 turned 0x10, auditorium_1": (
        b"0.577500 -12.407500 2.604000 167.\x1000000 175.000000 177.000000",
        b"0.577500 -12.407500 2.604000 167.000000 175.000000 177.000000",
    ),
    "point turned 0x0e": (b"1.5 2\x0e5 3.5 4 5 6", b"1.5 2.5 3.5 4 5 6"),
    "digit of a colour": (b"1.5 2.5 3.5 1\x102 5 6", b"1.5 2.5 3.5 102 5 6"),
    "the digit would make no colour": (b"1.5 2.5 3.5 185\x11 5 6", b"1.5 2.5 3.5 185 5 6"),
    "separator lost, other byte": (b"1.5 2.5 3.5 4 5\x80\x0167", b"1.5 2.5 3.5 4 5 67"),
    "separator lost, a digit would make five columns": (b"1.5 2.5 3.5 4\x165 6", b"1.5 2.5 3.5 4 5 6"),
    "byte after a number": (b"19.302 -9.10\x01 1.785 146 137 106", b"19.302 -9.10 1.785 146 137 106"),
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
    assert points.mended == tuple(MendedLine(n, "1.5 2.5 3.5 4\\x165 6", "1.5 2.5 3.5 4 5 6", False) for n in (1, 3))


@given(st.data())
@settings(max_examples=80)
def test_a_byte_that_cannot_have_been_a_digit_never_changes_the_values(tmp_path_factory, data):
    tokens = [data.draw(coordinate).encode() for _ in range(3)] + [data.draw(color).encode() for _ in range(3)]
    byte = bytes([data.draw(st.sampled_from([1, 7, 12, 27, 31, 127, 128, 160, 255]))])
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
    "words": (b"x y z r g b", r"'x y z r g b' is not six numbers .* cannot be repaired, for 'x' is in no number"),
    "a comment": (b"# 1 2 3 4 5 6", r"'#' is in no number"),
    "a letter": (b"1.5a 2 3 4 5 6", r"'a' is in no number"),
    "commas": (b"1.5,2.5,3.5,4,5,6", r"holds commas, but S3DIS's lines are .* with spaces between"),
    "decimal commas": (b"1,5 2,5 3,5 4 5 6", r"holds commas, .* points in the numbers"),
    "one comma": (b"1.5 2.5 3.5 4,5 6", r"holds commas"),
    "semicolons": (b"1.5;2.5;3.5;4;5;6", r"holds semicolons"),
    "UTF-16": ("1.5 2.5 3.5 4 5 6".encode("utf-16-le"), r"in several places and cannot be repaired"),
    "non-breaking spaces": ("1.5\u00a02.5\u00a03.5 4 5 6".encode(), r"in several places"),
    "stray byte after a fraction": (b"1.5 2.5 3.5 4.0\x165 6", r"cannot be repaired"),
    "stray byte before a fraction": (b"1\x162.5 3.5 4 5 6", r"cannot be repaired"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_naming_file_and_line(tmp_path, name):
    bad, message = REFUSED[name]
    with pytest.raises(InputError, match=rf"wall_1\.txt, line 4: .*{message}"):
        parse(tmp_path, GOOD + b"\n" + GOOD + bad + b"\n" + GOOD)


@given(st.data())
@settings(max_examples=80)
def test_one_flipped_bit_in_a_digit_or_point_is_undone(tmp_path_factory, data):
    """What the known defects have in common, anywhere in a line whose numbers have fixed decimals."""
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    line = "{:.3f} {:.3f} {:.3f} {} {} {}".format(*rng.uniform(-50, 50, 3), *rng.integers(10, 200, 3)).encode()
    coordinates = line.rsplit(b" ", 3)[0]
    where = data.draw(st.sampled_from([i for i, byte in enumerate(coordinates) if byte in b".0123456789"]))
    damaged = line[:where] + bytes([line[where] ^ 0x20]) + line[where + 1 :]
    points = parse(tmp_path_factory.getbasetemp(), GOOD + damaged + b"\n")
    assert [*points.coord[1], *points.color[1]] == [float(token) for token in line.split()]


def test_the_first_bad_line_is_named_after_a_mended_one(tmp_path):
    with pytest.raises(InputError, match=r"line 3: '1 2 3' is not six"):
        parse(tmp_path, b"1.5 2.5 3.5 4\x165 6\n" + GOOD + b"1 2 3\n1 2\n")


def test_a_whole_file_of_seven_columns_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"line 1: '1 2 3 4 5 6 7' is not six"):
        parse(tmp_path, b"1 2 3 4 5 6 7\n" * 5)


def test_another_format_is_not_mended_line_by_line(tmp_path):
    form_feeds = b"1.5 2.5 3.5 4 5 6\x0c\n"
    assert len(parse(tmp_path, form_feeds * MAX_MENDED_LINES).mended) == MAX_MENDED_LINES
    with pytest.raises(InputError, match=rf"line {MAX_MENDED_LINES + 1}: .* in another format"):
        parse(tmp_path, form_feeds * (MAX_MENDED_LINES + 1))


@pytest.mark.parametrize("lines", [1, MAX_MENDED_LINES])
def test_a_short_file_with_decimal_commas_is_not_mended(tmp_path, lines):
    with pytest.raises(InputError, match=r"line 1: '1,5 2,5 3,5 4 5 6' holds commas"):
        parse(tmp_path, b"1,5 2,5 3,5 4 5 6\n" * lines)


def test_values_survive_unrounded(tmp_path):
    points = parse(tmp_path, b"1234567.123456789 -0.1 1e-3 0 255 128\n")
    assert points.coord[0].tolist() == [1234567.123456789, -0.1, 0.001]
    assert math.copysign(1, parse(tmp_path, b"-0.0 0 0 0 0 0\n").coord[0, 0]) == -1
