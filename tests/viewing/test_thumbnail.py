"""The thumbnail that TensorBoard's mesh panel shows: written to an event file and read back."""

from __future__ import annotations

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.thumbnail import mesh_thumbnail

CLASSES = Classes("toy", ("floor", "block"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((0,), (1,)))


def corner(n: int = 30_000) -> Cloud:
    """A floor 40 m wide with a pole of 5 m in its far right corner."""
    rng = np.random.default_rng(0)
    floor = rng.random((n, 3)) * [40, 20, 0]
    pole = rng.random((n // 10, 3)) * [0.2, 0.2, 5] + [39, 19, 0]
    coord = np.concatenate([floor, pole]) + np.array([100, -50, 7])
    return Cloud(coord, gt=np.repeat([0, 1], [n, n // 10]))


def test_up_is_y_and_far_is_behind():
    vertices, colors = mesh_thumbnail(corner(), CLASSES, "gt")
    assert vertices.shape == colors.shape == (1, 20_000, 3)
    assert vertices.dtype == np.float32
    assert colors.dtype == np.uint8
    low, high = vertices[0].min(axis=0), vertices[0].max(axis=0)
    np.testing.assert_allclose(high - low, [10, 1.25, 5], rtol=0.02)  # 40 x 5 (up) x 20 m
    np.testing.assert_allclose(low + high, 0, atol=1e-4)
    pole = vertices[0][(colors[0] == CLASSES.colors[1]).all(axis=1)]
    assert pole[:, 0].mean() > 4.5  # right
    assert pole[:, 2].mean() < -2.2  # away from a viewer on +z
    assert pole[:, 1].max() == pytest.approx(high[1])


def test_every_region_keeps_its_share():
    cloud = corner()
    _, colors = mesh_thumbnail(cloud, CLASSES, "gt", max_points=3000)
    kept = (colors[0] == CLASSES.colors[1]).all(axis=1).mean()
    assert kept == pytest.approx((cloud.gt == 1).mean(), rel=0.1)


def test_tensorboard_reads_it_back(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData
    from tensorboard.util import tensor_util
    from torch.utils.tensorboard import SummaryWriter

    vertices, colors = mesh_thumbnail(corner(), CLASSES, "gt", max_points=500)
    with SummaryWriter(tmp_path) as writer:
        writer.add_mesh("scene", vertices, colors=colors, global_step=7)
    events = accumulator.EventAccumulator(str(tmp_path), {accumulator.TENSORS: 0}).Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        data = MeshPluginData.FromString(events.SummaryMetadata(tag).plugin_data.content)
        (event,) = events.Tensors(tag)
        assert event.step == 7
        found[data.content_type] = tensor_util.make_ndarray(event.tensor_proto)
    np.testing.assert_array_equal(found[MeshPluginData.VERTEX], vertices)
    np.testing.assert_array_equal(found[MeshPluginData.COLOR], colors)


def test_one_point_and_refusals():
    vertices, _ = mesh_thumbnail(Cloud(np.ones((1, 3))), CLASSES, "height")
    np.testing.assert_array_equal(vertices, np.zeros((1, 1, 3)))
    with pytest.raises(InputError, match="no points"):
        mesh_thumbnail(Cloud(np.zeros((0, 3))), CLASSES, "height")
    with pytest.raises(InputError, match="at least 1"):
        mesh_thumbnail(corner(), CLASSES, "gt", max_points=0)
    with pytest.raises(InputError, match="cannot be shown as 'pred'"):
        mesh_thumbnail(corner(), CLASSES, "pred")
