"""CutMix of voxel samples, looked at row by row: every row carries a name (a feature) that tells where it came from."""

import numpy as np
import pytest
import torch

from pointseg.data.dataset import Sample, SamplePair
from pointseg.data.mixing import cutmix

VOXEL = 0.1
FLOORS = (2, 15, -3)


def sample(owner, rows, rng, extent=(30, 22, 8)):
    coord = torch.from_numpy(np.unique(rng.integers(0, extent, size=(rows, 3)), axis=0).astype(np.int32))
    coord += torch.tensor([owner * 7 - 9, 5 - owner * 11, 0], dtype=torch.int32)
    n = len(coord)
    return Sample(
        coord=coord,
        features=torch.stack([torch.full((n,), float(owner)), torch.arange(n).float()], 1),
        labels=torch.from_numpy(rng.integers(-1, 3, n)),
        truth=torch.from_numpy(rng.integers(0, 3, n)),
        position=((coord + torch.from_numpy(rng.uniform(0.3, 0.7, (n, 3)))) * VOXEL).float(),
        point=torch.from_numpy(rng.integers(0, 10**6, n)),
    )


def batch(size=3, seed=0):
    rng = np.random.default_rng(seed)
    pairs = []
    for owner in range(size):
        weak, strong = sample(owner, 400, rng), sample(owner, 500 + 60 * owner, rng)
        weak_row = torch.from_numpy(rng.integers(-1, len(weak.coord), len(strong.coord)))
        pairs.append(SamplePair(weak, strong, weak_row, seed=1000 * seed + owner, strong_floor=FLOORS[owner]))
    return pairs


def mix(pairs, probability=1.0):
    return cutmix(pairs, probability=probability, voxel_size=VOXEL)


@pytest.mark.parametrize("seed", range(12))
def test_every_row_is_one_of_the_host_or_of_the_next_sample_with_all_it_holds(seed):
    pairs = batch(seed=seed)
    starts = np.cumsum([0] + [len(pair.weak.coord) for pair in pairs])
    for host, (mixed, weak_row) in enumerate(zip(*mix(pairs), strict=True)):
        partner = (host + 1) % len(pairs)
        shifts = set()
        for row in range(len(mixed.coord)):
            owner, name = (int(v) for v in mixed.features[row])
            origin = pairs[owner].strong
            assert owner in (host, partner)
            for field in ("labels", "truth", "point"):
                assert getattr(mixed, field)[row] == getattr(origin, field)[name]
            before = int(pairs[owner].weak_row[name])
            assert weak_row[row] == (before + starts[owner] if before >= 0 else -1)
            shift = mixed.coord[row] - origin.coord[name]
            moved = (mixed.position[row] - origin.position[name]) / VOXEL
            np.testing.assert_allclose(moved, shift, atol=1e-3)
            if owner == partner:
                shifts.add(tuple(shift.tolist()))
            else:
                assert not shift.any()
        assert len(shifts) == 1
        assert shifts.pop()[2] == FLOORS[host] - FLOORS[partner]


@pytest.mark.parametrize("seed", range(12))
def test_what_comes_fills_the_room_of_what_goes(seed):
    pairs = batch(seed=seed)
    for host, mixed in enumerate(mix(pairs)[0]):
        assert len({tuple(c) for c in mixed.coord.tolist()}) == len(mixed.coord)
        came = mixed.features[:, 0] != host
        stayed = set(mixed.features[~came, 1].int().tolist())
        gone = [i for i in range(len(pairs[host].strong.coord)) if i not in stayed]
        assert came.any()
        inside = torch.cat([mixed.coord[came, :2], pairs[host].strong.coord[gone][:, :2]])
        low, high = inside.min(0).values, inside.max(0).values
        ground = mixed.coord[~came, :2]
        assert not ((ground >= low) & (ground <= high)).all(1).any()
        partner = pairs[(host + 1) % 3].strong
        arrived = set(mixed.features[came, 1].int().tolist())
        taken = partner.coord[sorted(arrived), :2]
        left = partner.coord[[i for i in range(len(partner.coord)) if i not in arrived], :2]
        assert not ((left >= taken.min(0).values) & (left <= taken.max(0).values)).all(1).any()


def test_boxes_vary_in_size_about_as_published():
    shares = []
    for seed in range(60):
        pairs = batch(seed=seed)
        for host, mixed in enumerate(mix(pairs)[0]):
            shares.append(float((mixed.features[:, 0] != host).float().mean()))
    assert 0.12 < np.mean(shares) < 0.3
    assert min(shares) < 0.06
    assert max(shares) > 0.33


def test_a_sample_is_mixed_as_often_as_asked():
    mixed = sum(
        bool((result.features[:, 0] != host).any())
        for seed in range(60)
        for host, result in enumerate(mix(batch(seed=seed), 0.3)[0])
    )
    assert 0.2 < mixed / 180 < 0.4


def test_without_a_partner_or_a_wish_nothing_changes():
    for pairs, probability in ((batch(1), 1.0), (batch(3), 0.0)):
        samples, weak_rows = mix(pairs, probability)
        start = 0
        for pair, result, weak_row in zip(pairs, samples, weak_rows, strict=True):
            assert result is pair.strong
            assert torch.equal(weak_row, torch.where(pair.weak_row >= 0, pair.weak_row + start, -1))
            start += len(pair.weak.coord)


def test_the_seed_of_the_pairs_decides():
    one, two, other = (
        mix(batch(seed=2)),
        mix(batch(seed=2)),
        [SamplePair(p.weak, p.strong, p.weak_row, 9, 0) for p in batch(seed=2)],
    )
    assert all(torch.equal(a.coord, b.coord) for a, b in zip(one[0], two[0], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one[1], mix(other)[1], strict=True))


def test_tiny_and_unequal_samples_mix():
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 1), (2, 40, 1)):
        weak = sample(0, 10, rng)
        small, large = sample(0, 3, rng, shape), sample(1, 800, rng)
        pairs = [
            SamplePair(weak, s, torch.zeros(len(s.coord), dtype=torch.int64), i, 0)
            for i, s in enumerate((small, large))
        ]
        for result in mix(pairs)[0]:
            assert len(result.coord) > 0
            assert len({tuple(c) for c in result.coord.tolist()}) == len(result.coord)
