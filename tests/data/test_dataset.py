"""Samples of one view: features, labels, crops, the grid's origin, and mixing with another scene."""

import numpy as np
import pytest
import torch
from room_samples import dataset, slow_origin

from pointseg.data.dataset import feature_channels, nearest_rows, voxel_features
from pointseg.data.sparse_labels import open_labels
from pointseg.data.transforms import AugmentConfig, augment
from pointseg.data.voxel import voxelize
from pointseg.errors import InputError


def test_without_augmentation_a_sample_is_the_stored_grid(rooms_root):
    data = dataset(rooms_root, augmentation=None)
    sample = data[0, (0, 0)]
    grid = data.scenes[0].grid(0.1)
    assert np.array_equal(sample.coord, grid.coord)
    assert np.array_equal(sample.point, grid.point)
    assert np.array_equal(sample.truth, grid.segment)
    np.testing.assert_allclose(sample.features[:, 1:4], grid.color / 127.5 - 1, atol=1e-6)


def test_features_by_hand():
    position = np.array([[0, 0, 1.5], [0, 0, 3.0]], np.float32)
    color = np.array([[0, 255, 51], [255, 0, 102]], np.uint8)
    values = voxel_features(position, color, 1.0, ["height", "color", "ones"])
    np.testing.assert_allclose(values, [[0.5, -1, 1, -0.6, 1], [2.0, 1, -1, -0.2, 1]], atol=1e-6)
    assert feature_channels(["height", "color", "ones"]) == 5
    with pytest.raises(InputError, match="'normals'; allowed are ones, color, height"):
        feature_channels(["normals"])


def test_every_annotation_reaches_its_voxel_and_nothing_else_is_labelled(rooms_root):
    data = dataset(rooms_root)
    for number in range(len(data)):
        index, label = open_labels(rooms_root, "1pt_seed0").for_scene(data.scenes[number])
        sample = data[number, (0, 3)]
        assert sorted(sample.labels[sample.labels >= 0].tolist()) == sorted(label.tolist())
        assert len(index) == 4


def test_full_labels_are_the_majority_of_each_voxel(rooms_root):
    sample = dataset(rooms_root, labels=None)[0, (0, 0)]
    assert torch.equal(sample.labels, sample.truth)
    assert (sample.labels >= 0).all()


def test_a_sample_depends_on_scene_and_seed_alone(rooms_root):
    one, two = dataset(rooms_root), dataset(rooms_root)
    two[1, (9, 9)]
    a, b, c = one[0, (1, 2)], two[0, (1, 2)], one[0, (1, 3)]
    assert all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))
    assert not torch.equal(a.position, c.position)


def test_a_crop_keeps_the_budget_nearest_to_an_annotation(rooms_root):
    whole = dataset(rooms_root)[0, (0, 5)]
    crop = dataset(rooms_root, max_voxels=150)[0, (0, 5)]
    assert len(crop.coord) == 150 < len(whole.coord)
    assert (crop.labels >= 0).any()
    kept = {tuple(c) for c in crop.coord.tolist()}
    annotated = whole.position[whole.labels >= 0, :2]
    nearest = []
    for centre in annotated:
        distance = ((whole.position[:, :2] - centre) ** 2).sum(1)
        order = distance.argsort(stable=True)[:150]
        nearest.append(len(kept & {tuple(c) for c in whole.coord[order].tolist()}))
    assert max(nearest) >= 148


def test_nearest_rows_against_sorting():
    rng = np.random.default_rng(0)
    position = rng.normal(size=(200, 3))
    chosen = nearest_rows(position, np.array([0.3, -0.2]), 40)
    distance = np.hypot(position[:, 0] - 0.3, position[:, 1] + 0.2)
    assert set(chosen) == set(np.argsort(distance)[:40])
    assert (np.diff(chosen) > 0).all()


def test_without_a_random_origin_a_sample_is_the_voxelised_augmented_cloud(rooms_root):
    config = AugmentConfig(random_origin=False)
    data = dataset(rooms_root, augmentation=config)
    scene = data.scenes[0]
    coord, color = augment(np.asarray(scene.coord), scene.color, config, np.random.default_rng((4, 2)))
    grid = voxelize(coord, 0.1, color=color, segment=scene.segment)
    sample = data[0, (4, 2)]
    assert np.array_equal(sample.coord, grid.coord)
    assert np.array_equal(sample.truth, grid.segment)
    assert np.array_equal(sample.position, coord[grid.point])


