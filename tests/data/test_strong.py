import numpy as np
import pytest

from pointseg.data.strong import StrongConfig, in_dropped_blocks, strengthen
from pointseg.errors import InputError

OFF = {
    "point_drop": 0.0,
    "block_drop": 0.0,
    "elastic": (),
    "rotate": 0.0,
    "scale": 0.0,
    "color_contrast": 0.0,
    "color_shift": 0.0,
    "color_jitter": 0.0,
    "color_drop": 0.0,
    "cutmix": 0.0,
}
FLOOR = -1.5


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    coord = rng.uniform((-2, 1, FLOOR), (4, 5, 1), size=(3000, 3)).astype(np.float32)
    return coord, rng.integers(60, 190, size=(3000, 3), dtype=np.uint8)


def run(cloud, seed=0, **settings):
    return strengthen(*cloud, FLOOR, StrongConfig(**{**OFF, **settings}), np.random.default_rng(seed))


def test_with_everything_off_only_the_floor_moves_to_zero(cloud):
    kept, coord, color = run(cloud)
    assert np.array_equal(kept, np.arange(3000))
    np.testing.assert_allclose(coord, cloud[0] - [0, 0, FLOOR], atol=1e-5)
    assert np.array_equal(color, cloud[1])


def test_dropped_points_are_gone_and_the_others_keep_their_order(cloud):
    kept, coord, color = run(cloud, point_drop=0.3)
    assert 0.65 < len(kept) / 3000 < 0.75
    assert (np.diff(kept) > 0).all()
    np.testing.assert_allclose(coord, cloud[0][kept] - [0, 0, FLOOR], atol=1e-5)
    assert np.array_equal(color, cloud[1][kept])


def test_blocks_are_dropped_whole_and_in_the_stated_share(cloud):
    for seed in range(3):
        dropped = in_dropped_blocks(cloud[0], 0.4, 1.3, np.random.default_rng(seed))
        phase = np.random.default_rng(seed).random(3)
        blocks = {}
        for point, gone in zip(cloud[0].astype(np.float64), dropped, strict=True):
            cell = tuple(np.floor((point - cloud[0].min(0)) / 1.3 + phase).astype(int))
            blocks.setdefault(cell, set()).add(bool(gone))
        assert all(len(fates) == 1 for fates in blocks.values())
        number = sum(fates == {True} for fates in blocks.values())
        assert abs(number - 0.4 * len(blocks)) < 1


def test_every_block_is_as_likely_to_go_and_one_always_stays():
    pair = np.array([[0.0, 0, 0], [50, 0, 0], [100, 0, 0]], np.float32)
    fates = np.array([in_dropped_blocks(pair, 0.25, 1.0, np.random.default_rng(seed)) for seed in range(800)])
    np.testing.assert_allclose(fates.mean(0), 0.25, atol=0.06)
    for seed in range(50):
        assert not in_dropped_blocks(pair, 0.99, 1.0, np.random.default_rng(seed)).all()
        assert not in_dropped_blocks(pair[:1], 0.99, 1.0, np.random.default_rng(seed)).any()


def test_the_borders_of_the_blocks_lie_elsewhere_each_time():
    line = np.stack([np.linspace(0, 2, 400), np.zeros(400), np.zeros(400)], 1).astype(np.float32)
    borders = set()
    for seed in range(20):
        dropped = in_dropped_blocks(line, 0.5, 1.0, np.random.default_rng(seed))
        borders |= set(np.flatnonzero(np.diff(dropped.astype(int))).tolist())
    assert len(borders) > 20


def test_a_block_mask_reaches_the_view(cloud):
    kept, coord, _ = run(cloud, block_drop=0.5, block_size=1.5)
    assert 0.3 < len(kept) / 3000 < 0.7
    assert len(kept) == len(coord)


def test_each_elastic_pair_adds_its_own_displacement(cloud):
    plain = run(cloud)[1]
    fine, coarse = [], []
    for seed in range(12):
        one = run(cloud, seed, elastic=((0.2, 0.4),))[1]
        both = run(cloud, seed, elastic=((0.2, 0.4), (0.8, 1.6)))[1]
        fine.append(one - plain)
        coarse.append(both - one)
    assert np.std(fine) == pytest.approx(0.4 * 0.1, rel=0.2)
    assert np.std(coarse) == pytest.approx(1.6 * 0.1, rel=0.2)


