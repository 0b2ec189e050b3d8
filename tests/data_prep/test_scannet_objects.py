"""ScanNet's annotation files: objects against a slow twin, and what is refused."""

import json

import numpy as np
import pytest

from data_prep._scannet_objects import read_axis_alignment, read_label_table, read_objects
from pointseg.errors import InputError


def test_objects_against_a_slow_twin(tmp_path):
    rng = np.random.default_rng(5)
    segments = rng.choice(rng.choice(10_000, 60, replace=False), 500)
    groups = [
        {"objectId": int(100 + k), "label": f"word{k}", "segments": rng.choice(segments, 9).tolist()} for k in range(7)
    ]
    (tmp_path / "a.json").write_text(json.dumps({"segGroups": groups}))
    (tmp_path / "s.json").write_text(json.dumps({"segIndices": segments.tolist()}))
    found = read_objects(tmp_path / "a.json", tmp_path / "s.json")
    instance = np.full(500, -1)
    for v in range(500):
        for group in groups:
            if segments[v] in group["segments"]:
                instance[v] = group["objectId"]
    np.testing.assert_array_equal(found.instance(), instance)
    claims = [set(group["segments"]) for group in groups]
    assert found.doubtful == sum(sum(s in claim for claim in claims) > 1 for s in set(segments.tolist())) > 0


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (".aggregation.json", b'{"segGroups": [{"objectId"', "aggregation.json is damaged"),
        (".aggregation.json", b"[]", "holds a list where named values belong"),
        (".aggregation.json", b'{"segGroups": 3}', "has no list 'segGroups'"),
        (".aggregation.json", b'{"segGroups": [{"objectId": 0, "segments": []}]}', "object 0 lacks its 'label'"),
        (".aggregation.json", b'{"segGroups": [{"objectId": 0, "label": "wall"}]}', "whole numbers 'segments'"),
        (".segs.json", b'{"segIndices": [1.5]}', "whole numbers 'segIndices'"),
        (".segs.json", b'{"segIndices": []}', "holds no vertices"),
        (".segs.json", b"\xff\xfe", "segs.json is damaged"),
    ],
)
def test_damaged_annotation_is_an_error_naming_the_file(tmp_path, kind, data, said):
    content = {"a.aggregation.json": b'{"segGroups": []}', "a.segs.json": b'{"segIndices": [3]}', f"a{kind}": data}
    for name, value in content.items():
        (tmp_path / name).write_bytes(value)
    with pytest.raises(InputError, match=said):
        read_objects(tmp_path / "a.aggregation.json", tmp_path / "a.segs.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id\traw_category\n1\twall\n", "line 2: raw_category is 'wall' and nyu40id is None"),
        ("raw_category\tnyu40id\nwall\tone\n", "line 2: .* nyu40id is 'one'"),
        ("raw_category\tnyu40id\nwall\t1\nwall\t2\n", "line 3: 'wall' has nyu40id 2 here and 1 above"),
        ("raw_category\tnyu40id\n", "is empty"),
        ("raw_category\tnyu40id\n\udcff\t1\n", "not a text file"),
    ],
)
def test_label_tables_that_are_none(tmp_path, text, said):
    (tmp_path / "t.tsv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=said):
        read_label_table(tmp_path / "t.tsv", "nyu40id")


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ("colorHeight = 968\n", "holds no 'axisAlignment'"),
        ("axisAlignment = 1 0 0 0 0 1 0\n", "is not 16 numbers"),
        ("axisAlignment = " + "1 " * 15 + "one\n", "is not 16 numbers"),
        ("axisAlignment = 2 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n", "not a rotation and a shift"),
        ("axisAlignment = 1 0 0 nan 0 1 0 0 0 0 1 0 0 0 0 1\n", "not a rotation and a shift"),
        ("axisAlignment = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 5 1\n", "not a rotation and a shift"),
    ],
)
def test_matrices_that_cannot_be_used(tmp_path, info, said):
    (tmp_path / "scene.txt").write_text(info)
    with pytest.raises(InputError, match=said):
        read_axis_alignment(tmp_path / "scene.txt")
