"""The simulated scanner: hidden surfaces stay hidden, noise and density are as stated, shapes are closed."""

import numpy as np
import pytest

from data_prep.synthetic import make_room
from data_prep.synthetic.depth import depth_map, patch_frames, pixel_of, visible
from data_prep.synthetic.furnish import build_room
from data_prep.synthetic.palette import room_palette
from data_prep.synthetic.plan import plan_area
from data_prep.synthetic.room import Room, _around
from data_prep.synthetic.scanner import NOISE_FLOOR, NOISE_PER_METRE, scan_room
from data_prep.synthetic.surfaces import DISC, TRIANGLE, Paint, Surfaces, ball, box, cylinder, join, tube
from data_prep.synthetic.writer import CLASS_NAMES

GREY = Paint((128, 128, 128))


def _empty_room(width: float = 5.0, length: float = 4.0, height: float = 2.7) -> Room:
    room = Room(width, length, height)
    room.add_shell(GREY, GREY, GREY)
    return room


def _random_points(rng: np.random.Generator, surfaces: Surfaces, count: int) -> tuple[np.ndarray, np.ndarray]:
    patch = rng.choice(len(surfaces), count, p=surfaces.area / surfaces.area.sum())
    st = rng.uniform(0.02, 0.98, (count, 2))
    fold = (surfaces.shape[patch] == TRIANGLE) & (st.sum(axis=1) > 1)
    st[fold] = 1 - st[fold]
    ring = surfaces.shape[patch] == DISC
    st[ring] = 0.5 + (st[ring] - 0.5) * 0.7
    return patch, surfaces.origin[patch] + st[:, :1] * surfaces.a[patch] + st[:, 1:] * surfaces.b[patch]


def _seen_slowly(surfaces: Surfaces, eye: np.ndarray, point: np.ndarray, own: int) -> bool:
    """Whether no solid patch crosses the segment from eye to point, by solving one 3 x 3 system per patch."""
    normal = np.cross(surfaces.a[own], surfaces.b[own])
    if not surfaces.two_sided[own] and normal @ (eye - point) <= 0:
        return False
    system = np.stack([surfaces.a, surfaces.b, np.broadcast_to(eye - point, surfaces.a.shape)], axis=2)
    solvable = np.abs(np.linalg.det(system)) > 1e-12
    s, t, u = np.linalg.solve(system[solvable], (eye - surfaces.origin[solvable])[..., None])[..., 0].T
    shape = surfaces.shape[solvable]
    inside = (s >= 0) & (t >= 0) & (s <= 1) & (t <= 1) & ((shape != TRIANGLE) | (s + t <= 1))
    inside &= (shape != DISC) | ((2 * s - 1) ** 2 + (2 * t - 1) ** 2 <= 1)
    solid = surfaces.returns[solvable] > 0.5
    reach = np.linalg.norm(point - eye)
    return not np.any(inside & solid & (u > 1e-9) & (u * reach < reach - 0.02))


@pytest.mark.parametrize("kind", ["office", "conferenceRoom"])
def test_visibility_agrees_with_ray_casting(kind: str) -> None:
    plan = next(p for p in plan_area(1, 4, seed=0) if p.kind == kind)
    rng = np.random.default_rng(5)
    room = build_room(plan, rng, room_palette(np.random.default_rng(1), rng))
    surfaces = join([part for _, part in room.items])
    frames = patch_frames(surfaces)
    eye = np.array([room.width * 0.4, 0.45 * room.length, 1.6])
    patch, coord = _random_points(rng, surfaces, 1200)
    quick = visible(depth_map(surfaces, frames, eye), surfaces, frames, coord, patch)[0]
    slow = np.array([_seen_slowly(surfaces, eye, p, int(own)) for p, own in zip(coord, patch, strict=True)])
    assert 0.2 < slow.mean() < 0.9
    assert np.mean(quick & ~slow) < 0.01
    assert np.mean(slow & ~quick) < 0.03


