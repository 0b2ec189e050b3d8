"""Mixing of point clouds, looked at point by point: colours carry the owner and the name of every point."""

import numpy as np
import pytest

from pointseg.data.cloud_mixing import boxes_swapped_in, overlaid
from pointseg.data.training_cloud import TrainingCloud

CELL = 0.1


def cloud(owner, n=900, *, annotated=30, floor=0.0, low=(-2, -1, 0), high=(2, 3, 2)):
    rng = np.random.default_rng(owner)
    coord = (rng.uniform(low, high, (n, 3)) + np.array([owner, 0, floor])).astype(np.float32)
    name = np.arange(n)
    index = np.sort(rng.choice(n, annotated, replace=False))
    return TrainingCloud(
        coord=coord,
        color=np.stack([np.full(n, owner), name // 256, name % 256], 1).astype(np.uint8),
        segment=rng.integers(0, 5, n).astype(np.int16),
        annotation=(index, rng.integers(0, 5, annotated)),
        floor=floor,
    )


def owners_and_names(mixed):
    color = mixed.color.astype(int)
    return color[:, 0], color[:, 1] * 256 + color[:, 2]


def test_an_overlay_is_both_clouds_on_one_floor():
    host, partner = cloud(0, floor=0.3), cloud(1, 500, floor=-1.2)
    mixed = overlaid(host, partner)
    np.testing.assert_array_equal(mixed.coord[:900], host.coord)
    np.testing.assert_allclose(mixed.coord[900:] - partner.coord, np.tile([0, 0, 1.5], (500, 1)), atol=1e-5)
    assert mixed.floor == host.floor
    assert len(mixed.annotation[0]) == 60


@pytest.mark.parametrize("seed", range(10))
def test_a_box_of_the_host_goes_and_one_of_the_partner_fills_its_room(seed):
    host, partner = cloud(0, floor=0.3), cloud(1, floor=-1.2)
    mixed = boxes_swapped_in(host, partner, CELL, np.random.default_rng(seed))
    owner, name = owners_and_names(mixed)
    assert np.array_equal(mixed.source, name)
    came = owner == 1
    assert 0 < came.sum() < len(came)
    shift = mixed.coord[came] - partner.coord[name[came]]
    np.testing.assert_allclose(shift, np.tile(shift[0], (len(shift), 1)), atol=1e-5)
    assert shift[0, 2] == pytest.approx(1.5, abs=1e-5)
    np.testing.assert_allclose(shift[0, :2] / CELL, np.rint(shift[0, :2] / CELL), atol=1e-3)
    np.testing.assert_array_equal(mixed.coord[~came], host.coord[name[~came]])
    gone = np.setdiff1d(np.arange(900), name[~came])
    # The room in cells: it holds what came and what went, and nothing that stayed.
    cells = np.floor(np.concatenate([mixed.coord[came, :2] + 1e-4, host.coord[gone, :2]]) / CELL)
    low, high = cells.min(0), cells.max(0)
    stayed = np.floor(mixed.coord[~came, :2] / CELL)
    assert not ((stayed > low) & (stayed < high)).all(1).any()
    for who, whole in ((0, host), (1, partner)):
        known = dict(zip(*(a.tolist() for a in whole.annotation), strict=True))
        index, label = mixed.annotation
        mine = owner[index] == who
        given = dict(zip(name[index[mine]].tolist(), label[mine].tolist(), strict=True))
        assert given == {p: k for p, k in known.items() if p in set(name[owner == who].tolist())}
        assert np.array_equal(mixed.segment[owner == who], whole.segment[name[owner == who]])


def test_a_box_that_would_take_the_last_annotation_is_not_put_in():
    host, partner = cloud(0, annotated=1), cloud(1, annotated=0)
    kept = mixed = 0
    for seed in range(60):
        result = boxes_swapped_in(host, partner, CELL, np.random.default_rng(seed))
        assert result.annotation[0].tolist() == host.annotation[0].tolist() or len(result.annotation[0]) == 1
        assert result.annotated
        kept += result is host
        mixed += result is not host
    assert kept > 2
    assert mixed > 30


def test_a_tiny_cloud_mixes():
    point = cloud(0, 1, annotated=1)
    for seed in range(10):
        for pair in ((point, cloud(1)), (cloud(1), point)):
            assert boxes_swapped_in(*pair, CELL, np.random.default_rng(seed)).annotated
