"""Samples of two views: which row holds what, where each view stands, and how pairs are mixed."""

import numpy as np
import pytest
import torch
from room_samples import dataset, slow_origin

from pointseg.data.mixing import cutmix
from pointseg.data.strong import StrongConfig, strengthen
from pointseg.data.transforms import AugmentConfig, augment


def heights(sample):
    return {int(p): float(f[-1]) for p, f in zip(sample.point, sample.features, strict=True)}


@pytest.mark.parametrize("max_voxels", [10**6, 150])
@pytest.mark.parametrize("labels", ["1pct_seed0", None])
def test_a_pair_against_a_slow_twin(rooms_root, labels, max_voxels):
    """The clouds of both views are drawn again; which row holds what is then found with dictionaries."""
    config = StrongConfig()
    data = dataset(rooms_root, labels, max_voxels=max_voxels, strong=config)
    scene = data.scenes[1]
    segment = np.asarray(scene.segment)
    pair = data[1, (5, 7)]
    rng = np.random.default_rng((5, 7))
    coord, color = augment(np.asarray(scene.coord), scene.color, AugmentConfig(), rng)
    coord = coord + slow_origin(rng)
    if max_voxels == 150:
        whole = dataset(rooms_root, labels)[1, (5, 7)]
        rng.integers(int((whole.labels >= 0).sum()))
    weak_rows = {tuple(c): row for row, c in enumerate(pair.weak.coord.tolist())}
    cell = [tuple(np.floor(p.astype(np.float64) / 0.1).astype(int).tolist()) for p in coord]
    inside = np.array([i for i, c in enumerate(cell) if c in weak_rows])
    kept, moved, _ = strengthen(coord[inside], color[inside], float(coord[:, 2].min()), config, rng)
    origin = slow_origin(rng)
    voxels = {}
    for point, position in zip(inside[kept], moved + origin, strict=True):
        place = tuple(np.floor(position.astype(np.float64) / 0.1).astype(int).tolist())
        voxels.setdefault(place, []).append((int(point), position))
    assert len(pair.strong.coord) == min(len(voxels), max_voxels)
    assert 0 < len(kept) < len(inside)
    annotated = {} if labels is None else dict(zip(*(a.tolist() for a in data.annotations[1]), strict=True))
    for row, place in enumerate(pair.strong.coord.tolist()):
        points = sorted(voxels[tuple(place)], key=lambda held: held[0])
        first, position = points[0]
        assert pair.strong.point[row] == first
        assert pair.weak_row[row] == weak_rows[cell[first]]
        np.testing.assert_array_equal(pair.strong.position[row], position)
        assert float(pair.strong.features[row, -1]) == pytest.approx(float(position[2] - origin[2]), abs=1e-5)
        classes = np.bincount([segment[p] for p, _ in points])
        assert pair.strong.truth[row] == classes.argmax()
        given = np.bincount([annotated[p] for p, _ in points if p in annotated], minlength=1)
        expected = classes.argmax() if labels is None else given.argmax() if given.any() else -1
        assert pair.strong.labels[row] == expected
    assert (pair.strong.labels >= 0).any()


def test_the_weak_view_is_the_sample_of_one_view(rooms_root):
    one, pair = dataset(rooms_root)[0, (1, 2)], dataset(rooms_root, strong=StrongConfig())[0, (1, 2)]
    assert all(torch.equal(x, y) for x, y in zip(vars(one).values(), vars(pair.weak).values(), strict=True))
    assert len(pair.weak_row) == len(pair.strong.coord)


def test_a_pair_depends_on_scene_and_seed_alone(rooms_root):
    one, two = (dataset(rooms_root, strong=StrongConfig()) for _ in range(2))
    two[1, (9, 9)]
    a, b, c = one[0, (1, 2)], two[0, (1, 2)], one[0, (1, 3)]
    assert all(torch.equal(x, y) for x, y in zip(vars(a.strong).values(), vars(b.strong).values(), strict=True))
    assert torch.equal(a.weak_row, b.weak_row)
    assert a.seed == b.seed != c.seed


