"""The forest of scripts/synthetic_headroom.py: what it sees, and what its score is."""

import numpy as np
import pytest
import synthetic_headroom
from sklearn.metrics import jaccard_score

from pointseg.data.scene import list_scenes
from pointseg.errors import InputError


def test_the_forest_sees_colour_and_height_alone(rooms_root):
    scene = list_scenes(rooms_root, ["Area_5"])[0]
    features = synthetic_headroom._features(scene)
    assert np.array_equal(features[:, :3], scene.color)
    assert features[:, 3].min() == 0
    assert np.ptp(features[:, 3]) == pytest.approx(np.ptp(scene.coord[:, 2]))


def test_the_score_is_scikit_learns_on_the_held_out_area(rooms_root, monkeypatch):
    seen = {}

    class Recorder(synthetic_headroom.RandomForestClassifier):
        def fit(self, features, labels):
            seen["trained"] = len(labels)
            return super().fit(features, labels)

        def predict(self, features):
            seen["pred"] = super().predict(features)
            return seen["pred"]

    monkeypatch.setattr(synthetic_headroom, "RandomForestClassifier", Recorder)
    score = synthetic_headroom.forest(list_scenes(rooms_root), 13, points=300, trees=5)
    truth = np.asarray(list_scenes(rooms_root, ["Area_5"])[0].segment)
    expected = jaccard_score(truth, seen["pred"], labels=np.unique(truth), average="macro")
    assert score == pytest.approx(100 * expected)
    assert seen["trained"] == 2 * 300


def test_an_area_to_train_on_and_the_held_out_one_are_needed(rooms_root):
    with pytest.raises(InputError, match="Area_5"):
        synthetic_headroom.forest(list_scenes(rooms_root, ["Area_1"]), 13)