def test_turn_and_size_stay_within_their_limits_and_the_floor_stays(cloud):
    plain = run(cloud)[1]
    angles, factors = [], []
    for seed in range(60):
        coord = run(cloud, seed, rotate=20.0, scale=0.1)[1]
        factor = coord[:, 2] / plain[:, 2]
        np.testing.assert_allclose(factor, factor.mean(), rtol=1e-3)
        middle = plain[:, :2].mean(0)
        np.testing.assert_allclose(coord[:, :2].mean(0), middle, atol=1e-3)
        one, two = plain[0, :2] - middle, coord[0, :2] - middle
        assert np.hypot(*two) / np.hypot(*one) == pytest.approx(factor.mean(), rel=1e-3)
        angles.append(np.rad2deg(np.arctan2(one[0] * two[1] - one[1] * two[0], one @ two)))
        factors.append(factor.mean())
    for values, limit in ((np.array(angles), 20), (np.array(factors) - 1, 0.1)):
        assert np.abs(values).max() <= limit * 1.001
        assert values.min() < -limit / 2
        assert values.max() > limit / 2


def test_a_large_cloud_turns_about_its_middle():
    """A float32 sum of so many points is off by metres."""
    coord = np.full((1_500_000, 3), 100.3, np.float32)
    _, turned, _ = strengthen(coord, None, 100.3, StrongConfig(**{**OFF, "rotate": 180.0}), np.random.default_rng(0))
    assert np.abs(turned - [100.3, 100.3, 0]).max() < 1e-3


def test_contrast_changes_the_distance_from_the_mean_colour(cloud):
    ratios = []
    for seed in range(40):
        _, _, color = run(cloud, seed, color_contrast=0.3)
        np.testing.assert_allclose(color.mean(0), cloud[1].mean(0), atol=0.6)
        ratios.append(color.std() / cloud[1].std())
    assert 0.69 < min(ratios) < 0.85
    assert 1.15 < max(ratios) < 1.31


def test_shift_moves_each_channel_as_a_whole(cloud):
    shifts = np.array([(run(cloud, seed, color_shift=0.1)[2].astype(int) - cloud[1]).mean(0) for seed in range(40)])
    difference = run(cloud, color_shift=0.1)[2].astype(int) - cloud[1]
    assert (np.ptp(difference, axis=0) <= 1).all()
    assert np.abs(shifts).max() <= 26
    assert np.abs(shifts).max() > 15
    assert np.ptp(shifts, axis=1).min() > 0


def test_colour_jitter_has_the_stated_deviation(cloud):
    difference = run(cloud, color_jitter=0.05)[2].astype(int) - cloud[1]
    assert difference.std() == pytest.approx(0.05 * 255, rel=0.05)


def test_colour_is_dropped_as_often_as_asked_and_dropped_colour_stays_dropped(cloud):
    assert 40 < sum(not run(cloud, seed, color_drop=0.3)[2].any() for seed in range(200)) < 80
    black = (cloud[0], np.zeros_like(cloud[1]))
    assert not run(black, color_shift=0.5, color_jitter=0.5, color_contrast=0.5)[2].any()
    assert strengthen(cloud[0], None, FLOOR, StrongConfig(), np.random.default_rng(0))[2] is None


def test_the_defaults_give_the_same_view_for_the_same_seed_and_leave_the_input_alone(cloud):
    before = [array.copy() for array in cloud]
    one, two, other = (strengthen(*cloud, FLOOR, StrongConfig(), np.random.default_rng(s)) for s in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])
    assert all(np.array_equal(a, b) for a, b in zip(before, cloud, strict=True))
    assert (one[1].dtype, one[2].dtype) == (np.float32, np.uint8)


def test_a_view_is_never_empty():
    point = np.zeros((1, 3), np.float32)
    for seed in range(30):
        assert len(strengthen(point, None, 0.0, StrongConfig(point_drop=0.9), np.random.default_rng(seed))[0]) == 1


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("point_drop", 1.0, "strong.point_drop is 1.0; it must be a share"),
        ("block_drop", -0.1, "strong.block_drop is -0.1"),
        ("block_size", 0.0, "strong.block_size is 0.0; it must be a length above 0"),
        ("elastic", ((0.0, 1.0),), r"strong.elastic holds \(0.0, 1.0\)"),
        ("elastic", ((0.2, -1.0),), "magnitude of 0 or more"),
        ("rotate", 200.0, "strong.rotate is 200.0"),
        ("scale", 1.0, "strong.scale is 1.0"),
        ("color_jitter", float("nan"), "strong.color_jitter is nan"),
        ("cutmix", 1.5, "strong.cutmix is 1.5"),
    ],
)
def test_bad_settings_are_refused_by_name(setting, value, sentence):
    with pytest.raises(InputError, match=sentence):
        StrongConfig(**{setting: value})
