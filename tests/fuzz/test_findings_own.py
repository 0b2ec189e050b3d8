"""What fuzzing once found in pointseg's own files: every one of them is refused in one line now, or read."""

import json

import numpy as np
import pytest
from fuzz_containers import npy_bytes
from fuzz_findings import array_header, npy, refused, written
from fuzz_oracle import check_file
from fuzz_parsers import PARSERS


def changed(name, change):
    """A valid file, after a change of its JSON value."""
    sample = PARSERS[name].samples()[0]
    value = json.loads(sample.join(sample.parts))
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize("name", ["scene coordinates", "scene classes", "grid voxels", "labels of a scene"])
@pytest.mark.parametrize(
    "data",
    [
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f",
        npy(array_header((1 << 40, 3)), b"\0" * 24),
        npy(array_header((0, 1 << 70))),
        npy(array_header((3,), "'|O'")),
        npy("(" * 3000),
    ],
)
def test_stored_arrays_whose_header_is_not_true(name, data, tmp_path):
    assert refused(name, data, tmp_path)


def test_an_offset_of_hundreds_of_digits(tmp_path):
    data = changed("scene", lambda meta: meta.update(offset=[10**400, 0, 0]))
    assert "for 'offset'" in refused("scene", data, tmp_path)


@pytest.mark.parametrize("key", ["sha256", "coord_sha256"])
def test_imported_labels_without_the_hashes_they_are_checked_by(key, tmp_path):
    data = changed("labels of clicks", lambda spec: spec["scenes"]["all/x"].pop(key))
    assert "other values for scenes" in refused("labels of clicks", data, tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "[[[-1, 3]], 1]",
        f"[[[0, {1 << 40}]], 1]",
        f"[[[0, {'9' * 400}]], 1]",
        "[[[0, 1e400]], 1]",
        "[[[3, 0]], 1]",
        '[["ab"], 1]',
        "5",
    ],
)
def test_a_journal_that_names_rows_that_cannot_be_there(line, tmp_path):
    parser = PARSERS["journal"]
    path = written(parser.place(tmp_path), line.encode())
    parser.read(path)
    assert check_file(parser.read, path)


@pytest.mark.parametrize("name", [r'"\ud800"', r'"\e[31m"', r'"a\nb"', '" "'])
def test_class_names_that_cannot_be_printed(name, tmp_path):
    text = f"dataset: mine\nclasses:\n- {{name: {name}, color: [1, 2, 3], source: [3]}}\n"
    assert "is not a name" in refused("classes", text.encode(), tmp_path / "a")
    document = changed("model", lambda model: model["classes"][0].update(name="\ud800"))
    assert "a class is" in refused("model", document, tmp_path / "b")


@pytest.mark.parametrize("name", ["[1]", "{}", "null"])
def test_a_method_whose_name_is_none(name, tmp_path):
    assert "method.name is" in refused("recipe", f"method: {{name: {name}}}".encode(), tmp_path)


@pytest.mark.parametrize("content", ["5", "null", "[1]", "{}", '{"optimizer": 5}'])
def test_a_checkpoint_whose_state_is_of_another_kind(content, tmp_path):
    assert refused("checkpoint state", content.encode(), tmp_path)


def test_a_stored_array_without_rows_is_read(tmp_path):
    data = npy_bytes(np.zeros((0, 2), np.int64))
    assert "made on other data" in refused("labels of a scene", data, tmp_path)
