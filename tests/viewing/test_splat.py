"""The z-buffer against a loop over points and pixels, and against scenes whose picture is known."""

from __future__ import annotations

import numpy as np
import pytest

from pointseg.viewing.opening import cut_ceiling, cut_near_walls
from pointseg.viewing.splat import (
    SUPERSAMPLE,
    Camera,
    depth_shade,
    find_marks,
    fit_camera,
    oblique_axes,
    paint,
    point_size_for,
    rasterize,
    render,
    top_axes,
)

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def slow_index(coord: np.ndarray, camera: Camera, size: tuple[int, int], point_size: float) -> np.ndarray:
    """Every point tried at every pixel, one by one."""
    width, height = size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE
    index, best = np.full((height, width), -1), np.full((height, width), np.inf)
    radius = point_size * SUPERSAMPLE / 2
    for i, point in enumerate(coord):
        local = [float(np.dot(point - camera.center, axis)) for axis in (camera.right, camera.up, camera.forward)]
        column = int(np.floor(local[0] / camera.scale * SUPERSAMPLE + width / 2))
        row = int(np.floor(height / 2 - local[1] / camera.scale * SUPERSAMPLE))
        if not (0 <= column < width and 0 <= row < height):
            continue
        for r in range(height):
            for c in range(width):
                if (r - row) ** 2 + (c - column) ** 2 <= radius**2 and local[2] < best[r, c]:
                    index[r, c], best[r, c] = i, local[2]
    return index


@pytest.mark.parametrize("point_size", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("axes", [top_axes(), oblique_axes()])
def test_equal_to_the_loop(point_size, axes):
    coord = np.random.default_rng(0).random((60, 3))
    camera = fit_camera(coord * 0.8, axes, (16, 12))  # some points fall outside the picture
    raster = rasterize(coord, camera, (16, 12), point_size)
    np.testing.assert_array_equal(raster.index, slow_index(coord, camera, (16, 12), point_size))
    depths = (coord - camera.center) @ camera.forward
    np.testing.assert_allclose(raster.depth[raster.index >= 0], depths[raster.index[raster.index >= 0]], rtol=1e-5)
    assert np.isinf(raster.depth[raster.index < 0]).all()


def test_the_nearer_point_hides_the_farther_one():
    coord = np.array([[0, 0, 2.0], [0, 0, 1.0], [0, 0, 0.0]])
    rgb = np.array([GREEN, RED, BLUE], np.uint8)
    camera = Camera(*top_axes(), np.zeros(3), 0.1)
    picture = render(coord, rgb, camera, (9, 9), 5.0)
    assert tuple(picture[4, 4]) == GREEN
    below = Camera(np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, 1.0]), np.zeros(3), 0.1)
    assert tuple(render(coord, rgb, below, (9, 9), 5.0)[4, 4]) == BLUE


@pytest.mark.parametrize("point_size", [9.0, 40.0])
def test_discs_larger_than_the_picture_are_exact_too(point_size):
    coord = np.random.default_rng(1).random((5, 3))
    camera = fit_camera(coord, oblique_axes(), (14, 6))
    raster = rasterize(coord, camera, (14, 6), point_size)
    np.testing.assert_array_equal(raster.index, slow_index(coord, camera, (14, 6), point_size))