def test_the_phase_of_the_grid_is_uniform_on_all_axes_and_heights_stay(rooms_root):
    still = AugmentConfig(rotate=False, scale=(1.0, 1.0), flip_x=False, jitter=0.0)
    moving = dataset(rooms_root, augmentation=still)
    fixed = dataset(rooms_root, augmentation=AugmentConfig(**{**vars(still), "random_origin": False}))
    before = fixed[0, (0, 0)]
    where = {int(p): row for row, p in enumerate(before.point)}
    origins = []
    for seed in range(120):
        sample = moving[0, (0, seed)]
        assert np.array_equal(np.floor(sample.position.numpy().astype(np.float64) / 0.1), sample.coord)
        common = [(row, where[int(p)]) for row, p in enumerate(sample.point) if int(p) in where]
        rows, old = (torch.tensor(side) for side in zip(*common, strict=True))
        shift = sample.position[rows] - before.position[old]
        assert len(rows) > 100
        torch.testing.assert_close(shift, shift[:1].expand_as(shift), atol=1e-5, rtol=0)
        torch.testing.assert_close(sample.features[rows, -1], before.features[old, -1], atol=1e-5, rtol=0)
        origins.append(shift[0].numpy())
    origins = np.array(origins) / 0.1
    assert origins.min() >= -1e-4
    assert 8 < origins.max() <= 16 + 1e-4
    assert 15 < (origins > 1 + 1e-4).any(axis=1).sum() < 45
    phases = np.sort(origins % 1, axis=0)
    # The critical distance of Kolmogorov and Smirnov at a level of 0.1 %.
    assert np.abs(phases - (np.arange(120)[:, None] + 0.5) / 120).max() < 1.95 / np.sqrt(120)


def test_an_overlay_against_a_slow_twin(rooms_root):
    """Both clouds are drawn again, and voxels are filled with dictionaries; of two scenes the other is the partner."""
    config = AugmentConfig(mix3d=1.0)
    data = dataset(rooms_root, "1pct_seed0", augmentation=config)
    sample = data[0, (8, 1)]
    rng = np.random.default_rng((8, 1))
    clouds = [augment(np.asarray(data.scenes[0].coord), data.scenes[0].color, config, rng)[0]]
    rng.random(), rng.integers(1)
    clouds.append(augment(np.asarray(data.scenes[1].coord), data.scenes[1].color, config, rng)[0])
    clouds[1] = clouds[1] + np.array([0, 0, clouds[0][:, 2].min() - clouds[1][:, 2].min()], np.float32)
    origin = slow_origin(rng)
    voxels = {}
    for owner, coord in enumerate(clouds):
        given = dict(zip(*(a.tolist() for a in data.annotations[owner]), strict=True))
        for number, position in enumerate(coord + origin):
            place = tuple(np.floor(position.astype(np.float64) / 0.1).astype(int).tolist())
            voxels.setdefault(place, []).append((owner, number, given.get(number, -1)))
    assert len(sample.coord) == len(voxels)
    shared = 0
    for row, place in enumerate(sample.coord.tolist()):
        held = voxels[tuple(place)]
        assert sample.point[row] == held[0][1]
        classes = {label for *_, label in held if label >= 0}
        assert (int(sample.labels[row]) in classes) if classes else sample.labels[row] == -1
        shared += len({owner for owner, *_ in held}) == 2
        truths = np.bincount([data.scenes[owner].segment[number] for owner, number, _ in held])
        assert sample.truth[row] == truths.argmax()
    assert shared > 20


def test_samples_are_mixed_as_often_as_asked_with_any_other_scene(rooms_root):
    plain = dataset(rooms_root, augmentation=AugmentConfig())
    sizes = [len(plain[0, (0, seed)].coord) for seed in range(40)]
    for settings in ({"mix3d": 0.5}, {"mix3d": 0.5, "cutmix": 1.0}):
        data = dataset(rooms_root, augmentation=AugmentConfig(**settings))
        larger = sum(len(data[0, (0, seed)].coord) > max(sizes) for seed in range(60))
        assert 15 < larger < 45
    data.scenes *= 3
    rng = np.random.default_rng(0)
    assert {data._partner(2, rng) for _ in range(100)} == {0, 1, 3, 4, 5}
    data.scenes = data.scenes[:1]
    assert data._partner(0, rng) == 0


def test_annotations_survive_dropped_points(rooms_root):
    data = dataset(rooms_root, augmentation=AugmentConfig(point_drop=0.9))
    for number in range(2):
        sample = data[number, (0, 3)]
        raw = np.asarray(data.scenes[number].segment)
        assert sorted(sample.labels[sample.labels >= 0].tolist()) == sorted(data.annotations[number][1].tolist())
        assert len(sample.coord) < 0.5 * len(data.scenes[number].grid(0.1).coord)
        assert sample.point.max() > 2000
        own = torch.from_numpy(raw[sample.point.numpy()].astype(np.int64)) == sample.truth
        assert own.float().mean() > 0.9
