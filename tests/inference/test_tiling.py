"""Tiles partition a grid, keep their budget, and see exactly their margin, against sets of voxels in the open."""

import numpy as np
import pytest

from pointseg.data.voxel import voxelize
from pointseg.inference.tiling import BLOCK, Blocks, margin_mask, plan, row_ranges, whole


def grid(seed=0, points=6000):
    rng = np.random.default_rng(seed)
    coord = rng.uniform(0, 1, (points, 3)) * [40, 25, 6] - [7, 3, 1]
    return voxelize(coord.astype(np.float32), 0.1).coord


def table(coord, stretch):
    stretches = [coord[i : i + stretch] for i in range(0, len(coord), stretch)]
    return Blocks.of(stretches, coord.min(axis=0))


def rows(ranges):
    return np.concatenate([np.arange(a, b) for a, b in ranges])


@pytest.mark.parametrize("stretch", [1, 77, 10**6])
def test_the_table_of_blocks_is_that_of_a_dictionary(stretch):
    coord = grid()[:2000]
    blocks = table(coord, stretch)
    expected = {}
    for row, cell in enumerate(map(tuple, (coord - coord.min(axis=0)) // BLOCK)):
        expected.setdefault(cell, []).append(row)
    assert list(map(tuple, blocks.cell)) == list(expected)
    for number, members in enumerate(expected.values()):
        assert list(range(*blocks.start[number : number + 2])) == members


@pytest.mark.parametrize(("budget", "halo"), [(10**9, 5), (3000, 0), (3000, 9), (1500, 20), (1, 3)])
def test_insides_partition_the_voxels_and_margins_are_exact(budget, halo):
    coord = grid()
    blocks = table(coord, 500)
    seen = np.zeros(len(coord), int)
    tiles = list(plan(blocks, [whole(blocks)], budget, halo))
    for tile in tiles:
        inside = rows(row_ranges(blocks, tile.blocks[tile.inside]))
        seen[inside] += 1
        low = blocks.lowest + np.array(tile.low) * BLOCK
        high = blocks.lowest + np.array(tile.high) * BLOCK
        assert ((coord[inside] >= low) & (coord[inside] < high)).all()
        expected = np.flatnonzero(((coord >= low - halo) & (coord < high + halo)).all(axis=1))
        read = rows(row_ranges(blocks, tile.blocks))
        assert np.array_equal(read[margin_mask(blocks, tile, coord[read], halo)], expected)
        assert len(read) == tile.voxels
        assert tile.voxels <= budget or tile.inside.sum() == 1
    assert (seen == 1).all()
    assert (len(tiles) == 1) == (budget == 10**9)
    if budget == 1:
        assert len(tiles) == len(blocks.cell)
