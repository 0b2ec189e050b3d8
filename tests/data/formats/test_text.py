"""XYZ, CSV and TXT: how header and delimiter are found, words as labels, which line is wrong, what is written back."""

import numpy as np
import pytest

from pointseg.data.formats import inspect_cloud, iter_cloud, read_cloud, write_predictions
from pointseg.errors import InputError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("X,Y,Z,Classification\n1,2,3,4\n", "X Y Z Classification"),
        ("\ufeffX,Y,Z,Class\n1,2,3,4\n", "X Y Z Class"),
        ("x;y;z;label\n1;2;3;4\n", "x y z label"),
        ("x\ty\tz\tlabel\n1\t2\t3\t4\n", "x y z label"),
        ("x y  z label\n1   2 3\t4 \n", "x y z label"),
        ("# from the field\n\n// x y z label\n1 2 3 4\n", "x y z label"),
        ("#x,y,z,label\n1,2,3,4\n", "x y z label"),
        ("# four words that head\nx y z label\n1 2 3 4\n", "x y z label"),
        ('"x","y","z","label"\n"1","2","3","4"\n', "x y z label"),
        ("x,y,z,label\r\n1,2,3,4\r\n\r\n", "x y z label"),
        ("label,z,y,x\n4,3,2,1\n", "label z y x"),
    ],
)
def test_headers_and_delimiters(path, text, fields):
    path.write_bytes(text.encode())
    info = inspect_cloud(path)
    assert (info.num_points, info.fields) == (1, tuple(fields.split()))
    found = read_cloud(path)
    assert found.coord.tolist() == [[1, 2, 3]]
    assert found.label.tolist() == [4]
    assert found.notes == {}


def test_columns_without_names(path):
    path.write_text("1 2 3 10 20 30\n4 5 6 40 50 60\n")
    found = read_cloud(path)
    assert found.color.tolist() == [[10, 20, 30], [40, 50, 60]]
    assert found.notes == {"no header line: columns taken as x y z red green blue": 2}
    path.write_text("# 2026\n1 2 3 10 20 30 5\n")
    found = read_cloud(path)
    assert found.color is found.label is None
    assert found.notes == {"no header line: columns taken as x y z column_4 column_5 column_6 column_7": 1}
    assert read_cloud(path, label_field="column_7").label.tolist() == [5]


def test_words_as_labels_across_chunks(path):
    words = ["ground", "tree", "ground", "a much longer word, quoted", "tree"]
    path.write_text("x,y,z,class,remark\n" + "".join(f'{i},0,0,"{word}",none\n' for i, word in enumerate(words)))
    assert read_cloud(path).label.tolist() == words
    assert np.concatenate([chunk.label for chunk in iter_cloud(path, chunk_points=2)]).tolist() == words


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_lines_of_blanks_are_passed_over(path, delimiter):
    rows = ["x y z class", "1 2 3 wood", "~~~", "4 5 6 7 8", ""]
    path.write_text("\n".join(rows).replace(" ", delimiter).replace("~", " "))
    for chunk_points in (1, 100):
        with pytest.raises(InputError, match="line 4: 5 columns where 4 are expected"):
            list(iter_cloud(path, chunk_points=chunk_points))
    path.write_text(path.read_text().replace(f"7{delimiter}8", "wood"))
    found = read_cloud(path)
    assert (found.coord.tolist(), found.label.tolist()) == ([[1, 2, 3], [4, 5, 6]], ["wood", "wood"])


def test_large_coordinates_keep_their_digits(path):
    path.write_text("x,y,z\n651234.1234567,6861000.7654321,-0.0000001\n")
    assert read_cloud(path).coord.tolist() == [[651234.1234567, 6861000.7654321, -0.0000001]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,z\n1,2,3\n\n4,5\n", "line 4: 2 columns where 3 are expected"),
        ("x,y,z\n1,2,3\n4,5,6,7\n", "line 3: 4 columns where 3 are expected"),
        ("x,y,z\n1,2,3\n4,five,6\n", "line 3: y is 'five', which is no number"),
        ("x,y,z\n1,2,3\n4,,6\n", "line 3: y is '', which is no number"),
        ("x;y;z\n1,5;2,5;3,5\n", "line 2: '1,5' is no number"),
        ("x,y\n1,2\n", "no coordinates x, y, z; its fields are x, y"),
        ("x,y,z,w\n1,2,3\n", "line 2: 3 columns where the header line names 4"),
        ("x,y,z,x\n1,2,3,4\n", "names a column twice"),
        ("x,y,z\n", "holds no points"),
        ("# nothing\n\n", "holds no points"),
        ("x,y,z\nx,y,z\n", "line 2: 'x' is no number"),
        ("1 2\n", "no coordinates"),
        ("x y z\n1 2 3\n4 nan 6\n", "point 1 .* nan"),
        ("x,y,z,r,g,b\n1,2,3,4,five,6\n", "g must be numbers, but the first row has a word there"),
    ],
)
def test_what_is_refused(path, text, message):
    path.write_text(text)
    for chunk_points in (1, 100):
        with pytest.raises(InputError, match=message):
            list(iter_cloud(path, chunk_points=chunk_points))


def test_the_line_is_right_in_later_chunks(path):
    path.write_text("# comment\nx,y,z\n" + "1,2,3\n" * 50 + "1,2\n")
    with pytest.raises(InputError, match="line 53: 2 columns"):
        list(iter_cloud(path, chunk_points=7))


def test_what_is_written(path, tmp_path):
    target = tmp_path / "b.csv"
    pred, confidence = np.array([3, -1]), np.array([0.123456789, 1.0])
    cases = {
        "x,y,z\n1,2,3\n\n4,5,6": "x,y,z,pred,confidence\n1,2,3,3,0.123457\n\n4,5,6,-1,1",
        "# note\r\n1 2 3\r\n4 5 6\r\n": "# note\r\n1 2 3 3 0.123457\r\n4 5 6 -1 1\r\n",
        "//X Y Z\n1 2 3\n4 5 6\n": "//X Y Z pred confidence\n1 2 3 3 0.123457\n4 5 6 -1 1\n",
        "x\ty\tz\n1\t2\t3\n4\t5\t6\n": "x\ty\tz\tpred\tconfidence\n1\t2\t3\t3\t0.123457\n4\t5\t6\t-1\t1\n",
    }
    quoted = ('x;y;z;"a;b"', '1;2;3;"x ""y"""', "4;5;6;z")
    cases["\n".join(quoted)] = f"{quoted[0]};pred;confidence\n{quoted[1]};3;0.123457\n{quoted[2]};-1;1"
    for before, after in cases.items():
        path.write_bytes(before.encode())
        write_predictions(path, target, pred, confidence=confidence)
        assert target.read_bytes() == after.encode()
    path.write_bytes(b"\xef\xbb\xbfx,y,z,who\n1,2,3,J\xf6rg\n4,5,6,I\n")
    write_predictions(path, target, pred)
    assert target.read_bytes() == b"\xef\xbb\xbfx,y,z,who,pred\n1,2,3,J\xf6rg,3\n4,5,6,I,-1\n"