def test_both_views_have_an_origin_of_their_own_if_any(rooms_root):
    off = StrongConfig(point_drop=0, block_drop=0, elastic=(), rotate=0, scale=0)
    still = AugmentConfig(jitter=0.0, random_origin=False)
    pair = dataset(rooms_root, augmentation=still, strong=off)[0, (0, 1)]
    torch.testing.assert_close(pair.strong.position.min(0).values[2], torch.tensor(0.0), atol=1e-5, rtol=0)
    phases = []
    for seed in range(40):
        pair = dataset(rooms_root, augmentation=AugmentConfig(jitter=0.0), strong=off)[0, (0, seed)]
        phases.append([float(view.position[:, 2].min()) for view in (pair.weak, pair.strong)])
    assert abs(np.corrcoef(np.array(phases).T)[0, 1]) < 0.5
    assert np.array(phases).min(0).max() < 0.02
    assert np.array(phases).max(0).min() > 0.3


def test_heights_of_the_strong_view_are_above_the_floor_even_where_the_floor_was_dropped(rooms_root):
    off = StrongConfig(point_drop=0, block_drop=0.97, block_size=0.6, elastic=(), rotate=0, scale=0)
    data = dataset(rooms_root, strong=off)
    lowest = []
    for seed in range(40):
        pair = data[0, (0, seed)]
        weak, strong = heights(pair.weak), heights(pair.strong)
        common = weak.keys() & strong.keys()
        assert all(weak[p] == pytest.approx(strong[p], abs=1e-5) for p in common)
        lowest.append(min(strong.values()))
    assert max(lowest) > 0.3


def test_mixed_strong_views_have_one_floor_wherever_each_view_stands(rooms_root):
    data, floors = dataset(rooms_root, strong=StrongConfig()), set()
    for seed in range(30):
        pairs = [data[number, (seed, number)] for number in range(2)]
        floors.update(pair.strong_floor for pair in pairs)
        for sample in cutmix(pairs, probability=1.0, voxel_size=0.1)[0]:
            # Where each row's own floor stands: in the layer of the others', as the network sees heights.
            floor = (sample.position[:, 2] - sample.features[:, 4]) / 0.1
            assert floor.max() - floor.min() < 1
    assert max(floors) > 8


def test_a_pair_without_augmentation_or_colour(rooms_root):
    data = dataset(rooms_root, augmentation=None, features=("ones", "height"), strong=StrongConfig())
    pair = data[0, (0, 0)]
    assert np.array_equal(pair.weak.coord, data.scenes[0].grid(0.1).coord)
    assert pair.strong.features.shape[1] == 2


MIXES = [{"mix3d": 1.0}, {"cutmix": 1.0}, {"mix3d": 0.5, "cutmix": 0.5, "point_drop": 0.3, "elastic": ((0.2, 0.4),)}]


@pytest.mark.parametrize("labels", ["1pct_seed0", None])
@pytest.mark.parametrize("settings", MIXES)
def test_mixed_pairs_correspond_and_depend_on_scene_and_seed_alone(rooms_root, settings, labels):
    augmentation = AugmentConfig(**settings)
    data = dataset(rooms_root, labels, augmentation=augmentation, strong=StrongConfig())
    single = dataset(rooms_root, labels, augmentation=augmentation)
    for seed in range(4):
        pair, again, weak = data[1, (5, seed)], data[1, (5, seed)], single[1, (5, seed)]
        for name in vars(weak):
            assert torch.equal(getattr(pair.weak, name), getattr(weak, name))
            assert torch.equal(getattr(pair.strong, name), getattr(again.strong, name))
        assert np.array_equal(np.floor(weak.position.numpy().astype(np.float64) / 0.1), weak.coord)
        assert len(torch.unique(weak.coord, dim=0)) == len(weak.coord)
        assert (weak.labels >= 0).any()
        assert pair.weak_row.min() >= 0
        # A strong row's point lies in the voxel of its weak row, so it is of one of the scenes mixed there.
        same = pair.strong.point == weak.point[pair.weak_row]
        assert same.float().mean() > 0.2
