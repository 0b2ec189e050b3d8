import numpy as np
import pytest
import torch

from pointseg.data.collate import StepSampler, collate
from pointseg.data.dataset import SceneDataset, feature_channels, nearest_rows, voxel_features
from pointseg.data.scene import list_scenes
from pointseg.data.sparse_labels import open_labels
from pointseg.data.transforms import AugmentConfig
from pointseg.errors import InputError

FEATURES = ("ones", "color", "height")


def dataset(root, labels="1pt_seed0", **settings):
    defaults = {"voxel_size": 0.1, "features": FEATURES, "max_voxels": 10**6, "augmentation": AugmentConfig()}
    sparse = None if labels is None else open_labels(root, labels)
    return SceneDataset(list_scenes(root, ["Area_1", "Area_2"]), sparse, **{**defaults, **settings})


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


def test_collate_puts_the_batch_index_first(rooms_root):
    data = dataset(rooms_root)
    samples = [data[0, (0, 0)], data[1, (0, 1)]]
    batch = collate(samples)
    for i, sample in enumerate(samples):
        rows = batch.coord[:, 0] == i
        assert torch.equal(batch.coord[rows, 1:], sample.coord)
        assert torch.equal(batch.labels[rows], sample.labels)
    assert batch.coord.dtype == torch.int32


def test_steps_can_start_anywhere_and_visit_every_scene_once_an_epoch():
    def keys(start, stop):
        return list(StepSampler(5, batch_size=2, seed=3, start=start, stop=stop))

    assert keys(0, 10)[4:] == keys(4, 10)
    visits = [scene for step in keys(0, 10) for scene, _ in step]
    for epoch in range(4):
        assert sorted(visits[5 * epoch : 5 * epoch + 5]) == list(range(5))
    assert visits[:5] != visits[5:10] or visits[5:10] != visits[10:15]
    seeds = [seed for step in keys(0, 10) for _, seed in step]
    assert len(set(seeds)) == len(seeds)