def test_back_and_underside_of_a_box_get_no_points_from_one_side() -> None:
    room = _empty_room()
    room.add("clutter", box((2.0, 1.5, 0.3), (3.0, 2.5, 1.0), GREY))
    surfaces = join([part for _, part in room.items])
    frames = patch_frames(surfaces)
    view = depth_map(surfaces, frames, np.array([0.8, 2.0, 1.6]))
    patch, coord = _random_points(np.random.default_rng(0), surfaces, 20000)
    seen = visible(view, surfaces, frames, coord, patch)[0]
    on_box = (coord[:, 0] > 1.9) & (coord[:, 0] < 3.1) & (coord[:, 1] > 1.4) & (coord[:, 1] < 2.6)
    on_box &= (coord[:, 2] > 0.2) & (coord[:, 2] < 1.1)
    west, east = on_box & (coord[:, 0] < 2.0 + 1e-9), on_box & (coord[:, 0] > 3.0 - 1e-9)
    top, under = on_box & (coord[:, 2] > 1.0 - 1e-9), on_box & (coord[:, 2] < 0.3 + 1e-9)
    assert seen[west].mean() > 0.98
    assert seen[top].mean() > 0.98
    assert not seen[east].any()
    assert not seen[under].any()
    shadow = (coord[:, 2] < 1e-9) & (coord[:, 0] > 3.0) & (coord[:, 0] < 3.8) & (np.abs(coord[:, 1] - 2.0) < 0.4)
    assert shadow.sum() > 20
    assert not seen[shadow].any()


def test_scans_keep_to_the_room() -> None:
    """Outside the walls' planes there are only what stands in their openings and a few mixed-edge points."""
    for plan in plan_area(2, 4, seed=0):
        rng = np.random.default_rng(np.random.SeedSequence([0, plan.area, plan.index, 0]))
        area_rng = np.random.default_rng(np.random.SeedSequence([0, plan.area]))
        room = build_room(plan, rng, room_palette(area_rng, rng))
        scan = make_room(plan, 0, 150)
        outside = np.ones(len(scan.coord), dtype=bool)
        for x0, y0, x1, y1 in room.rects:
            x, y = scan.coord[:, 0], scan.coord[:, 1]
            outside &= (x < x0 - 0.03) | (x > x1 + 0.03) | (y < y0 - 0.03) | (y > y1 + 0.03)
        names = np.array(CLASS_NAMES)[scan.segment[outside]]
        strays = ~np.isin(names, ["window", "door"])
        assert strays.sum() <= 0.0005 * len(scan.coord)
        assert scan.coord[:, 2].min() > -0.03
        assert scan.coord[:, 2].max() < room.height + 0.03
        low, high = scan.coord[:, :2].min(axis=0), scan.coord[:, :2].max(axis=0)
        assert np.all(low > -0.3)
        assert np.all(high < np.array([room.width, room.length]) + 0.3)


def test_range_noise_is_as_stated() -> None:
    room = _empty_room()
    scan = scan_room(room, np.random.default_rng(0), 300)
    floor = scan.segment == CLASS_NAMES.index("floor")
    ray = scan.coord[floor] - scan.positions[scan.scanner[floor]]
    reach = np.linalg.norm(ray, axis=1)
    along = scan.coord[floor, 2] / (ray[:, 2] / reach)
    scaled = along / (NOISE_FLOOR + NOISE_PER_METRE * reach)
    assert 0.95 < scaled.std() < 1.05
    assert abs(scaled.mean()) < 0.05
    assert np.abs(along).max() < 0.021


def test_density_is_met_and_falls_with_distance() -> None:
    room = _empty_room()
    area = 2 * 5 * 4 + 2 * (5 + 4) * 2.7
    scan = scan_room(room, np.random.default_rng(0), 500)
    assert abs(len(scan.coord) / (500 * area) - 1) < 0.05
    floor = scan.coord[scan.segment == CLASS_NAMES.index("floor")]
    gap = np.linalg.norm(floor[:, None, :2] - scan.positions[None, :, :2], axis=2).min(axis=1)
    grid = np.stack(np.meshgrid(np.linspace(0, 5, 100), np.linspace(0, 4, 80)), axis=-1).reshape(-1, 2)
    gap_of_floor = np.linalg.norm(grid[:, None] - scan.positions[None, :, :2], axis=2).min(axis=1)
    near, far = (0.8, 1.2), (1.8, 5.0)
    rate = [np.mean((gap > a) & (gap < b)) / np.mean((gap_of_floor > a) & (gap_of_floor < b)) for a, b in (near, far)]
    assert rate[0] > 1.2 * rate[1]


