"""Whole-scene prediction with a stand-in network whose answer can be worked out point by point."""

import numpy as np
import pytest
import torch
from torch import nn

from pointseg.data.formats.convert import RawCloud
from pointseg.data.scene import list_scenes
from pointseg.errors import InputError
from pointseg.inference import predict_scene

CPU = torch.device("cpu")


class HeightNet(nn.Module):
    """Class 0 below one metre, class 1 above, more certain the farther away; notes how it was called."""

    def forward(self, inputs):
        self.called_in_training = self.training
        height = inputs.features[:, 0]
        return inputs.features, torch.stack([1 - height, height - 1], dim=1)


@pytest.fixture
def scene(rooms_root):
    return list_scenes(rooms_root, ["Area_5"])[0]


def test_every_raw_point_gets_the_class_of_its_voxel(scene):
    prediction = predict_scene(HeightNet(), scene, voxel_size=0.1, features=["height"], device=CPU)
    coord = np.asarray(scene.coord)
    first = {}
    for i, cell in enumerate(map(tuple, np.floor(coord.astype(np.float64) / 0.1).astype(int))):
        first.setdefault(cell, i)
    cells = map(tuple, np.floor(coord.astype(np.float64) / 0.1).astype(int))
    height = np.array([coord[first[cell], 2] for cell in cells]) - coord[:, 2].min()
    assert np.array_equal(prediction.pred, (height > 1).astype(int))
    np.testing.assert_allclose(prediction.confidence, 1 / (1 + np.exp(-2 * np.abs(height - 1))), rtol=1e-4)
    assert prediction.pred.shape == prediction.confidence.shape == (scene.num_points,)


def test_the_network_is_asked_in_evaluation_mode_and_left_as_it_was(scene):
    for training in (True, False):
        net = HeightNet().train(training)
        predict_scene(net, scene, voxel_size=0.1, features=["height"], device=CPU)
        assert net.called_in_training is False
        assert net.training is training


@pytest.mark.parametrize("shift", [(0, 0, 1), (5, -40, 7), (16, 32, -48)])
def test_where_a_cloud_lies_changes_nothing(shift, make_predictor):
    """Strides of 2 to 16 would tell clouds apart that lie a voxel higher; training has the floor at 0."""
    predictor = make_predictor(voxel_size=0.125, features=("ones", "height"))
    rng = np.random.default_rng(0)
    # Multiples of 1/1024, so that shifting rounds nothing.
    coord = rng.integers(0, 4096, (6000, 3)) / 1024 * [1, 1, 0.25]
    here, there = (predictor(RawCloud(coord + np.array(by) * 0.125)) for by in ((0, 0, 0), shift))
    assert len(np.unique(here.pred)) > 1
    assert np.array_equal(here.pred, there.pred)
    assert np.array_equal(here.confidence, there.confidence)


def test_voxels_are_counted_from_the_lowest(scene):
    seen = []

    class Looks(HeightNet):
        def forward(self, inputs):
            seen.append(inputs.coord[:, 1:])
            return super().forward(inputs)

    predict_scene(Looks(), scene, voxel_size=0.1, features=["height"], device=CPU)
    stored = scene.grid(0.1).coord
    assert np.array_equal(seen[0].numpy(), stored - stored.min(axis=0))


def test_a_size_without_a_grid_is_refused(scene):
    with pytest.raises(InputError, match=r"no voxel grid of 0\.4 m \(stored: 0\.1\)"):
        predict_scene(HeightNet(), scene, voxel_size=0.4, features=["height"], device=CPU)
