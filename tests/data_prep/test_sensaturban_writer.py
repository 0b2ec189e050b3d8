"""Made-up town tiles: what is in them, their density, and that only what is stated decides them."""

import numpy as np
import pytest
from plyfile import PlyData

from data_prep.synthetic.sensaturban_writer import NAMES, ORIGIN, make_tile, write_sensaturban
from data_prep.synthetic.town import BRIDGE, BUILDING, CAR, GROUND, RIVER, ROAD, SIDE, VEGETATION, WATER, build_town
from pointseg.errors import InputError


@pytest.fixture(scope="module", params=[0, 7])
def tiles(request):
    return [make_tile(index, request.param, 10) for index in (0, 1)]


def test_every_class_occurs_in_two_tiles(tiles):
    counts = sum(np.bincount(label, minlength=13) for _, _, label in tiles)
    assert counts.shape == (13,)
    assert counts.min() >= 20


def test_tiles_stand_side_by_side_far_from_zero(tiles):
    for place, (coord, color, label) in enumerate(tiles):
        local = coord - np.array(ORIGIN) - [SIDE * place, 0, 0]
        assert (local[:, :2] >= 0).all()
        assert (local[:, :2] <= SIDE).all()
        assert -3 < local[:, 2].min() < local[:, 2].max() < 25
        assert color.std(axis=0).min() > 15
        assert len(coord) == len(color) == len(label)


def test_density_on_open_water(tiles):
    coord, _, label = tiles[1]
    local = coord - np.array(ORIGIN) - [SIDE, 0, 0]
    water = local[label == WATER]
    south = water[water[:, 1] < 20]
    assert len(south) == pytest.approx(10 * 20 * (RIVER[1] - RIVER[0]), rel=0.1)
    assert water[:, 2].std() < 0.03
    beneath = (np.abs(local[:, 1] - 32) < 5) & (np.abs(local[:, 0] - 30) < 5)
    assert (label[beneath] == BRIDGE).mean() > 0.99, "what lies under the bridge is not seen"


def test_the_ground_under_buildings_is_not_seen():
    items = build_town(np.random.default_rng(np.random.SeedSequence([3, 0])), river=False)
    coord, _, label = make_tile(0, 3, 20)
    local = (coord - np.array(ORIGIN))[label == GROUND, :2]
    found = area = 0.0
    for item in items:
        if item.label == BUILDING:
            solid = item.surfaces
            corners = np.concatenate([solid.origin, solid.origin + solid.a, solid.origin + solid.b])
            low, high = corners.min(axis=0)[:2] + 1.2, corners.max(axis=0)[:2] - 1.2
            found += ((local > low) & (local < high)).all(axis=1).sum()
            area += np.prod(high - low)
    assert area > 100
    assert found < 0.01 * 20 * area
    assert len(local) > 10 * 500


def test_parts_of_one_kind_are_where_they_belong(tiles):
    for coord, color, label in tiles:
        z = coord[:, 2] - ORIGIN[2]
        assert np.median(z[label == VEGETATION]) > np.median(z[label == CAR]) > np.median(z[label == ROAD])
        assert np.abs(z[label == ROAD]).max() < 1.1
        assert z[label == BUILDING].max() > 6
        leaves = color[label == VEGETATION].mean(axis=0)
        assert leaves.argmax() == 1, "trees are green"


def test_solids_of_a_town_stay_within_their_tile():
    for seed in range(4):
        for river in (False, True):
            items = build_town(np.random.default_rng(seed), river=river)
            for item in items:
                corners = item.surfaces.origin[:, :2]
                assert corners.min() > -6
                assert corners.max() < SIDE + 6


def test_same_seed_same_bytes_and_tiles_do_not_depend_on_their_number(tmp_path):
    one, two = (write_sensaturban(tmp_path / str(n), tiles=n, seed=4, density=1) for n in (1, 3))
    assert one[0].read_bytes() == two[0].read_bytes()
    other = write_sensaturban(tmp_path / "other", tiles=1, seed=5, density=1)
    assert other[0].read_bytes() != one[0].read_bytes()
    assert [str(path.relative_to(tmp_path / "3")) for path in two] == [
        "train/birmingham_block_0.ply",
        "train/birmingham_block_1.ply",
        "test/birmingham_block_2.ply",
    ]
    assert [p.name for p in sorted((tmp_path / "3").rglob("*.ply"))] == [f"birmingham_block_{k}.ply" for k in (2, 0, 1)]
    names = [PlyData.read(str(path)).elements[0].data.dtype.names for path in two]
    native = ("x", "y", "z", "red", "green", "blue")
    assert names == [(*native, "class"), (*native, "class"), native]
    assert len(NAMES) == 43


def test_refusals(tmp_path):
    for change, message in [
        ({"tiles": 0}, "number of tiles is 0, but must be 1 to 43"),
        ({"tiles": 44}, "number of tiles is 44"),
        ({"seed": -1}, "seed -1"),
        ({"density": 0.1}, r"density 0\.1"),
    ]:
        with pytest.raises(InputError, match=message):
            write_sensaturban(tmp_path, **({"tiles": 1, "seed": 0, "density": 5} | change))
    assert list(tmp_path.iterdir()) == []
