"""Class files: what is read, what is refused, and that a saved copy is the same."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from pointseg.data.classes import load_classes, save_classes
from pointseg.errors import InputError

GOOD = {
    "dataset": "toy",
    "classes": [
        {"name": "ground", "color": [1, 2, 3], "source": [2, "soil"]},
        {"name": "tree", "color": [0, 255, 0], "source": [3]},
    ],
}


def write(tmp_path, document) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document), encoding="utf-8")
    return path


def changed(index, **entry):
    classes = [dict(c) for c in GOOD["classes"]]
    classes[index] |= entry
    return GOOD | {"classes": classes}


def test_s3dis_has_the_13_classes_in_the_published_order():
    classes = load_classes("s3dis")
    assert " ".join(classes.names) == (
        "ceiling floor wall beam column window door table chair sofa bookcase board clutter"
    )
    assert classes.num_classes == 13
    assert classes.colors.dtype == np.uint8
    assert classes.colors.shape == (13, 3)
    assert len(np.unique(classes.colors, axis=0)) == 13
    assert classes.colors[classes.index("ceiling")].tolist() == [0, 255, 0]
    assert classes.labels_by_source()["stairs"] == classes.index("clutter")


def test_source_ids_and_ignored_ids_become_labels(tmp_path):
    classes = load_classes(write(tmp_path, GOOD | {"ignore": [0, "noise"]}))
    assert classes.labels_by_source() == {2: 0, "soil": 0, 3: 1, 0: -1, "noise": -1}


@pytest.mark.parametrize("document", [GOOD, GOOD | {"ignore": [7, "noise"]}])
def test_a_saved_copy_reads_back_the_same(tmp_path, document):
    classes = load_classes(write(tmp_path, document))
    save_classes(classes, tmp_path / "copy.yaml")
    copy = load_classes(tmp_path / "copy.yaml")
    assert copy == classes
    np.testing.assert_array_equal(copy.colors, classes.colors)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.yaml", "toy.yaml"]


def test_unknown_class_name_is_refused():
    with pytest.raises(InputError, match=r"no class 'roof'.*ceiling"):
        load_classes("s3dis").index("roof")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed(1, name="ground"), r"class 1: name 'ground' is taken by .*class 0"),
        (changed(1, source=[3, "soil"]), r"class 1: source id 'soil' is taken by .*class 0"),
        (GOOD | {"ignore": [3]}, r"'ignore': source id 3 is taken by .*class 1"),
        (changed(1, color=[0, 256, 0]), r"class 1: color is \[0, 256, 0\]"),
        (changed(1, color=[0, 1]), r"class 1: color is \[0, 1\]"),
        (changed(1, color=[0, 1, True]), r"class 1: color"),
        (changed(1, color="red"), r"class 1: color is 'red'"),
        (changed(1, source="tree"), r"class 1: source ids are 'tree'"),
        (changed(1, source=[True]), r"class 1: source ids"),
        (changed(0, name=""), r"class 0: '' is not a name"),
        (changed(0, name=5), r"class 0: 5 is not a name"),
        (changed(0, colour=[1, 2, 3]), r"class 0: unknown key colour; allowed are color, name, source"),
        (GOOD | {"classes": [{"name": "a", "source": []}]}, r"class 0: color missing"),
        (GOOD | {"classes": ["ground"]}, r"class 0: expected a mapping"),
        (GOOD | {"classes": []}, r"at least one class"),
        ({"classes": GOOD["classes"]}, r"dataset missing"),
        ("[1, 2", r"is not a YAML file"),
        ("", r"expected a mapping"),
    ],
)
def test_a_wrong_entry_is_refused_naming_file_and_entry(tmp_path, document, message):
    path = write(tmp_path, document)
    with pytest.raises(InputError, match=message) as caught:
        load_classes(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_are_refused_naming_what_there_is(tmp_path):
    with pytest.raises(InputError, match=r"'nowhere'.*s3dis"):
        load_classes("nowhere")
    with pytest.raises(InputError, match=r"no class file .*absent\.yaml"):
        load_classes(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"no class file folder/absent"):
        load_classes("folder/absent")
