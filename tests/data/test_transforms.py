import numpy as np
import pytest

from pointseg.data.transforms import AugmentConfig, augment, random_origin
from pointseg.errors import InputError

PLAIN = {"rotate": False, "scale": (1.0, 1.0), "flip_x": False, "jitter": 0.0, "color_drop": 0.0}


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    coord = rng.uniform(-3, 5, size=(400, 3)).astype(np.float32)
    return coord, rng.integers(0, 256, size=(400, 3), dtype=np.uint8)


def run(cloud, seed=0, **settings):
    return augment(*cloud, AugmentConfig(**{**PLAIN, **settings}), np.random.default_rng(seed))


def distances(coord):
    return np.linalg.norm(coord[:50, None] - coord[None, :50], axis=2)


def test_with_everything_off_only_the_origin_moves(cloud):
    coord, color = run(cloud)
    np.testing.assert_allclose(distances(coord), distances(cloud[0]), atol=1e-5)
    np.testing.assert_allclose(coord[:, 2].min(), 0, atol=1e-6)
    assert np.array_equal(color, cloud[1])


def test_the_middle_of_a_large_cloud():
    """A float32 sum of so many points is off by metres."""
    coord = np.full((1_500_000, 3), 100.3, np.float32)
    moved, _ = augment(coord, None, AugmentConfig(**PLAIN), np.random.default_rng(0))
    assert np.abs(moved).max() < 1e-3


def test_rotation_is_about_the_vertical(cloud):
    coord, _ = run(cloud, rotate=True)
    plain, _ = run(cloud)
    np.testing.assert_allclose(coord[:, 2], plain[:, 2], atol=1e-5)
    np.testing.assert_allclose(np.hypot(*coord.T[:2]), np.hypot(*plain.T[:2]), atol=1e-4)
    assert not np.allclose(coord, plain, atol=0.01)


def test_scale_is_one_factor_an_axis_within_its_bounds(cloud):
    coord, _ = run(cloud, scale=(0.7, 1.3))
    plain, _ = run(cloud)
    factors = []
    for axis in range(3):
        sizeable = np.abs(plain[:, axis]) > 0.1
        ratio = coord[sizeable, axis] / plain[sizeable, axis]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
        factors.append(ratio[0])
    factors = np.array(factors)
    assert ((factors >= 0.7) & (factors <= 1.3)).all()
    assert len(set(factors.round(4))) == 3


def test_flip_happens_about_half_of_the_time(cloud):
    plain, _ = run(cloud)
    flipped = [np.allclose(run(cloud, seed, flip_x=True)[0][:, 0], -plain[:, 0], atol=1e-5) for seed in range(200)]
    assert 70 < sum(flipped) < 130


def test_jitter_has_the_stated_deviation(cloud):
    coord, _ = run(cloud, jitter=0.02)
    assert np.std(coord - run(cloud)[0]) == pytest.approx(0.02, rel=0.1)


def test_colour_is_dropped_whole_and_about_as_often_as_asked(cloud):
    dropped = [not run(cloud, seed, color_drop=0.2)[1].any() for seed in range(300)]
    assert 35 < sum(dropped) < 90


def test_the_same_seed_gives_the_same_cloud_and_input_is_untouched(cloud):
    before = cloud[0].copy()
    settings = {"rotate": True, "scale": (0.7, 1.3), "flip_x": True, "jitter": 0.01, "color_drop": 0.5}
    a, b = run(cloud, 5, **settings), run(cloud, 5, **settings)
    assert np.array_equal(a[0], b[0])
    assert np.array_equal(a[1], b[1])
    assert not np.array_equal(a[0], run(cloud, 6, **settings)[0])
    assert np.array_equal(cloud[0], before)
    assert a[0].dtype == np.float32