def test_scanners_differ_in_exposure() -> None:
    room = _empty_room(6.0, 5.0)
    scan = scan_room(room, np.random.default_rng(0), 400)
    means = [scan.color[scan.scanner == k].mean() for k in range(len(scan.positions))]
    assert len(means) >= 3
    assert np.ptp(means) > 2


def test_scanners_stand_on_free_floor() -> None:
    for plan in plan_area(4, 4, seed=1):
        rng = np.random.default_rng(3)
        room = build_room(plan, rng, room_palette(np.random.default_rng(2), rng))
        for x, y, _ in scan_room(room, rng, 10).positions:
            assert room.is_free((x - 0.05, y - 0.05, x + 0.05, y + 0.05))


def test_depth_map_of_a_box_room_is_exact() -> None:
    room = _empty_room()
    surfaces = join([part for _, part in room.items])
    eye = np.array([1.7, 2.2, 1.5])
    view = depth_map(surfaces, patch_frames(surfaces), eye)
    rng = np.random.default_rng(0)
    ray = rng.normal(size=(500, 3))
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    high = np.array([5.0, 4.0, 2.7])
    expected = np.where(ray > 0, (high - eye) / ray, -eye / ray).min(axis=1)
    found = view.range[pixel_of(ray)]
    assert np.all(np.isfinite(view.range))
    assert np.median(np.abs(found - expected)) < 0.02
    assert np.max(np.abs(found - expected) / expected) < 0.08


@pytest.mark.parametrize(
    ("solid", "volume"),
    [
        (box((0, 0, 0), (1, 2, 3), GREY), 6.0),
        (cylinder((1, 1, 0), 0.5, 2.0, GREY, sides=64), np.pi / 2),
        (ball((0, 1, 2), (0.5, 0.4, 0.3), GREY, sides=64, rings=32), 4 / 3 * np.pi * 0.06),
        (
            join([tube((0, 0, 0), (0, 0, 1), 0.5, GREY, 64, 0.0), cylinder((0, 0, -1), 0.5, 1, GREY, 64, omit="u")]),
            None,
        ),
    ],
)
def test_solids_are_closed_and_face_outward(solid: Surfaces, volume: float | None) -> None:
    """By the divergence theorem; holds only if every patch faces outward and none is missing."""
    normal = np.cross(solid.a, solid.b)
    scale = np.array([1.0, 0.5, np.pi / 4])[solid.shape]
    third = np.where(solid.shape == TRIANGLE, 1 / 3, 0.5)[:, None]
    middle = solid.origin + third * (solid.a + solid.b)
    measured = np.sum(scale * np.sum(middle * normal, axis=1)) / 3
    expected = np.pi * 0.25 * (1 + 1 / 3) if volume is None else volume
    assert measured == pytest.approx(expected, rel=0.01)


def test_walls_leave_their_openings_free() -> None:
    openings = [(0.5, 1.5, 0.0, 2.1), (2.0, 3.5, 0.9, 2.2), (2.5, 3.0, 2.3, 2.5)]
    pieces = _around(openings, 4.0, 2.7)
    x, z = np.meshgrid(np.linspace(0.01, 3.99, 200), np.linspace(0.01, 2.69, 150))
    covered = sum(((x > a) & (x < b) & (z > c) & (z < d)).astype(int) for a, b, c, d in pieces)
    hole = sum(((x > a) & (x < b) & (z > c) & (z < d)).astype(int) for a, b, c, d in openings)
    assert np.array_equal(covered, 1 - hole)
