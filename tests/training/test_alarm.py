"""The collapse alarm on made-up curves: collapses are found, healthy trainings are left alone."""

import json
import re

import numpy as np
import pytest
import torch

from pointseg.methods.prototype_watch import PrototypeWatch, effective_rank
from pointseg.training.alarm import PATIENCE, CollapseAlarm

BY_POINTS = [300, 250, 280, 20, 30, 25, 60, 35]
EVENLY = [8] * 8
STEPS = range(10, 1001, 10)


def watch(records, label_counts=BY_POINTS, steps=1000):
    alarm = CollapseAlarm(label_counts, steps)
    return [warning for step, record in records for warning in alarm.observe(step, record)]


def healthy(steps=STEPS, seed=0):
    """Scenes of 3 to 8 classes in turn, the first steps poor in classes, the largest share as in rooms."""
    rng = np.random.default_rng(seed)
    for step in steps:
        labelled = int(rng.integers(3, 9))
        share = rng.uniform(0.25, 0.75) if step > 50 else rng.uniform(0.9, 1.0)
        predicted = max(1, labelled - int(rng.integers(0, 1 + labelled // 2))) if step > 50 else 1
        yield (
            step,
            {
                "largest_share_p": share,
                "largest_share_q": share,
                "classes_predicted_p": float(predicted),
                "classes_predicted_q": float(predicted),
                "classes_labelled": float(labelled),
                "prototype_cosine_mean": rng.uniform(-0.1, 0.8),
                "prototype_cosine_rms": rng.uniform(0.2, 0.8),
                "prototype_cosine_max": 0.999,
                "prototype_rank": rng.uniform(4.0, 8.0) if step > 50 else rng.uniform(1.0, 8.0),
                "prototype_classes": 13.0,
                **right_on(rng, 10, 0.65, 0.7),
                "accuracy_p": 0.0,
                "ece_q": 1.0,
                "loss": rng.uniform(0, 3),
            },
        )


def right_on(rng, points, p, q):
    """Accuracies of pseudo-labels and predictions on some annotated points of a batch."""
    return {f"accuracy_{letter}_annotated": rng.binomial(points, of) / points for letter, of in (("p", p), ("q", q))}


def collapsing(name, value, start=400):
    """Healthy until ``start``, then one scalar at ``value``."""
    return [(step, record | ({name: value} if step > start else {})) for step, record in healthy()]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("label_counts", [BY_POINTS, EVENLY])
def test_a_healthy_training_is_left_alone(label_counts, seed):
    assert watch(healthy(seed=seed), label_counts) == []


@pytest.mark.parametrize(
    ("kind", "name", "value", "told"),
    [
        ("one_class_p", "largest_share_p", 0.98, "98.0% of the pseudo-labels were of one class"),
        ("one_class_q", "largest_share_q", 0.97, "97.0% of the predictions were of one class"),
        ("parallel_prototypes", "prototype_cosine_mean", 0.99, "nearly on one line (cosine 0.990"),
        ("parallel_prototypes", "prototype_cosine_rms", 0.97, "nearly on one line (cosine 0.970"),
        ("flat_prototypes", "prototype_rank", 2.03, "prototypes of 13 classes spread over 2.0 dimensions"),
    ],
)
def test_a_collapse_is_told_once_after_some_patience(kind, name, value, told):
    (warning,) = watch(collapsing(name, value))
    assert warning.kind == kind
    assert warning.step == 400 + 10 * PATIENCE
    assert warning.text.startswith(f"at step {warning.step}, as in the {PATIENCE - 1} records before, ")
    assert told in warning.text
    assert "usually helps" in warning.text
    assert "\n" not in warning.text


@pytest.mark.parametrize("letter", ["p", "q"])
def test_few_predicted_classes_are_told_where_more_are_annotated(letter):
    records = collapsing(f"classes_predicted_{letter}", 2.0)
    rich = [(step, record | {"classes_labelled": 8.0}) for step, record in records]
    (warning,) = watch(rich)
    assert warning.kind == f"few_classes_{letter}"
    assert "named only 2 classes while 8 are annotated" in warning.text


def test_a_set_of_class_poor_scenes_is_left_alone():
    poor = {"classes_labelled": 3.0, "classes_predicted_q": 1.0, "classes_predicted_p": 2.0, "largest_share_q": 0.85}
    assert watch([(step, record | poor) for step, record in healthy(range(100, 1001, 10))]) == []


def test_one_class_is_right_where_the_annotated_points_say_so():
    records = collapsing("largest_share_q", 0.97)
    assert watch(records, [970, 10, 10, 10]) == []
    assert watch(records, [500, 300, 100, 100]) != []
    assert watch([(step, {"largest_share_q": 1.0}) for step in STEPS], [100, 0, 0]) == []


def test_one_rich_scene_among_poor_ones_starts_the_patience_anew():
    records = [
        (step, {"largest_share_q": 0.5 if (step // 10) % PATIENCE == 0 else 0.99}) for step in range(10, 1001, 10)
    ]
    assert watch(records) == []


def test_a_long_training_is_given_longer():
    records = [(step, {"largest_share_q": 0.99}) for step in range(10, 20_001, 10)]
    (warning,) = watch(records, steps=100_000)
    assert warning.step == 10 + 5_000
    assert watch([(step, record) for step, record in records if step <= 4_000], steps=100_000) == []


@pytest.mark.parametrize(
    ("classes", "rank", "flat"), [(20, 2.9, True), (10, 2.0, True), (9, 2.0, False), (5, 1.9, False)]
)
def test_few_classes_may_share_a_plane(classes, rank, flat):
    record = {"prototype_rank": rank, "prototype_classes": float(classes)}
    assert [warning.kind for warning in watch((step, record) for step in STEPS)] == ["flat_prototypes"] * flat


def trained_prototypes(flat):
    """Records of 13 prototypes that drift while they are trained, in 24 dimensions or in a plane of them."""
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(13, 24, generator=generator) + 1
    basis = torch.linalg.qr(torch.randn(24, 24, generator=generator)).Q
    for step in STEPS:
        value += 0.05 * torch.randn(13, 24, generator=generator)
        seen = torch.arange(13) < step // 10
        shown = value @ basis[:, :2] @ basis[:, :2].T if flat and step > 400 else value
        scalars = PrototypeWatch(13, 24).look(shown, seen) | effective_rank(shown, seen)
        yield step, {name: float(scalar) for name, scalar in scalars.items() if scalar.dim() == 0}


def test_prototypes_falling_into_a_plane_are_told_by_their_rank_alone():
    assert watch(trained_prototypes(flat=False)) == []
    (warning,) = watch(trained_prototypes(flat=True))
    assert warning.kind == "flat_prototypes"
    assert warning.step == 400 + 10 * PATIENCE


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("points", "p", "q"), [(10, 0.4, 0.7), (100, 0.5, 0.75), (1000, 0.65, 1.0)])
def test_pseudo_labels_that_know_much_less_than_predictions_are_told(points, p, q, seed):
    rng = np.random.default_rng(seed)
    (warning,) = watch((step, right_on(rng, points, p if step > 400 else q, q)) for step in STEPS)
    assert warning.kind == "pseudo_labels_behind"
    assert warning.step > 400 + 10 * PATIENCE
    told = re.search(
        r"pseudo-labels were right on (\d+)% of the annotated points, the predictions on (\d+)%", warning.text
    )
    assert float(told[1]) == pytest.approx(100 * p, abs=20)
    assert float(told[2]) == pytest.approx(100 * q, abs=20)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("points", "p", "q"),
    [(1, 0.6, 0.6), (2, 0.5, 0.6), (10, 0.65, 0.7), (100, 0.8, 1.0), (10, 0.9, 0.1), (10, 0.0, 0.0)],
)
def test_chance_and_points_known_by_heart_are_no_alarm(points, p, q, seed):
    rng = np.random.default_rng(seed)
    assert watch((step, right_on(rng, points, p, q)) for step in range(10, 4001, 10)) == []


def test_several_kinds_are_told_apart():
    record = {"largest_share_p": 1.0, "largest_share_q": 1.0, "prototype_cosine_mean": 1.0}
    kinds = [warning.kind for warning in watch([(step, record) for step in STEPS])]
    assert kinds == ["one_class_p", "one_class_q", "parallel_prototypes"]


def test_a_record_that_lacks_a_scalar_changes_nothing():
    records = [(step, {"largest_share_q": 0.99} if step % 20 else {"loss": 1.0}) for step in STEPS]
    (warning,) = watch(records)
    assert warning.step == 20 * PATIENCE - 10


def test_hidden_truth_plays_no_part():
    records = collapsing("largest_share_p", 0.98)
    truth = {"accuracy_p": 1.0, "accuracy_q": 1.0, "pseudo_label_accuracy": 1.0, "ece_q": 0.0}
    assert watch([(step, record | truth) for step, record in records]) == watch(records)


@pytest.mark.parametrize("stop", [300, 440, 480, 700])
def test_it_resumes_from_the_lines_it_wrote(stop):
    records = collapsing("largest_share_q", 0.98)
    lines = [json.dumps({"kind": "train", "step": step, **record}) for step, record in records]
    alarm = CollapseAlarm(BY_POINTS, 1000)
    before = [w for step, record in records if step <= stop for w in alarm.observe(step, record)]
    resumed = CollapseAlarm(BY_POINTS, 1000)
    for line in map(json.loads, lines[: stop // 10]):
        resumed.observe(line["step"], line)
    after = [w for step, record in records if step > stop for w in resumed.observe(step, record)]
    assert before + after == watch(records)