def test_the_origin_lies_anywhere_within_a_voxel_and_at_times_elsewhere_in_the_coarsest_cell():
    shifts = np.array([random_origin(0.25, np.random.default_rng(seed)) for seed in range(800)])
    assert shifts.dtype == np.float32
    for axis in shifts.T:
        assert (np.histogram(axis % 0.25, bins=4, range=(0, 0.25))[0] > 160).all()
    whole = np.floor(shifts / 0.25).astype(int)
    moved = whole[whole.any(axis=1)]
    assert 150 < len(moved) < 250
    for axis in moved.T:
        assert set(axis) == set(range(16))
        assert np.bincount(axis).max() < 35
    assert np.abs(np.corrcoef(moved.T) - np.eye(3)).max() < 0.25


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("settings", [{}, {"flip_x": False}, {"rotate": False, "color_drop": 0.9}, {"jitter": 0.0}])
def test_what_is_off_leaves_every_bit_of_the_rest_as_it_was(cloud, seed, settings):
    """The first six settings written out with their draws: later ones must not shift them when they are off."""
    config, rng = AugmentConfig(**settings), np.random.default_rng(seed)
    coord, color = cloud
    matrix = np.diag(rng.uniform(0.7, 1.3, size=3))
    if config.flip_x and rng.random() < 0.5:
        matrix[0] *= -1
    if config.rotate:
        angle = rng.uniform(0, 2 * np.pi)
        turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
        matrix = np.array(turn) @ matrix
    middle = coord[:, :2].astype(np.float64).mean(0).astype(np.float32)
    expected = (coord - np.append(middle, coord[:, 2].min())) @ matrix.T.astype(np.float32)
    expected += rng.standard_normal(coord.shape, dtype=np.float32) * np.float32(config.jitter)
    dropped = rng.random() < config.color_drop
    used = np.random.default_rng(seed)
    result = augment(coord, color, config, used)
    assert np.array_equal(result[0], expected)
    assert np.array_equal(result[1], color * (not dropped))
    assert used.random() == rng.random()


def test_flips_of_x_and_y_are_drawn_apart(cloud):
    plain, _ = run(cloud)
    signs = {
        tuple(np.sign((run(cloud, seed, flip_x=True, flip_y=True)[0] * plain).sum(0)).astype(int)) for seed in range(40)
    }
    assert signs == {(1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, 1)}
    assert np.allclose(run(cloud, flip_x=False, flip_y=False)[0], plain)


def test_tilt_keeps_the_shape_and_stays_within_its_limit(cloud):
    plain, _ = run(cloud)
    angles = []
    for seed in range(80):
        coord, _ = run(cloud, seed, tilt=6.0)
        np.testing.assert_allclose(distances(coord), distances(plain), atol=1e-4)
        turn = np.linalg.lstsq(plain, coord, rcond=None)[0].T
        assert np.linalg.det(turn) == pytest.approx(1, abs=1e-4)
        angles.append(np.rad2deg([np.arctan2(turn[2, 1], turn[2, 2]), np.arcsin(-turn[2, 0])]))
    angles = np.array(angles)
    assert np.abs(angles).max() <= 6.001
    assert (angles.min(0) < -4).all()
    assert (angles.max(0) > 4).all()


def test_each_elastic_pair_moves_points_by_about_a_tenth_of_its_magnitude(cloud):
    plain, _ = run(cloud)
    fine, both = ((0.2, 0.4),), ((0.2, 0.4), (0.8, 1.6))
    one = [run(cloud, seed, elastic=fine)[0] - plain for seed in range(12)]
    two = [run(cloud, seed, elastic=both)[0] - run(cloud, seed, elastic=fine)[0] for seed in range(12)]
    assert np.std(one) == pytest.approx(0.04, rel=0.2)
    assert np.std(two) == pytest.approx(0.16, rel=0.2)


def test_colour_settings_act_with_their_limits_and_leave_dropped_and_absent_colours_alone(cloud):
    middle = (cloud[0], (cloud[1] // 2 + 64).astype(np.uint8))
    ratios, shifts = [], []
    for seed in range(40):
        ratios.append(run(middle, seed, color_contrast=0.3)[1].std() / middle[1].std())
        difference = run(middle, seed, color_shift=0.1)[1].astype(int) - middle[1]
        assert (np.ptp(difference, axis=0) <= 1).all()
        shifts.append(difference.mean(0))
    assert 0.69 < min(ratios) < 0.85
    assert 1.15 < max(ratios) < 1.31
    assert 18 < np.abs(shifts).max() <= 26
    noise = run(middle, color_jitter=0.05)[1].astype(int) - middle[1]
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.06)
    strong = {"color_contrast": 0.5, "color_shift": 0.5, "color_jitter": 0.5}
    assert not run(middle, color_drop=1.0, **strong)[1].any()
    assert run((cloud[0], None), **strong)[1] is None


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (1.2, 1.0)},
        {"jitter": -1.0},
        {"color_drop": 1.5},
        {"tilt": 91.0},
        {"elastic": ((0.2, 0.4), (0.0, 1.0))},
        {"color_contrast": -0.1},
        {"color_shift": 1.1},
        {"color_jitter": float("nan")},
        {"point_drop": 1.0},
        {"mix3d": 1.01},
        {"cutmix": -0.5},
    ],
)
def test_bad_settings_are_refused_by_name(settings):
    with pytest.raises(InputError, match=f"augment.{next(iter(settings))} "):
        AugmentConfig(**settings)
