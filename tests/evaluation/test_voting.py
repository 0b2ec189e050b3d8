"""Voting against networks whose answer in every view is known."""

import numpy as np
import pytest
import torch

from pointseg.data.scene import list_scenes
from pointseg.data.voxel import voxelize
from pointseg.errors import InputError
from pointseg.inference import predict_scene
from pointseg.inference.voting import View, predict_by_votes, views

SETTINGS = {"voxel_size": 0.1, "features": ("ones", "color", "height"), "device": torch.device("cpu")}


class Rule(torch.nn.Module):
    """Logits that are a function of the inputs of each row alone; counts how often it is asked."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.asked = logits, 0

    def forward(self, batch):
        assert not self.training
        self.asked += 1
        return batch.features, self.logits(batch)


def by_height_and_place(batch):
    x, z = 0.1 * batch.coord[:, 1], batch.features[:, 4]
    return torch.stack([x, z, 3 * batch.features[:, 1], -x * z], dim=1)


@pytest.fixture(scope="module")
def scene(rooms_root):
    return list_scenes(rooms_root, ["Area_5"])[0]


def test_the_list_of_views():
    first = list(views(16))
    assert first[0] == View(0.0, False, 1.0)
    assert list(views(5)) == first[:5]
    assert len(set(first)) == 16
    assert sorted(view.angle for view in views(8)) == [0, 45, 90, 135, 180, 225, 270, 315]
    assert sum(view.mirrored for view in first) == 8
    with pytest.raises(InputError, match="at least 1"):
        list(views(0))


def test_a_view_keeps_the_floor_and_changes_nothing_but_place(scene):
    coord = np.asarray(scene.coord)
    distance = np.linalg.norm(coord[:400] - coord[400:800], axis=1)
    for view in views(8):
        seen = view.of(coord)
        assert seen[:, 2].min() == 0
        np.testing.assert_allclose(np.linalg.norm(seen[:400] - seen[400:800], axis=1), view.scale * distance, rtol=1e-4)
    turned = View(90, False, 1.0).of(coord)
    middle = (coord.min(0) + coord.max(0)) / 2
    np.testing.assert_allclose(turned[:, 0], -(coord[:, 1] - middle[1]), atol=1e-5)
    np.testing.assert_allclose(turned[:, 1], coord[:, 0] - middle[0], atol=1e-5)
    mirrored = View(0, True, 1.0).of(coord)
    np.testing.assert_allclose(mirrored[:, 0], -(coord[:, 0] - middle[0]), atol=1e-5)


def test_one_vote_is_the_plain_prediction(scene):
    model = Rule(by_height_and_place)
    one, plain = predict_by_votes(model, scene, votes=1, **SETTINGS), predict_scene(model, scene, **SETTINGS)
    np.testing.assert_array_equal(one.voxel_pred, plain.voxel_pred)
    np.testing.assert_array_equal(one.voxel_confidence, plain.voxel_confidence)


def test_votes_are_the_mean_over_views_of_the_raw_points(scene):
    """The slow twin goes through raw points one view at a time, with softmax written out."""
    model = Rule(by_height_and_place).train()
    voted = predict_by_votes(model, scene, votes=5, **SETTINGS)
    assert model.asked == 5
    assert model.training
    raw, color, stored = np.asarray(scene.coord), np.asarray(scene.color), scene.grid(0.1)
    shares = []
    for number, view in enumerate(views(5)):
        coord = raw if number == 0 else view.of(raw)
        grid = voxelize(coord, 0.1, color=color)
        x, z = 0.1 * (grid.coord[:, 0] - grid.coord[:, 0].min()), coord[grid.point][:, 2] - coord[:, 2].min()
        red = grid.color[:, 0].astype(np.float32) / 127.5 - 1
        power = np.exp(np.stack([x, z, 3 * red, -x * z], axis=1))
        of_point = (power / power.sum(1, keepdims=True))[grid.inverse]
        shares.append(np.stack([of_point[point] for point in stored.point]))
    mean = np.mean(shares, axis=0)
    np.testing.assert_allclose(voted.voxel_confidence, mean.max(1), atol=1e-5)
    assert (voted.voxel_pred == mean.argmax(1)).mean() > 0.999
    assert len(np.unique(voted.voxel_pred)) > 1
