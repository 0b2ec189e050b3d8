"""What fuzzing once found, one small file each: every one of them is refused in one line now, or read."""

import io
import json
import struct
import zipfile

import fuzz_data_sets
import fuzz_own_files
import numpy as np
import pytest
import torch
from fuzz_containers import npy_bytes, npz_sample
from fuzz_findings import array_header, npy, refused, written
from fuzz_oracle import check_file
from fuzz_parsers import PARSERS

from pointseg.data.classes import load_classes
from pointseg.data.npy import map_npy
from pointseg.errors import InputError
from pointseg.untrusted import BoundedReader, parse_json, parse_yaml, shown

CLASSES = "dataset: mine\nclasses:\n- {name: a, color: [1, 2, 3], source: [SOURCE]}\n"
HUGE = 1 << 40


def test_messages_stay_one_line_that_can_be_printed():
    message = str(InputError(f"a\nb\x1b[31m\u2028\udcff {'x' * 9000} end"))
    assert message.startswith(r"a\nb\x1b[31m\u2028\udcff xxx")
    assert message.endswith("x end")
    assert len(message) <= 4000
    assert str(InputError("wörds and 点云")) == "wörds and 点云"


def test_a_read_beyond_the_end_makes_no_room_for_it(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    with BoundedReader(tmp_path / "a") as file:
        assert (file.read(4), file.read(1 << 60), file.read(5)) == (b"0123", b"456789", b"")
        file.seek(2)
        assert file.read() == b"23456789"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 5000, "nested too deeply"),
        ("a: " + "9" * 5000, "a number is too long"),
        ("a: 0x" + "F" * 5000, "a number is too long"),
        ("a: !!timestamp 2001-99-99", "month must be"),
        ("a: !!timestamp x", "."),
        ("a: !!int ''", "."),
        ("a: &a [1]\nb: *a", "aliases such as \\*a"),
        ("x" * (1 << 20) + "x", "more than 1,048,576"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
    ],
)
def test_yaml_that_pyyaml_fails_on_in_its_own_ways(text, said):
    with pytest.raises(ValueError, match=said):
        parse_yaml(text)


def test_a_bomb_of_aliases_is_refused_before_it_is_shown(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert "aliases" in refused("classes", "\n".join(lines).encode(), tmp_path)


def test_json_nested_too_deeply(tmp_path):
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
    assert "damaged" in refused("scannet segments", b'{"segIndices":' + b"[" * 100_000, tmp_path)


def test_values_are_shown_shortened():
    assert len(shown([["x" * 999] * 99] * 99)) < 4000
    assert shown({"a": 1}) == "{'a': 1}"


def test_a_class_file_of_shortened_and_long_values(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text(CLASSES.replace("SOURCE", "9" * 5000))
    with pytest.raises(InputError, match="too long"):
        load_classes(path)
    path.write_text(CLASSES.replace("SOURCE", "3"))
    assert load_classes(path).source_ids == ((3,),)


@pytest.mark.parametrize("number", ["9" * 5000, "0" * 5000 + "99", "²", "٣"])
def test_a_click_of_a_class_that_is_no_number_of_one(number, tmp_path):
    data = f"x,y,z,class\n1,2,3,{number}\n".encode()
    assert "there is no class" in refused("clicks", data, tmp_path)


@pytest.mark.parametrize("name", ["npy", "scannet points of a scene", "pointcept coord"])
@pytest.mark.parametrize(
    "header",
    [
        array_header((HUGE, 3)),
        array_header((3, -1)),
        array_header((2,), "'|O'"),
        array_header((1 << 60,), "'<U0'"),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (((\n",
        "(" * 3000,
        "- " * 3000,
    ],
)
def test_arrays_whose_header_is_not_true(name, header, tmp_path):
    assert refused(name, npy(header, b"\0" * 24), tmp_path)


def test_an_array_header_that_is_longer_than_the_file(tmp_path):
    assert "too long or cut short" in refused("npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff", tmp_path)


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.arange(6.0).reshape(2, 3).T, np.array(7)])
def test_arrays_are_mapped_as_numpy_reads_them(array, tmp_path):
    (tmp_path / "a.npy").write_bytes(npy_bytes(array))
    found = map_npy(tmp_path / "a.npy")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)


def test_an_array_with_field_names_beyond_latin(tmp_path):
    table = np.zeros(3, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("高さ", "f4")])
    with pytest.warns(UserWarning, match="format 3.0"):
        np.save(tmp_path / "a.npy", table)
    assert map_npy(tmp_path / "a.npy").dtype.names == ("x", "y", "z", "高さ")


def test_an_archive_that_is_a_bomb(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("coord.npy", "w") as member:
        member.write(npy(array_header((25_000_000, 3))))
        for _ in range(300):
            member.write(bytes(1_000_000))
    assert "times its size" in refused("npz", file.getvalue(), tmp_path)


@pytest.mark.parametrize("name", ["npz", "scannet point lists"])
def test_an_archive_that_lies_about_the_size_of_an_entry(name, tmp_path):
    key = "scene0000_00" if name == "scannet point lists" else "coord"
    data = npz_sample({key: np.zeros((5, 3))}, zipfile.ZIP_DEFLATED)
    text = data.parts[0].replace(b"(5, 3)", b"(1099511627776, 3)")
    assert refused(name, data.join((text, data.parts[1])), tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scannet segments", {"segIndices": [1 << 70]}),
        ("scannet aggregation", {"segGroups": [{"objectId": 1 << 70, "label": "a", "segments": [1]}]}),
        ("scannet aggregation", {"segGroups": [{"objectId": 1, "label": "a", "segments": [1 << 70]}]}),
    ],
)
def test_annotation_with_numbers_beyond_64_bits(name, content, tmp_path):
    assert refused(name, json.dumps(content).encode(), tmp_path)


@pytest.mark.parametrize("digits", [19, 5000])
def test_numbers_in_text_that_are_too_long(digits, tmp_path):
    row = "9" * digits
    assert refused("scannet label table", f"raw_category\tnyu40id\nwall\t{row}\n".encode(), tmp_path / "a")
    assert "too large" in refused("scannet point lists", f"scene0000_00 {row}\n".encode(), tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "sample"),
    [("weights pth", fuzz_own_files.torch_weights), ("scannet point lists", fuzz_data_sets.point_lists)],
)
def test_a_pickle_that_asks_for_more_than_is_there(name, sample, tmp_path):
    old = b"".join(sample()[1].parts)
    at = old.index(b"\x8a")  # LONG1, with which torch begins; LONG4 takes its length from the file
    assert refused(name, old[:at] + b"\x8b" + struct.pack("<I", 2**31 - 1), tmp_path)


def test_torch_says_nothing_of_old_pickles(tmp_path):
    file = io.BytesIO()
    torch.save({"scene0000_00": torch.arange(3)}, file, pickle_protocol=3, _use_new_zipfile_serialization=False)
    path = written(tmp_path / "points20", file.getvalue())
    PARSERS["scannet point lists"].read(path)
    assert check_file(PARSERS["scannet point lists"].read, path)
