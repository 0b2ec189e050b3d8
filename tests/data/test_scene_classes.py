"""A root's class file: what may change in it once scenes are there."""

import numpy as np
import pytest

from pointseg.data.classes import load_classes
from pointseg.data.scene import prepare_root, write_scene
from pointseg.errors import InputError


def test_a_class_file_may_be_mended_and_extended_but_not_changed(tmp_path):
    def classes(*sources, name="floor"):
        text = f"dataset: toy\nclasses: [{{name: {name}, color: [1, 2, 3], source: {list(sources)}}}]\n"
        (tmp_path / "mine.yaml").write_text(text)
        return load_classes(tmp_path / "mine.yaml")

    fresh = tmp_path / "fresh"
    prepare_root(fresh, classes(1))
    prepare_root(fresh, classes(2, 3, name="ground"))  # nothing is prepared yet
    write_scene(fresh, "a", "b", coord=np.zeros((2, 3)), dataset="toy", sources=[], voxel_sizes=[])
    prepare_root(fresh, classes(2, 3, 4, name="ground"))
    assert load_classes(fresh / "classes.yaml").labels_by_source() == {2: 0, 3: 0, 4: 0}
    for other in (classes(2, 3, name="ground"), classes(2, 3, 4)):
        with pytest.raises(InputError, match="was prepared with other classes"):
            prepare_root(fresh, other)
