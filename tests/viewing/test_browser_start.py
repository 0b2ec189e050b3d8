"""What is seen of a scene before anything is touched; in a real browser."""

from __future__ import annotations

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.html import pair_html, scene_html

FLOOR, WALL, CEILING = (20, 160, 60), (230, 120, 10), (40, 60, 220)
CLASSES = Classes("toy", ("floor", "wall", "ceiling"), np.array([FLOOR, WALL, CEILING], np.uint8), ())
WHITE = (255, 255, 255)


def room(n: int = 6000, roof: bool = True, low: float = 0.0) -> Cloud:
    """6 by 4 by 3 metres."""
    rng = np.random.default_rng(0)
    parts = [rng.random((n, 3)) * [6, 4, 0], rng.random((n, 3)) * [6, 4, 0] + [0, 0, 3]][: 2 if roof else 1]
    ids = [np.zeros(n, int), np.full(n, 2)][: len(parts)]
    for axis, far in ((0, 0), (0, 6), (1, 0), (1, 4)):
        wall = rng.random((n, 3)) * [6, 4, 3]
        wall[:, axis] = far
        parts.append(wall)
        ids.append(np.ones(n, int))
    return Cloud(np.concatenate(parts) + np.array([0, 0, low]), gt=np.concatenate(ids), name="room")


def test_the_floor_of_a_room_is_seen(browser, tmp_path):
    page = scene_html(tmp_path / "room.html", room(), CLASSES).as_uri()
    browser.show(f"{page}#shade=0&mode=gt")
    opened = browser.screenshot()[:, :580]
    assert browser.share(opened, CEILING) == 0
    browser.show(f"{page}#shade=0&mode=gt&front=0")
    closed = browser.screenshot()[:, :580]
    assert browser.share(opened, FLOOR) > 1.3 * browser.share(closed, FLOOR)
    browser.key("r")
    assert "front=" not in browser.eval("location.hash")


def test_a_scene_without_ceiling_begins_whole(browser, tmp_path):
    browser.show(scene_html(tmp_path / "open.html", room(roof=False, low=-0.02), CLASSES).as_uri())
    assert browser.text("#front-value") == "off"
    assert browser.eval("document.getElementById('ceiling').hidden")
    browser.key("2")
    # Two centimetres below zero are not "-0.0".
    assert browser.text("#key").split()[:2] == ["0.0", "m"]


@pytest.mark.parametrize("view", ["side", "top"])
@pytest.mark.parametrize("halves", [1, 2])
def test_the_scene_fills_the_picture(browser, tmp_path, view, halves):
    if halves == 1:
        path = scene_html(tmp_path / "a.html", room(), CLASSES)
    else:
        path = pair_html(tmp_path / "b.html", (room(), room()), ("a", "b"), CLASSES)
    browser.show(f"{path.as_uri()}#shade=0&mode=gt&view={view}&front=0")
    picture = browser.screenshot()[60:, : 580 // halves - 2]
    ys, xs = np.nonzero((np.abs(picture.astype(int) - WHITE) > 8).any(axis=2))
    across, high = np.ptp(xs) / (580 / halves), np.ptp(ys) / 700
    assert 0.85 < max(across, high) <= 0.99
    assert xs.min() > 0
    assert xs.max() < picture.shape[1] - 1


def test_a_sparse_floor_has_no_holes(browser, tmp_path):
    """As many points as a room thinned to five centimetres has."""
    page = scene_html(tmp_path / "room.html", room(4000), CLASSES).as_uri()
    browser.show(f"{page}#shade=0&mode=gt&view=top&cut=0.2")
    picture = browser.screenshot()[:, :580]
    ys, xs = np.nonzero((np.abs(picture.astype(int) - FLOOR) < 4).all(axis=2))
    inside = picture[ys.min() + 20 : ys.max() - 20, xs.min() + 20 : xs.max() - 20]
    assert browser.share(inside, WHITE) < 0.04
