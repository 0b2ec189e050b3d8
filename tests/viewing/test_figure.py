"""The PNG of a scene holds the panels it should, in the colours it should."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing import figure
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import RIGHT_COLOR, WRONG_COLOR
from pointseg.viewing.figure import draw_scene, scene_png

CLASSES = Classes("toy", ("floor", "block"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((0,), (1,)))
TAN = (181, 140, 99)


def scene(n: int = 6000, **parts) -> Cloud:
    """A floor with a block on it; the prediction misses the block's half with x above 5."""
    rng = np.random.default_rng(0)
    floor = rng.random((n, 3)) * [10, 6, 0]
    block = rng.random((n, 3)) * [4, 2, 1] + [3, 2, 0]
    coord = np.concatenate([floor, block]).astype(np.float32)
    gt = np.repeat([0, 1], n)
    pred = np.where(coord[:, 0] > 5, 0, gt)
    given = {"coord": coord, "color": np.full((2 * n, 3), TAN, np.uint8), "gt": gt, "pred": pred, "name": "toy"}
    return Cloud(**(given | parts))


def share(picture: np.ndarray, color) -> float:
    return float((picture == np.asarray(color)).all(axis=2).mean())


def columns(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """The panels' columns, without header and legend."""
    height, width = picture.shape[:2]
    edge = (width - 56) / count
    return [picture[125 : height - 80, round(28 + k * edge) : round(28 + (k + 1) * edge)] for k in range(count)]


def test_every_panel_shows_its_own_colours(tmp_path):
    path = scene_png(tmp_path / "a.png", scene(), CLASSES)
    picture = np.asarray(Image.open(path))
    rgb, gt, pred, error = columns(picture, 4)
    floor, block = CLASSES.colors
    assert share(rgb, TAN) > 0.2
    assert share(gt, floor) > 0.2
    assert share(gt, block) > 0.03
    assert 0.3 < share(pred, block) / share(gt, block) < 0.75
    assert share(error, RIGHT_COLOR) > 0.2
    assert share(error, WRONG_COLOR) > 0.02
    for panel, colors in ((rgb, [floor, block, WRONG_COLOR]), (gt, [TAN, WRONG_COLOR]), (error, [TAN, floor, block])):
        assert all(share(panel, color) < 0.001 for color in colors)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_the_wrong_half_lies_on_the_right_of_the_top_view():
    picture = np.asarray(draw_scene(scene(), CLASSES))
    top = columns(picture, 4)[3][:260]
    right = np.nonzero((top == WRONG_COLOR).all(axis=2))[1]
    wrong_left, wrong_right = right.min() / top.shape[1], right.max() / top.shape[1]
    # x from 5 to 7 of 0 to 10
    assert 0.42 < wrong_left < 0.56
    assert 0.62 < wrong_right < 0.76


@pytest.mark.parametrize(
    ("missing", "panels"),
    [(["gt"], 2), (["gt", "pred"], 1), (["color", "gt", "pred"], 1), (["color"], 3), (["pred"], 2)],
)
def test_what_does_not_exist_is_skipped(missing, panels):
    full = draw_scene(scene(), CLASSES).width - 56
    width = draw_scene(scene(**dict.fromkeys(missing)), CLASSES).width - 56
    assert (width + 16) * 4 == (full + 16) * panels


def test_odd_clouds_are_drawn():
    for coord in (np.zeros((1, 3)), np.zeros((500, 3)), np.random.default_rng(0).random((300, 3)) * [1e-3, 1e3, 0]):
        picture = np.asarray(draw_scene(Cloud(coord, pred=np.zeros(len(coord), int)), CLASSES))
        assert (columns(picture, 1)[0] != 255).any()


def test_a_scene_with_nothing_scored_has_no_score():
    cloud = scene(gt=np.full(12_000, -1))
    assert draw_scene(cloud, CLASSES).height > 200


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="no points"):
        scene_png(tmp_path / "a.png", Cloud(np.zeros((0, 3)), name="none"), CLASSES)
    with pytest.raises(InputError, match="make it first"):
        scene_png(tmp_path / "absent" / "a.png", scene(), CLASSES)
    with pytest.raises(InputError, match="class id 5"):
        scene_png(tmp_path / "a.png", scene(pred=np.full(12_000, 5)), CLASSES)
    assert not list(tmp_path.iterdir())


def test_a_large_cloud_is_thinned_for_the_picture(monkeypatch):
    whole = np.asarray(draw_scene(scene(), CLASSES))
    monkeypatch.setattr(figure, "_MAX_DRAWN", 6000)
    thinned = np.asarray(draw_scene(scene(), CLASSES))
    # The score is that of the whole cloud: the header's right half is the same picture.
    np.testing.assert_array_equal(thinned[:80, 1000:], whole[:80, 1000:])
    assert (thinned[55:80, :600] != whole[55:80, :600]).any()
    assert share(columns(thinned, 4)[1], CLASSES.colors[0]) > 0.2