def test_marks_are_discs_where_nothing_hides_them_and_rings_elsewhere():
    """A plate over a floor, seen from above: marks on the plate and beside it are discs, the one below it a ring."""
    rng = np.random.default_rng(0)
    floor = np.concatenate([rng.random((20_000, 2)) * 4, np.zeros((20_000, 1))], axis=1)
    plate = np.concatenate([rng.random((9_000, 2)) * 2, np.ones((9_000, 1))], axis=1)
    coord = np.concatenate([floor, plate])
    camera = fit_camera(coord, top_axes(), (120, 120))
    raster = rasterize(coord, camera, (120, 120), point_size_for(coord, camera))
    places = np.array([[1, 1, 1.0], [3, 3, 0], [0.5, 1.5, 0], [99, 0, 0]])
    colors = np.array([RED, GREEN, BLUE, BLUE], np.uint8)
    marks = find_marks(raster, places, colors, camera, 11.0, np.ones(4, bool))
    assert marks.rgb[0].tolist() == list(BLUE)
    assert marks.seen.tolist() == [False, True, True]
    picture = paint(raster, np.full((len(coord), 3), 200, np.uint8), marks=marks)
    for color, (x, y) in ((RED, (1, 1)), (GREEN, (3, 3))):
        rows, columns = np.nonzero((picture == color).all(axis=2))
        assert 30 < len(rows) < 95  # a disc of 11 pixels across, less its rim
        scale = camera.scale
        assert abs(columns.mean() - (60 + (x - 2) / scale)) < 1.5
        assert abs(rows.mean() - (60 - (y - 2) / scale)) < 1.5
    x, y = 60 + (0.5 - 2) / camera.scale, 60 - (1.5 - 2) / camera.scale
    plain = paint(raster, np.full((len(coord), 3), 200, np.uint8))
    rows, columns = np.nonzero((picture != plain).any(axis=2))
    away = np.hypot(rows + 0.5 - y, columns + 0.5 - x)
    ring = away < 9  # the discs lie farther off
    assert 1.5 < away[ring].min() < away[ring].max() < 7
    blue = picture[rows[ring], columns[ring]].astype(int)
    assert (blue[:, 2] - blue[:, 0] > 80).sum() > 15
    assert tuple(picture[int(y), int(x)]) == (200, 200, 200)
    left_out = find_marks(raster, places, colors, camera, 11.0, np.array([False, True, True, True]))
    assert left_out.seen.tolist() == [False, False, True]


def test_a_mark_on_a_slanted_wall_is_not_hidden_by_the_wall():
    rng = np.random.default_rng(0)
    u, v = rng.random((2, 30_000)) * 3
    wall = np.stack([u, v, 2 * v], axis=1)
    camera = fit_camera(wall, oblique_axes(), (100, 100))
    raster = rasterize(wall, camera, (100, 100), point_size_for(wall, camera))
    chosen = wall[::500]
    shown = np.ones(len(chosen), bool)
    marks = find_marks(raster, chosen, np.zeros((len(chosen), 3), np.uint8), camera, 9.0, shown)
    assert len(marks.row) == len(chosen)
    assert marks.seen.all()


def test_top_view_has_x_to_the_right_and_y_up():
    coord = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]], float)
    camera = fit_camera(coord, top_axes(), (60, 60))
    picture = render(coord, np.array([RED, GREEN, BLUE], np.uint8), camera, (60, 60), 6.0)

    def middle(color):
        rows, columns = np.nonzero((picture == color).all(axis=2))
        return rows.mean(), columns.mean()

    (red_row, red_col), (green_row, green_col), (blue_row, blue_col) = middle(RED), middle(GREEN), middle(BLUE)
    assert green_col > red_col + 40
    assert abs(green_row - red_row) < 1
    assert blue_row < red_row - 40
    assert abs(blue_col - red_col) < 1
    assert tuple(picture[30, 59]) == (255, 255, 255)


def test_oblique_view_looks_down_and_keeps_up_upwards():
    right, up, forward = oblique_axes()
    np.testing.assert_allclose(np.stack([right, up, forward]) @ np.stack([right, up, forward]).T, np.eye(3), atol=1e-12)
    assert forward[2] < 0 < up[2]
    assert right[2] == 0


def test_a_dense_plane_has_no_holes_and_its_own_colour():
    rng = np.random.default_rng(0)
    coord = np.concatenate([rng.random((20_000, 2)) * 4, np.zeros((20_000, 1))], axis=1)
    camera = fit_camera(coord, top_axes(), (120, 120))
    size = point_size_for(coord, camera)
    picture = render(coord, np.full((20_000, 3), (40, 90, 200), np.uint8), camera, (120, 120), size)
    inner = picture[10:-10, 10:-10].reshape(-1, 3)
    assert (inner == (40, 90, 200)).all(axis=1).mean() > 0.995


def test_a_stray_point_does_not_shrink_the_scene():
    coord = np.random.default_rng(0).random((10_000, 3))
    alone = fit_camera(coord, top_axes(), (100, 100)).scale
    stray = fit_camera(np.concatenate([coord, [[500, 0, 0]]]), top_axes(), (100, 100)).scale
    assert stray < 1.2 * alone


def test_depth_shading_darkens_only_what_lies_behind():
    depth = np.full((20, 20), 1.0, np.float32)
    depth[:, 10:] = 2.0
    depth[0, :] = np.inf
    shade = depth_shade(depth)
    assert (shade[2:, 12:] == 1).all()
    assert (shade[2:, :10] == 1).all()
    assert (shade[2:-2, 10] < 0.8).all()
    assert (shade[0] == 1).all()


