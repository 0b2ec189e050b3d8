"""Scores of a split are pooled over its scenes, on raw points and on voxels apart."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score

from pointseg.data.scene import list_scenes
from pointseg.data.sparse_labels import open_labels
from pointseg.errors import InputError
from pointseg.evaluation import evaluate_scenes
from pointseg.inference import ScenePrediction

NAMES = tuple(f"class {k}" for k in range(13))


def guess(scene):
    """Half of the voxels right, the others class 1."""
    grid = scene.grid(0.1)
    rng = np.random.default_rng(scene.num_points)
    voxel_pred = np.where(rng.random(len(grid.coord)) < 0.5, grid.segment, 1).astype(np.int16)
    return ScenePrediction(grid, voxel_pred, np.ones(len(voxel_pred), np.float32))


def pooled(scenes, truth, pred):
    return np.concatenate([truth(s) for s in scenes]), np.concatenate([pred(guess(s)) for s in scenes])


def test_pooled_scores_agree_with_scikit_learn(rooms_root):
    scenes = list_scenes(rooms_root)
    summary = evaluate_scenes(scenes, guess, NAMES).summary()
    truth, pred = pooled(scenes, lambda s: np.asarray(s.segment), lambda p: p.pred)
    assert summary["miou"] == pytest.approx(jaccard_score(truth, pred, average="macro"))
    assert summary["oacc"] == pytest.approx(accuracy_score(truth, pred))
    truth, pred = pooled(scenes, lambda s: s.grid(0.1).segment, lambda p: p.voxel_pred)
    assert summary["miou_voxel"] == pytest.approx(jaccard_score(truth, pred, average="macro"))


def test_stored_json(rooms_root, tmp_path):
    scenes = list_scenes(rooms_root, ["Area_1", "Area_5"])
    evaluate_scenes(scenes, guess, NAMES).save(tmp_path / "new" / "scores.json")
    stored = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert stored["iou"]["class 4"] is None
    assert stored["iou"]["class 1"] > 0
    assert np.sum(stored["confusion"]) == sum(scene.num_points for scene in scenes)
    own = jaccard_score(np.asarray(scenes[1].segment), guess(scenes[1]).pred, average="macro")
    assert stored["scenes"]["Area_5/office_1"] == pytest.approx(own)


def test_annotated_points_and_their_voxels_are_left_out(rooms_root):
    scenes = list_scenes(rooms_root, ["Area_1", "Area_2"])
    labels = open_labels(rooms_root, "1pct_seed0")
    index = {scene.path: labels.for_scene(scene)[0] for scene in scenes}
    summary = evaluate_scenes(scenes, guess, NAMES, lambda scene: index[scene.path]).summary()
    points, voxels = [], []
    for scene in scenes:
        grid = scene.grid(0.1)
        points.append(~np.isin(np.arange(scene.num_points), index[scene.path]))
        voxels.append(~np.isin(np.arange(len(grid.coord)), grid.inverse[index[scene.path]]))
    assert sum((~kept).sum() for kept in points) > 10
    for name, kept, truth, pred in (
        ("miou", points, lambda s: np.asarray(s.segment), lambda p: p.pred),
        ("miou_voxel", voxels, lambda s: s.grid(0.1).segment, lambda p: p.voxel_pred),
    ):
        true, guessed = pooled(scenes, truth, pred)
        kept = np.concatenate(kept)
        assert summary[name] == pytest.approx(jaccard_score(true[kept], guessed[kept], average="macro"))


def test_no_scene_is_an_error():
    with pytest.raises(InputError, match="no scene to evaluate"):
        evaluate_scenes([], guess, NAMES)
