import numpy as np
import torch

from pointseg.data.collate import StepSampler, collate, collate_views
from pointseg.data.dataset import SceneDataset
from pointseg.data.scene import list_scenes
from pointseg.data.sparse_labels import open_labels
from pointseg.data.strong import StrongConfig
from pointseg.data.transforms import AugmentConfig

VOXEL = 0.1


def dataset(root, strong=None):
    return SceneDataset(
        list_scenes(root, ["Area_1", "Area_2"]),
        open_labels(root, "1pct_seed0"),
        voxel_size=VOXEL,
        features=("ones", "color", "height"),
        max_voxels=10**6,
        augmentation=AugmentConfig(),
        strong=strong,
    )


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_collate_puts_the_batch_index_first(rooms_root):
    data = dataset(rooms_root)
    samples = [data[0, (0, 0)], data[1, (0, 1)]]
    batch = collate(samples)
    for i, sample in enumerate(samples):
        rows = batch.coord[:, 0] == i
        assert torch.equal(batch.coord[rows, 1:], sample.coord)
        assert torch.equal(batch.labels[rows], sample.labels)
    assert batch.coord.dtype == torch.int32


def test_samples_of_one_view_stay_one_view(rooms_root):
    data = dataset(rooms_root)
    samples = [data[0, (0, 0)], data[1, (0, 1)]]
    batch = collate_views(samples, mixed=1.0, voxel_size=VOXEL).to(torch.device("cpu"))
    assert same(batch.weak, collate(samples))
    assert batch.strong is None
    assert batch.weak_row is None


def test_pairs_are_stacked_view_by_view_and_rows_count_through_the_batch(rooms_root):
    data = dataset(rooms_root, StrongConfig())
    pairs = [data[0, (0, 0)], data[1, (0, 1)], data[0, (0, 2)]]
    batch = collate_views(pairs, mixed=0.0, voxel_size=VOXEL).to(torch.device("cpu"))
    assert same(batch.weak, collate([pair.weak for pair in pairs]))
    assert same(batch.strong, collate([pair.strong for pair in pairs]))
    assert torch.equal(batch.weak.coord[batch.weak_row, 0], batch.strong.coord[:, 0])
    for i, pair in enumerate(pairs):
        mine = batch.weak_row[batch.strong.coord[:, 0] == i]
        assert torch.equal(batch.weak.position[mine], pair.weak.position[pair.weak_row])


def test_mixed_rows_count_to_the_sample_they_came_from(rooms_root):
    data = dataset(rooms_root, StrongConfig())
    pairs = [data[0, (0, 0)], data[1, (0, 1)]]
    batch = collate_views(pairs, mixed=1.0, voxel_size=VOXEL)
    host = batch.strong.coord[:, 0].long()
    origin = batch.weak.coord[batch.weak_row, 0].long()
    assert 0 < (host != origin).float().mean() < 0.5
    assert len({tuple(c) for c in batch.strong.coord.tolist()}) == len(batch.strong.coord)
    for i, pair in enumerate(pairs):
        known = {
            int(p): (int(t), int(label))
            for p, t, label in zip(pair.strong.point, pair.strong.truth, pair.strong.labels, strict=True)
        }
        rows = (origin == i).nonzero()[:, 0]
        assert [known[int(batch.strong.point[r])] for r in rows] == [
            (int(batch.strong.truth[r]), int(batch.strong.labels[r])) for r in rows
        ]
    again = collate_views(pairs, mixed=1.0, voxel_size=VOXEL)
    assert same(again.strong, batch.strong)
    assert np.array_equal(again.weak_row, batch.weak_row)


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