def test_nothing_to_draw_is_white():
    empty = np.zeros((0, 3))
    camera = fit_camera(empty, top_axes(), (8, 6))
    assert (render(empty, np.zeros((0, 3), np.uint8), camera, (8, 6), 2.0) == 255).all()
    assert paint(rasterize(empty, camera, (8, 6), 2.0), np.zeros((0, 3), np.uint8)).shape == (6, 8, 3)


def box_room(rng: np.random.Generator, size=(6.0, 4.0, 3.0), count=4000) -> dict[str, np.ndarray]:
    """Points on the six sides of a box."""
    x, y, z = size
    u, v = rng.random((2, count))
    still = np.zeros(count)
    return {
        "floor": np.stack([u * x, v * y, still], 1),
        "ceiling": np.stack([u * x, v * y, still + z], 1),
        "south": np.stack([u * x, still, v * z], 1),
        "north": np.stack([u * x, still + y, v * z], 1),
        "west": np.stack([still, u * y, v * z], 1),
        "east": np.stack([still + x, u * y, v * z], 1),
    }


def test_the_ceiling_of_a_room_is_cut_and_the_rest_stays():
    sides = box_room(np.random.default_rng(0))
    coord = np.concatenate(list(sides.values()))
    opening = cut_ceiling(coord)
    kept = np.split(opening.keep, 6)
    assert 2.0 < opening.height < 3.0
    assert kept[0].all()
    assert not kept[1].any()
    assert all(side.mean() > 0.7 for side in kept[2:])


@pytest.mark.parametrize("count", [150, 4000])
def test_the_ceiling_of_a_corridor_is_cut_however_few_points_it_has(count):
    sides = box_room(np.random.default_rng(0), (20.0, 1.8, 3.0), count)
    opening = cut_ceiling(np.concatenate(list(sides.values())))
    assert opening.height is not None
    assert not np.split(opening.keep, 6)[1].any()


@pytest.mark.parametrize(
    "kind", ["plane", "hills", "street", "open box", "wall", "sparse wall", "corner", "wood", "blocks"]
)
def test_scenes_without_a_ceiling_are_left_whole(kind):
    rng = np.random.default_rng(0)
    sides = box_room(rng)
    u, v = rng.random((2, 20_000))
    ground = np.stack([u * 100, v * 100, rng.random(20_000) * 0.05], 1)
    house = np.concatenate(list(box_room(rng, (15.0, 10.0, 8.0)).values())[1:])
    house[:, :2] += 20
    wall = np.stack([u * 5, v * 0.05, rng.random(20_000) * 3], 1)
    crowns = np.stack([u * 100, v * 100, 15 + 5 * rng.random(20_000)], 1)
    roofs = np.stack([u * 100, v * 100, np.where((u * 100) % 25 < 18, 15 + 0.1 * rng.random(20_000), 0)], 1)
    coord = {
        "plane": ground,
        "hills": ground + np.stack([0 * u, 0 * u, 12 * np.sin(u * 9) * np.sin(v * 7)], 1),
        "street": np.concatenate([ground, house]),
        "open box": np.concatenate([side for name, side in sides.items() if name != "ceiling"]),
        "wall": wall[:300],
        "sparse wall": wall[:120],
        "corner": np.concatenate([wall[:300], wall[300:600, [1, 0, 2]]]),
        "wood": np.concatenate([ground, crowns]),
        "blocks": roofs,
    }[kind]
    opening = cut_ceiling(coord)
    assert opening.height is None
    assert opening.keep.all()


def test_near_walls_open_the_room_and_far_walls_stay():
    sides = box_room(np.random.default_rng(0))
    del sides["ceiling"]
    table = np.random.default_rng(1).random((500, 3)) * [1, 1, 0.7] + [2.5, 1.5, 0]
    coord = np.concatenate([*sides.values(), table])
    camera = fit_camera(coord, oblique_axes(), (200, 200))
    keep = cut_near_walls(coord, camera)
    floor, south, north, west, east = (part.mean() for part in np.split(keep[: 5 * 4000], 5))
    # The camera stands in the south-west: its view runs towards +x and +y.
    assert floor == 1
    assert max(south, west) < 0.1
    assert min(north, east) > 0.85
    assert keep[5 * 4000 :].mean() > 0.95
