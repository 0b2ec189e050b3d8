"""A map of features in two dimensions, coloured by class, with the prototypes among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import IGNORED
from pointseg.viewing.colors import IGNORED_COLOR, class_colors
from pointseg.viewing.drawing import RGB, Style, flowing_legend, headline, stacked, vertical_text

_SEED = 0
_MOST_POINTS = {"pca": 4000, "tsne": 2000}  # t-SNE of 2000 takes tens of seconds on one core
_PERPLEXITY = 30
_SIDE, _LEFT = 760, 34
_FINE = 2  # dots are drawn this many times larger and averaged down


@dataclass(frozen=True)
class _Plan:
    """Places in the plane of the features (M, 2) and the prototypes (P, 2), and what to write along the axes."""

    features: np.ndarray
    prototypes: np.ndarray
    axes: tuple[str, str]
    note: str


def feature_map(
    features: np.ndarray,
    labels: np.ndarray,
    prototypes: np.ndarray,
    prototype_classes: np.ndarray,
    classes: Classes,
    how: str = "pca",
) -> Image.Image:
    """Features and prototypes in the plane: dots and stars in the colours of their classes.

    All are scaled to length 1 first, because prototypes are compared by the cosine. Up to 4000 features (2000 for
    t-SNE) are drawn, as even a number of each class as can be. PCA is fitted to the features drawn; t-SNE (van der
    Maaten and Hinton 2008) places features and prototypes together, from a fixed seed.

    Args:
        features: (M, C) floats.
        labels: (M,) class ids, -1 for features without a class.
        prototypes: (P, C) floats; P may be 0.
        prototype_classes: (P,) class ids.
        classes: names and colours.
        how: "pca" or "tsne".

    Raises:
        InputError: if ``how`` is neither, shapes disagree, a number is not finite, an id lies outside the classes, or
            there are fewer than three features.
    """
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels)
    prototypes, owners = np.asarray(prototypes, dtype=np.float64), np.asarray(prototype_classes)
    _check(features, labels, prototypes, owners, classes, how)
    chosen = _even_choice(labels, _MOST_POINTS[how])
    shown, ids = _unit(features[chosen]), labels[chosen]
    stars = _unit(prototypes)
    plan = _pca(shown, stars) if how == "pca" else _tsne(shown, stars)
    style = Style()
    count = (
        f"{len(chosen):,} of {len(features):,} features" if len(chosen) < len(features) else f"{len(ids):,} features"
    )
    also = f", {len(stars)} prototypes (stars)" if len(stars) else ""
    facts = [f"{count}{also}, all of length 1; {plan.note}"]
    if len(stars) and (ids != IGNORED).any():
        facts.append(_nearest_share(shown, ids, stars, owners))
    title = {"pca": "Features, principal components", "tsne": "Features, t-SNE"}[how]
    strips = [
        headline(title, facts, _LEFT + _SIDE, style),
        _plot(plan, ids, owners, classes, style),
        _legend(ids, owners, classes, style),
    ]
    return stacked(strips, style)


def _check(
    features: np.ndarray,
    labels: np.ndarray,
    prototypes: np.ndarray,
    owners: np.ndarray,
    classes: Classes,
    how: str,
) -> None:
    if how not in _MOST_POINTS:
        raise InputError(f"there is no map {how!r} of features; allowed are {' and '.join(_MOST_POINTS)}.")
    if features.ndim != 2 or len(features) < 3 or features.shape[1] < 2 or labels.shape != (len(features),):
        raise InputError(
            f"a map needs features (M, C) and labels (M,) with M at least 3 and C at least 2, got {features.shape} "
            f"and {labels.shape}."
        )
    if prototypes.ndim != 2 or prototypes.shape[1] != features.shape[1] or owners.shape != (len(prototypes),):
        raise InputError(
            f"prototypes must be (P, {features.shape[1]}) with P classes, got {prototypes.shape} and {owners.shape}."
        )
    if not (np.isfinite(features).all() and np.isfinite(prototypes).all()):
        raise InputError("features or prototypes hold numbers that are not finite; leave them out of the map.")
    for name, ids, least in (("labels", labels, IGNORED), ("prototype_classes", owners, 0)):
        if ids.dtype.kind not in "iu" or (len(ids) and not least <= ids.min() <= ids.max() < classes.num_classes):
            raise InputError(f"{name} must be class ids from {least} to {classes.num_classes - 1}.")


def _even_choice(labels: np.ndarray, most: int) -> np.ndarray:
    """Up to ``most`` places in ``labels``: the largest equal number of each class that fits, or all a class has."""
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(_SEED).permutation(len(labels))
    kinds, kind, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    each = max(count for count in range(most + 1) if np.minimum(counts, count).sum() <= most)
    return np.sort(np.concatenate([order[np.flatnonzero(kind == k)[:each]] for k in range(len(kinds))]))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _pca(features: np.ndarray, prototypes: np.ndarray) -> _Plan:
    middle = features.mean(axis=0)
    _, sizes, directions = np.linalg.svd(features - middle, full_matrices=False)
    # The sign of a component is arbitrary; its largest entry is made positive, so that pictures are repeatable.
    top = directions[:2] * np.sign(directions[[0, 1], np.abs(directions[:2]).argmax(axis=1)])[:, None]
    share = sizes**2 / max(float((sizes**2).sum()), 1e-300)
    return _Plan(
        (features - middle) @ top.T,
        (prototypes - middle) @ top.T,
        (f"component 1: {100 * share[0]:.1f} % of the variance", f"component 2: {100 * share[1]:.1f} %"),
        f"together {100 * share[:2].sum():.1f} % of the variance",
    )


def _tsne(features: np.ndarray, prototypes: np.ndarray) -> _Plan:
    # Slow to import, and only this map needs it.
    from sklearn.manifold import TSNE

    together = np.concatenate([features, prototypes])
    perplexity = min(_PERPLEXITY, (len(together) - 1) / 3)
    places = TSNE(2, perplexity=perplexity, init="pca", random_state=_SEED).fit_transform(together)
    note = f"perplexity {perplexity:.0f}; distances between far groups mean little"
    return _Plan(places[: len(features)], places[len(features) :], ("", ""), note)


def _nearest_share(features: np.ndarray, labels: np.ndarray, prototypes: np.ndarray, owners: np.ndarray) -> str:
    known = labels != IGNORED
    right = owners[(features[known] @ prototypes.T).argmax(axis=1)] == labels[known]
    return f"the nearest prototype by cosine has the feature's class for {100 * right.mean():.1f} % of them"


def _plot(plan: _Plan, labels: np.ndarray, owners: np.ndarray, classes: Classes, style: Style) -> Image.Image:
    """Both axes in the same scale, the cloud of features in the middle of a square."""
    everything = np.concatenate([plan.features, plan.prototypes])
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = _SIDE * 0.92 / max(float((high - low).max()), 1e-12)
    middle = (low + high) / 2

    def place(points: np.ndarray) -> np.ndarray:
        return (points - middle) * np.array([scale, -scale]) + _SIDE / 2

    sheet = style.sheet(_LEFT + _SIDE, _SIDE + 34)
    fine = style.sheet(_SIDE * _FINE, _SIDE * _FINE)
    pen = ImageDraw.Draw(fine)
    radius = _FINE * float(np.clip(90 / np.sqrt(max(len(labels), 1)), 2.0, 5.0))
    colors = class_colors(labels, classes)
    # In random order, so that no class lies on top because of its number; those without a class lie below all.
    order = np.random.default_rng(_SEED).permutation(len(labels))
    for i in order[np.argsort(labels[order] != IGNORED, kind="stable")]:
        x, y = place(plan.features[i]) * _FINE
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colors[i].tolist()))
    for (x, y), owner in zip(place(plan.prototypes) * _FINE, owners, strict=True):
        pen.polygon(_star(x, y, 15 * _FINE), fill=style.paper.ground)
        pen.polygon(_star(x, y, 13 * _FINE), fill=style.paper.ink)
        pen.polygon(_star(x, y, 9.5 * _FINE), fill=tuple(classes.colors[owner].tolist()))
    sheet.paste(fine.resize((_SIDE, _SIDE), Image.Resampling.BOX), (_LEFT, 0))
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((_LEFT, 0, _LEFT + _SIDE - 1, _SIDE - 1), outline=style.paper.grid)
    _name_prototypes(pen, place(plan.prototypes) + np.array([_LEFT, 0]), owners, classes, style)
    pen.text((_LEFT + _SIDE / 2, _SIDE + 16), plan.axes[0], fill=style.paper.ink, font=style.font(15), anchor="mm")
    if plan.axes[1]:
        vertical_text(sheet, (_LEFT / 2 - 4, _SIDE / 2), plan.axes[1], style.font(15), style.paper)
    return sheet


def _star(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    angles = np.pi * (np.arange(10) / 5 - 0.5)
    reach = radius * np.where(np.arange(10) % 2 == 0, 1.0, 0.5)
    return list(zip((x + reach * np.cos(angles)).tolist(), (y + reach * np.sin(angles)).tolist(), strict=True))


def _name_prototypes(
    pen: ImageDraw.ImageDraw, places: np.ndarray, owners: np.ndarray, classes: Classes, style: Style
) -> None:
    """The class's name beside its first prototype, where it covers no star and no name; left out where it would."""
    letters = style.font(15)
    taken = [(x - 11, y - 11, x + 11, y + 11) for x, y in places]
    named: set[int] = set()
    for (x, y), owner in zip(places, owners.tolist(), strict=True):
        if owner in named:
            continue
        half = letters.getlength(classes.names[owner]) / 2 + 3
        for dx, dy in ((half + 14, 0), (-half - 14, 0), (0, -24), (0, 24), (half + 8, -20), (half + 8, 20)):
            box = (x + dx - half, y + dy - 10, x + dx + half, y + dy + 10)
            inside = box[0] > _LEFT and box[2] < _LEFT + _SIDE and box[1] > 0 and box[3] < _SIDE
            if inside and not any(_overlap(box, other) for other in taken):
                at = (x + dx, y + dy)
                ground, ink = style.paper.ground, style.paper.ink
                pen.text(at, classes.names[owner], ink, letters, "mm", stroke_width=3, stroke_fill=ground)
                taken.append(box)
                named.add(owner)
                break


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _legend(labels: np.ndarray, owners: np.ndarray, classes: Classes, style: Style) -> Image.Image:
    entries: list[tuple[RGB, str]] = []
    counts = np.bincount(labels[labels != IGNORED], minlength=classes.num_classes)
    for k in np.union1d(np.flatnonzero(counts), owners).astype(int):
        red, green, blue = classes.colors[k].tolist()
        entries.append(((red, green, blue), f"{classes.names[k]} {counts[k]:,}"))
    if (labels == IGNORED).any():
        entries.append((IGNORED_COLOR, f"no class {int((labels == IGNORED).sum()):,}"))
    return flowing_legend(entries, _LEFT + _SIDE, style)
