import numpy as np
import pytest

from pointseg.data.training_cloud import TrainingCloud


def cloud(n=200, seed=0, *, annotated=True, color=True, segment=True):
    rng = np.random.default_rng(seed)
    index = np.sort(rng.choice(n, n // 10, replace=False))
    return TrainingCloud(
        coord=rng.uniform(0, 4, (n, 3)).astype(np.float32),
        color=rng.integers(0, 256, (n, 3), dtype=np.uint8) if color else None,
        segment=rng.integers(0, 5, n).astype(np.int16) if segment else None,
        annotation=(index, rng.integers(0, 5, len(index))) if annotated else None,
        floor=0.5,
    )


def named(result):
    """Each annotated point's raw index and class."""
    index, label = result.annotation
    return dict(zip(result.raw_index()[index].tolist(), label.tolist(), strict=True))


def test_taken_points_keep_what_they_hold_also_when_taken_twice():
    whole = cloud()
    points = np.flatnonzero(np.random.default_rng(1).random(200) < 0.5)
    again = np.arange(0, len(points), 3)
    result = whole.take(points).take(again)
    raw = points[again]
    assert np.array_equal(result.source, raw)
    for name in ("coord", "color", "segment"):
        assert np.array_equal(getattr(result, name), getattr(whole, name)[raw])
    assert named(result) == {p: k for p, k in named(whole).items() if p in set(raw.tolist())}
    assert named(result)


def test_joined_clouds_hold_both_one_after_the_other():
    one, two = cloud(200), cloud(150, seed=1)
    both = one.joined(two)
    assert np.array_equal(both.coord, np.concatenate([one.coord, two.coord]))
    assert np.array_equal(both.source, [*range(200), *range(150)])
    index, label = both.annotation
    assert set(zip(index.tolist(), label.tolist(), strict=True)) == set(
        zip(one.annotation[0].tolist(), one.annotation[1].tolist(), strict=True)
    ) | set(zip((two.annotation[0] + 200).tolist(), two.annotation[1].tolist(), strict=True))
    assert both.floor == one.floor


@pytest.mark.parametrize("part", ["color", "segment"])
def test_what_one_of_two_lacks_both_lack(part):
    for pair in ((cloud(), cloud(**{part: False})), (cloud(**{part: False}), cloud())):
        assert getattr(pair[0].joined(pair[1]), part) is None


def test_thinning_drops_the_share_but_never_a_sparse_annotation():
    whole = cloud(4000)
    thin = whole.thinned(0.6, np.random.default_rng(0))
    assert named(thin) == named(whole)
    others = len(thin.coord) - len(whole.annotation[0])
    assert others / (4000 - 400) == pytest.approx(0.4, abs=0.04)
    full = cloud(4000, annotated=False).thinned(0.6, np.random.default_rng(0))
    assert len(full.coord) / 4000 == pytest.approx(0.4, abs=0.04)
    single = cloud(1, annotated=False)
    assert all(len(single.thinned(0.9, np.random.default_rng(seed)).coord) == 1 for seed in range(20))


def test_a_move_takes_the_floor_along():
    moved = cloud().moved(np.array([1.0, -2.0, 0.25]))
    np.testing.assert_allclose(moved.coord - cloud().coord, np.tile([1, -2, 0.25], (200, 1)), atol=1e-6)
    assert moved.floor == pytest.approx(0.75)
    assert moved.coord.dtype == np.float32


def test_whether_anything_is_annotated():
    assert cloud().annotated
    assert cloud(annotated=False).annotated
    none = cloud()
    for annotation in ((none.annotation[0][:0], none.annotation[1][:0]), (np.array([3]), np.array([-1]))):
        assert not TrainingCloud(none.coord, None, none.segment, annotation, 0.0).annotated
    assert not TrainingCloud(none.coord, None, np.full(200, -1), None, 0.0).annotated
