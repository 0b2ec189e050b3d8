"""The map of features: geometry against scikit-learn's PCA, prototypes where their features are."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing import features as module
from pointseg.viewing.drawing import headline
from pointseg.viewing.features import feature_map

COLORS = np.array([[20, 160, 60], [230, 120, 10], [60, 60, 220]], np.uint8)
CLASSES = Classes("toy", ("floor", "block", "lamp"), COLORS, ((0,), (1,), (2,)))


def blobs(each: int = 200, channels: int = 8):
    """Three narrow cones of directions, of any length: features, labels and the cones' axes."""
    rng = np.random.default_rng(0)
    axes = np.eye(channels)[:3]
    labels = np.repeat([0, 1, 2], each)
    directions = axes[labels] + rng.normal(size=(3 * each, channels)) * 0.05
    return directions * rng.uniform(0.1, 50, size=(3 * each, 1)), labels, axes


def middle(picture: np.ndarray, color) -> np.ndarray:
    """The mean place of a colour in the plot, the legend below left out."""
    rows, columns = np.nonzero((picture[: 28 + 60 + 760] == color).all(axis=2))
    return np.array([columns.mean(), rows.mean()])


def test_components_are_those_of_scikit_learn_up_to_their_sign():
    features, _, axes = blobs()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    plan = module._pca(unit, axes)
    reference = PCA(2).fit(unit)
    expected = reference.transform(unit)
    signs = np.sign((expected * plan.features).sum(axis=0))
    np.testing.assert_allclose(plan.features, expected * signs, atol=1e-8)
    np.testing.assert_allclose(plan.prototypes, reference.transform(axes) * signs, atol=1e-8)
    assert f"{100 * reference.explained_variance_ratio_[0]:.1f} %" in plan.axes[0]
    assert f"{100 * reference.explained_variance_ratio_[:2].sum():.1f} %" in plan.note


def test_length_does_not_matter_and_groups_lie_apart():
    features, labels, axes = blobs()
    picture = np.asarray(feature_map(features, labels, axes, np.arange(3), CLASSES))
    longer = np.asarray(feature_map(features * 7, labels, axes * 0.1, np.arange(3), CLASSES))
    np.testing.assert_array_equal(picture, longer)
    places = np.stack([middle(picture, color) for color in COLORS])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(3, 1)]
    assert apart.min() > 300


def test_a_prototype_is_a_star_in_its_class_colour_at_its_place():
    features, labels, axes = blobs()
    bare = np.asarray(feature_map(features, labels, np.zeros((0, 8)), np.zeros(0, int), CLASSES))
    starred = np.asarray(feature_map(features, np.full(600, -1), axes, np.arange(3), CLASSES))
    for color in COLORS:
        # Without labels only the star has the colour; it stands in the middle of its class's features.
        assert np.linalg.norm(middle(bare, color) - middle(starred, color)) < 30


def test_without_prototypes_none_are_counted(monkeypatch):
    features, labels, axes = blobs()
    facts = []
    monkeypatch.setattr(
        module, "headline", lambda title, lines, *rest: facts.append(lines) or headline(title, lines, *rest)
    )
    feature_map(features, labels, np.zeros((0, 8)), np.zeros(0, int), CLASSES)
    feature_map(features, labels, axes, np.arange(3), CLASSES)
    assert ["prototypes" in lines[0] for lines in facts] == [False, True]


def test_the_nearest_prototype_is_told_right():
    features, labels, axes = blobs()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert "100.0 %" in module._nearest_share(unit, labels, axes, np.arange(3))
    assert "33.3 %" in module._nearest_share(unit, labels, axes, np.array([0, 2, 1]))
    half = np.where(np.arange(600) % 2 == 0, labels, -1)
    assert "100.0 %" in module._nearest_share(unit, half, axes, np.arange(3))


def test_many_features_are_thinned_to_even_numbers_of_each_class():
    labels = np.repeat([0, 1, 2], [10_000, 3000, 20])
    chosen = module._even_choice(labels, 1000)
    counts = np.bincount(labels[chosen])
    assert counts[2] == 20
    assert counts[0] == counts[1] == 490
    assert len(np.unique(chosen)) == len(chosen)
    many = np.arange(5000) % 2000
    assert len(module._even_choice(many, 1000)) <= 1000


def test_tsne_keeps_groups_together_and_repeats():
    features, labels, axes = blobs(each=40)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    plan = module._tsne(unit, axes)
    centers = np.stack([plan.features[labels == k].mean(axis=0) for k in range(3)])
    nearest = np.linalg.norm(plan.features[:, None] - centers[None], axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.97
    assert (np.linalg.norm(plan.prototypes[:, None] - centers[None], axis=2).argmin(axis=1) == np.arange(3)).all()
    first = feature_map(features, labels, axes, np.arange(3), CLASSES, how="tsne")
    second = feature_map(features, labels, axes, np.arange(3), CLASSES, how="tsne")
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_features_all_alike_are_one_dot():
    picture = np.asarray(feature_map(np.ones((10, 4)), np.zeros(10, int), np.ones((1, 4)), np.zeros(1, int), CLASSES))
    assert (picture == COLORS[0]).all(axis=2).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"how": "umap"}, "pca and tsne"),
        ({"labels": np.zeros(4, int)}, r"got \(600, 8\) and \(4,\)"),
        ({"features": np.zeros((2, 8)), "labels": np.zeros(2, int)}, "at least 3"),
        ({"features": np.full((600, 8), np.nan)}, "not finite"),
        ({"prototypes": np.zeros((3, 7))}, r"\(P, 8\)"),
        ({"labels": np.full(600, 3)}, "from -1 to 2"),
        ({"prototype_classes": np.array([0, 1, -1])}, "from 0 to 2"),
    ],
)
def test_refusals(change, message):
    features, labels, axes = blobs()
    given = {"features": features, "labels": labels, "prototypes": axes, "prototype_classes": np.arange(3)}
    with pytest.raises(InputError, match=message):
        feature_map(**(given | {"classes": CLASSES} | change))
