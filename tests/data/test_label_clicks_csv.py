"""The file of a person's clicks: what is read from it, and what is refused naming the line."""

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.data.label_clicks_csv import Click, read_clicks
from pointseg.errors import InputError

CLASSES = Classes(
    "toy", ("ground", "tall tree", "2", "5"), np.zeros((4, 3), np.uint8), (("g",), ("t",), ("h",), ("x",))
)


def read(tmp_path, content, encoding="utf-8"):
    file = tmp_path / "clicks.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return read_clicks(file, CLASSES)


@pytest.mark.parametrize(
    "text",
    [
        "x,y,z,class\n1.5,-2,3e2,tall tree\n0,0,0,3\n",
        "x;y;z;class\n1.5;-2;3e2;tall tree\n0;0;0;3\n",
        "x\ty\tz\tclass\n1.5\t-2\t3e2\ttall tree\n0\t0\t0\t3\n",
        "x,y,z,class\r\n1.5,-2,3e2,tall tree\r\n0,0,0,3\r\n",
        "x,y,z,class\n1.5,-2,3e2,tall tree\n0,0,0,3",
        ' X , y,Z, Class \n 1.5, -2 ,3e2, "tall tree"\n0,0,0,3\n',
        'x,y,z,class\n"1.5","-2",300,"tall tree"\n0,0,0,5\n',
    ],
)
def test_delimiters_line_ends_and_quotes(tmp_path, text):
    clicks = read(tmp_path, text)
    assert clicks == [Click(2, (1.5, -2.0, 300.0), 1, None), Click(3, (0.0, 0.0, 0.0), 3, None)]


def test_columns_may_stand_in_any_order_and_lines_be_blank(tmp_path):
    clicks = read(tmp_path, "scene,class,z,y,x\n\ntrain/a,ground,3,2,1\n,,,,\n \nb,1,6,5,4\n", encoding="utf-8-sig")
    assert clicks == [Click(3, (1.0, 2.0, 3.0), 0, "train/a"), Click(6, (4.0, 5.0, 6.0), 1, "b")]


def test_a_name_goes_before_a_number(tmp_path):
    clicks = read(tmp_path, "x,y,z,class\n0,0,0,2\n0,0,0,5\n0,0,0,3\n0,0,0,0\n")
    assert [click.label for click in clicks] == [2, 3, 3, 0]


def test_coordinates_keep_float64(tmp_path):
    (click,) = read(tmp_path, "x,y,z,class\n652345.123456789,6861234.0001,0,0\n")
    assert click.coord == (652345.123456789, 6861234.0001, 0.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no delimiter in its first line ''"),
        ("x y z class\n1 2 3 0\n", "no delimiter in its first line 'x y z class'"),
        ("x,y,z;class\n", "comma and semicolon in its first line"),
        (
            "x,y,class\n1,2,0\n",
            "begins with 'x,y,class'; its first line must name the columns x, y, z, class once each",
        ),
        ("x,y,z,class,label\n1,2,3,0,0\n", "begins with 'x,y,z,class,label'"),
        ("x,y,z,class,x\n1,2,3,0,0\n", "begins with"),
        ("1.0,2.0,3.0,0\n", r"begins with '1\.0,2\.0,3\.0,0'"),
        ("x,y,z,class\n", "holds no clicks below its first line"),
        ("x,y,z,class\n1,2,3,0\n1,2,3\n", r"clicks\.csv, line 3 has 3 columns; the first line has 4"),
        ("x,y,z,class\n1,2,3,0,9\n", "line 2 has 5 columns"),
        ("x;y;z;class\n1;2,5;3;0\n", "line 2: y is '2,5'; it must be a number of metres with a decimal point"),
        ("x,y,z,class\n1,2,,0\n", "line 2: z is ''"),
        ("x,y,z,class\nnan,2,3,0\n", "line 2: x is 'nan'"),
        ("x,y,z,class\n1,inf,3,0\n", "line 2: y is 'inf'"),
        (
            "x,y,z,class\n1,2,3,bush\n",
            "line 2: there is no class 'bush'; write one of ground, tall tree, 2, 5, or a number",
        ),
        ("x,y,z,class\n1,2,3,4\n", "there is no class '4'; .* from 0 to 3"),
        ("x,y,z,class\n1,2,3,-1\n", "there is no class '-1'"),
        ("x,y,z,class\n1,2,3,1.0\n", r"there is no class '1\.0'"),
        ("x,y,z,class\n1,2,3,\n", "there is no class ''"),
        ("x,y,z,class\n1,2,3,٣\n", "there is no class"),
        ("x,y,z,class,scene\n1,2,3,0,a\n1,2,3,0,\n", "line 3 names no scene"),
        ('x,y,z,class\n1,2,3,"0\n', "line 2: unexpected end of data"),
        (b"x,y,z,class\n1,2,3,gr\xfcn\n", "is not UTF-8 text"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the clicks .*nowhere\.csv: No such file"):
        read_clicks(tmp_path / "nowhere.csv", CLASSES)
    with pytest.raises(InputError, match="cannot read the clicks"):
        read_clicks(tmp_path, CLASSES)
