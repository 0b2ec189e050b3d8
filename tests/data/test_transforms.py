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


def test_the_origin_lies_anywhere_within_one_voxel():
    shifts = np.array([random_origin(0.25, np.random.default_rng(seed)) for seed in range(400)])
    assert shifts.dtype == np.float32
    for axis in shifts.T:
        assert (np.histogram(axis, bins=4, range=(0, 0.25))[0] > 60).all()
    assert np.abs(np.corrcoef(shifts.T) - np.eye(3)).max() < 0.2


@pytest.mark.parametrize(
    "settings", [{"scale": (0.0, 1.0)}, {"scale": (1.2, 1.0)}, {"jitter": -1.0}, {"color_drop": 1.5}]
)
def test_bad_settings_are_refused_by_name(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        AugmentConfig(**settings)
