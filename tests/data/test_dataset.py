import numpy as np
import pytest
import torch

from pointseg.data.dataset import SceneDataset, feature_channels, nearest_rows, voxel_features
from pointseg.data.mixing import cutmix
from pointseg.data.scene import list_scenes
from pointseg.data.sparse_labels import open_labels
from pointseg.data.strong import StrongConfig, strengthen
from pointseg.data.transforms import AugmentConfig, augment
from pointseg.data.voxel import voxelize
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


def slow_origin(rng):
    part = rng.uniform(0, 0.1, 3)
    whole = rng.integers(16, size=3) if rng.random() < 0.25 else np.zeros(3)
    return (part + 0.1 * whole).astype(np.float32)


def heights(sample):
    return {int(p): float(f[-1]) for p, f in zip(sample.point, sample.features, strict=True)}


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
