"""The interval of a mIoU against a slow twin that draws scenes one by one."""

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from pointseg.errors import InputError
from pointseg.evaluation import confusion_matrix, miou_difference, miou_interval, scores_from_confusion
from pointseg.evaluation.bootstrap import RESAMPLES


def scene(seed, right, classes=4, points=200):
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes if seed % 3 else classes - 1, size=points)
    pred = np.where(rng.random(points) < right, truth, rng.integers(0, classes, points))
    return truth, pred


@pytest.fixture(scope="module")
def scenes():
    return [scene(seed, right) for seed, right in enumerate([0.9, 0.5, 0.7, 0.3, 0.8])]


def matrices(scenes):
    return {f"Area/{i}": confusion_matrix(truth, pred, 4) for i, (truth, pred) in enumerate(scenes)}


def miou_over_all_classes(matrix, whole):
    """Classes that are absent count as they do in all scenes."""
    iou, of_all = scores_from_confusion(matrix).iou, scores_from_confusion(whole).iou
    return np.mean([there if np.isnan(own) else own for own, there in zip(iou, of_all, strict=True)])


def test_the_interval_holds_the_percentiles_of_scenes_drawn_with_replacement(scenes):
    """Independent draws agree within the noise of 1000 resamples; the exact arithmetic is the next test's."""
    interval = miou_interval(matrices(scenes))
    stack = np.stack(list(matrices(scenes).values()))
    rng = np.random.default_rng(99)
    drawn = [miou_over_all_classes(stack[rng.integers(0, 5, 5)].sum(0), stack.sum(0)) for _ in range(10_000)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert interval.low == pytest.approx(low, abs=0.02)
    assert interval.high == pytest.approx(high, abs=0.02)
    truth, pred = (np.concatenate(part) for part in zip(*scenes, strict=True))
    assert interval.value == pytest.approx(jaccard_score(truth, pred, average="macro"))


def test_every_resample_is_the_miou_of_its_pooled_scenes():
    """Two scenes: a resample is the first twice, the second twice, or both."""
    both = [scene(3, 0.9), scene(1, 0.2)]
    a, b = matrices(both).values()
    interval = miou_interval({"a": a, "b": b})
    ends = sorted(miou_over_all_classes(m, a + b) for m in (a, b))
    assert (interval.low, interval.high) == pytest.approx(ends, abs=1e-12)
    assert a[3].sum() == 0, "a class that only one of the scenes has"


def test_a_rare_bad_class_does_not_raise_the_score_by_being_absent():
    """Class 1 is in one of six equal scenes, and always wrong: the mean is one half with it and without it."""
    common, rare = np.array([[90, 0], [0, 0]]), np.array([[90, 0], [10, 0]])
    interval = miou_interval({"rare": rare, **{f"common{i}": common for i in range(5)}})
    assert interval.value == pytest.approx(0.5, abs=0.01)
    assert interval.high == 0.5


def test_the_same_seed_gives_the_same_interval(scenes):
    assert miou_interval(matrices(scenes)) == miou_interval(matrices(scenes))
    assert miou_interval(matrices(scenes)) != miou_interval(matrices(scenes), seed=1)


def test_a_paired_difference_is_surer_than_two_intervals(scenes):
    """Scenes differ much, runs little but always the same way."""
    rng = np.random.default_rng(5)
    better = [(truth, np.where(rng.random(len(truth)) < 0.1, truth, pred)) for truth, pred in scenes]
    first, second = matrices(scenes), matrices(better)
    difference = miou_difference(first, second)
    assert 0 < difference.low < difference.value < difference.high
    alone = miou_interval(first)
    assert difference.high - difference.low < (alone.high - alone.low) / 3
    shuffled = dict(reversed(list(second.items())))
    assert miou_difference(first, shuffled) == difference, "scenes are matched by name, not by place"
    same = miou_difference(first, first)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_what_has_no_interval(scenes):
    one = matrices(scenes[:1])
    assert np.isnan(miou_interval(one).low)
    assert miou_interval(one).value == scores_from_confusion(one["Area/0"]).miou
    with pytest.raises(InputError, match="1 scenes were scored by one run alone"):
        miou_difference(matrices(scenes), matrices(scenes[:4]))


def test_scenes_without_truth_do_not_spoil_the_interval(scenes):
    with_empty = {**matrices(scenes), "Area/empty": np.zeros((4, 4), np.int64)}
    interval = miou_interval(with_empty)
    assert interval.low < interval.value < interval.high
    assert RESAMPLES >= 1000
