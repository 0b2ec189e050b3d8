"""The PNG of a scene holds the panels it should, in the colours it should."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointseg.data.classes import Classes, load_classes
from pointseg.errors import InputError
from pointseg.viewing import captions, figure
from pointseg.viewing.captions import legend_entries, mode_title
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import CONFIDENCE_RAMP, RIGHT_COLOR, WRONG_COLOR
from pointseg.viewing.drawing import DARK, LIGHT, contrast, font, readable_on, wrapped
from pointseg.viewing.figure import draw_scene, scene_png
from pointseg.viewing.holding import within_memory

CLASSES = Classes("toy", ("floor", "block"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((0,), (1,)))
TAN = (181, 140, 99)


@pytest.fixture(scope="module")
def real_room():
    """A real room of S3DIS with its classes; a fortieth of its points count as annotated."""
    root = os.environ.get("POINTSEG_TEST_DATA")
    if not root:
        pytest.skip("POINTSEG_TEST_DATA is not set, so there is no real room to draw")
    classes = load_classes("s3dis")
    coord, color, gt = [], [], []
    for path in sorted((Path(root) / "s3dis/Area_3/hallway_3/Annotations").glob("*.txt")):
        values = np.loadtxt(path)[::5]
        coord.append(values[:, :3])
        color.append(values[:, 3:].astype(np.uint8))
        gt.append(np.full(len(values), classes.index(path.stem.split("_")[0])))
    ids = np.concatenate(gt)
    annotated = np.where(np.arange(len(ids)) % 40 == 0, ids, -1)
    return Cloud(np.concatenate(coord), np.concatenate(color), gt=ids, annotated=annotated, name="room"), classes


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
    annotated = np.full(12_000, -1)
    annotated[::2000] = 1
    cloud = scene(annotated=annotated)
    whole = np.asarray(draw_scene(cloud, CLASSES))
    monkeypatch.setattr(figure, "_MAX_DRAWN", 3000)
    thinned = np.asarray(draw_scene(cloud, CLASSES))
    # One line more, "drawn: ...", and the score is that of the whole cloud: the header's right end is the same.
    assert thinned.shape[0] > whole.shape[0]
    np.testing.assert_array_equal(thinned[:80, 1300:], whole[:80, 1300:])
    assert share(columns(thinned, 5)[2], CLASSES.colors[0]) > 0.2
    # Every annotated point is still there.
    np.testing.assert_array_equal(np.flatnonzero(np.isin(np.arange(0, 12_000, 2000), figure._drawn(cloud))), range(6))


def test_of_a_share_that_favours_wrong_points_an_even_one_is_drawn_and_the_numbers_are_the_scenes(monkeypatch):
    annotated = np.full(12_000, -1)
    annotated[::2000] = 1
    cloud = scene(annotated=annotated)
    part = within_memory(cloud, 2000)
    wrong = int((cloud.error == 1).sum())
    assert (part.error == 1).mean() > 1.8 * wrong / 12_000
    said = []

    def block(headline, facts, *rest):
        said.append((headline, *facts))
        return plain(headline, facts, *rest)

    plain = captions._text_block
    monkeypatch.setattr(captions, "_text_block", block)
    draw_scene(cloud, CLASSES)
    draw_scene(part, CLASSES)
    of_all, of_part = said[:2], said[2:]
    assert of_part[0][1].startswith("12,000 points ")
    assert of_part[0][2].startswith("drawn: 2,00")
    assert of_part[0][2].endswith(" of 12,000, an even share and the annotated points")
    assert of_part[1] == of_all[1]
    assert f"{100 * wrong / 12_000:.1f} % of points wrong" in of_all[1][1]
    drawn = part.take(figure._drawn(part))
    assert 2000 <= drawn.num_points <= 2006
    assert (drawn.error == 1).mean() == pytest.approx(wrong / 12_000, abs=0.02)
    assert (drawn.annotated >= 0).sum() == 6


def test_the_legend_names_the_classes_of_the_scene_where_a_share_of_it_is_held():
    held = Cloud(np.zeros((1, 3)), gt=np.zeros(1, int), pred=np.zeros(1, int), whole=np.array([[0, 0, 9], [0, 1, 1]]))
    assert [text for _, text in legend_entries(held, CLASSES, ["gt"], None)] == ["floor"]
    assert [text for _, text in legend_entries(held, CLASSES, ["pred"], None)] == ["floor", "block"]


def test_annotations_and_pseudo_labels_are_drawn_without_being_asked_for():
    rng = np.random.default_rng(0)
    clicks = np.full(400, -1)
    clicks[:2] = [0, 1]
    bare = {"coord": rng.random((400, 3)), "color": np.full((400, 3), TAN, np.uint8)}
    clicked = np.asarray(draw_scene(Cloud(**bare, annotated=clicks), CLASSES))
    rgb, annotated = columns(clicked, 2)
    for color in CLASSES.colors:
        assert (annotated == color).all(axis=2).sum() > 40
        assert share(rgb, color) == 0
    pseudo = columns(np.asarray(draw_scene(Cloud(**bare, annotated=clicks, pseudo=np.ones(400, int)), CLASSES)), 3)[2]
    assert share(pseudo, CLASSES.colors[1]) > 0.1


def test_modes_are_drawn_in_the_order_asked_for_and_wrap_after_five():
    picture = np.asarray(draw_scene(scene(), CLASSES, modes=("pred", "rgb")))
    pred, rgb = columns(picture, 2)
    assert share(pred, CLASSES.colors[0]) > 0.2
    assert share(rgb, TAN) > 0.2
    assert share(pred, TAN) == 0
    six = draw_scene(scene(), CLASSES, modes=("rgb", "gt", "pred", "error", "height", "gt"))
    three = draw_scene(scene(), CLASSES, modes=("rgb", "gt", "pred"))
    assert six.width == three.width
    assert six.height > 1.7 * three.height
    with pytest.raises(InputError, match="entropy"):
        draw_scene(scene(), CLASSES, modes=("entropy",))


def test_dark_paper_is_dark_all_over_and_its_letters_are_light():
    picture = np.asarray(draw_scene(scene(), CLASSES, modes=("gt",), dark=True))
    assert share(picture, DARK.ground) > 0.3
    assert share(picture, LIGHT.ground) == 0
    assert share(picture, DARK.ink) > 0.001


@pytest.mark.parametrize("width", [480, 1111, 2000])
def test_a_width_is_kept_and_letters_grow_with_it(width):
    modes = ("gt", "annotated")
    cloud = scene(annotated=np.where(np.arange(12_000) % 3000 == 0, 0, -1), name="long/" * 30)
    picture = draw_scene(cloud, CLASSES, modes=modes, width=width)
    assert picture.width == width
    # Nothing touches the edge: a margin of 28 units is empty.
    margin = int(28 * max(width / 966, 0.8)) - 2
    pixels = np.asarray(picture)
    assert (pixels[:, :margin] == 255).all()
    assert (pixels[:, -margin:] == 255).all()


@pytest.mark.parametrize("width", [0, 479, 4001])
def test_a_width_out_of_bounds_is_refused(width):
    with pytest.raises(InputError, match="480 to 4000"):
        draw_scene(scene(), CLASSES, width=width)


def test_a_long_name_is_wrapped_and_no_character_of_it_is_lost():
    name = "runs/a_long_run/predictions/" + "scene_0123456789_" * 20
    lines = wrapped(name, font(20), 300)
    assert "".join(lines) == name
    assert all(font(20).getlength(line) <= 300 for line in lines)
    assert (
        draw_scene(scene(name=name), CLASSES, modes=("gt",)).height
        > 100 + draw_scene(scene(), CLASSES, modes=("gt",)).height
    )


def test_annotated_points_are_enlarged_and_said_how_many():
    """Four points of 12,000 are too small to see; as discs each covers more than forty pixels in each view."""
    annotated = np.full(12_000, -1)
    annotated[:4] = 0
    picture = np.asarray(draw_scene(scene(annotated=annotated, color=None), CLASSES, modes=("annotated",)))
    assert (columns(picture, 1)[0] == CLASSES.colors[0]).all(axis=2).sum() > 4 * 2 * 40
    assert mode_title(scene(annotated=annotated), "annotated") == "annotated points (4)"


def test_every_annotated_point_is_seen_hidden_ones_as_rings():
    """Below a block that hides them from above three points are rings; with very many annotated ones rings end."""
    coord = np.concatenate([scene().coord, [[4, 3, 0], [5, 3, 0], [6, 3, 0]]])
    annotated = np.append(np.full(12_000, -1), [0, 0, 0])
    cloud = Cloud(coord, annotated=annotated)
    layout = figure._layout(1, False, None)
    view = figure._views(cloud, layout)[0]
    marks = figure._marks(cloud, view, CLASSES, layout)
    assert marks.seen.tolist() == [False] * 3
    assert figure._seen(cloud, marks) == ", 0 of 3 annotated points in sight, rings: 3 hidden"
    annotated[1:12_000:10] = 1
    many = figure._marks(Cloud(coord, annotated=annotated), view, CLASSES, layout)
    assert many.seen.all()
    assert 0 < len(many.seen) < 1203


def test_ramps_say_their_ends_and_class_colours_their_names():
    full = {"confidence": np.full(12_000, 0.5), "entropy": np.full(12_000, 0.1), "pseudo": np.full(12_000, -1)}
    cloud = scene(**full)
    bars = np.asarray(draw_scene(cloud, CLASSES, modes=("confidence", "entropy")))
    # The whole ramp runs from left to right in one and from right to left in the other, between title and picture.
    first, second = (column[: bars.shape[0] // 8] for column in columns(bars, 2))
    dark, bright = CONFIDENCE_RAMP[0][1], CONFIDENCE_RAMP[-1][1]

    def where(panel, color):
        return np.nonzero((np.abs(panel.astype(int) - color) <= 2).all(axis=2))[1].mean()

    assert where(first, dark) < where(first, bright)
    assert where(second, dark) > where(second, bright)
    entries = legend_entries(cloud, CLASSES, ["gt", "pseudo", "error"], None)
    assert [text for _, text in entries] == ["floor", "block", "no pseudo-label", "right", "wrong"]


@pytest.mark.parametrize("paper", [LIGHT, DARK])
def test_letters_can_be_read_on_their_paper(paper):
    assert contrast(paper.ink, paper.ground) > 7
    assert contrast(paper.faint, paper.ground) >= 4.5


def test_contrast_is_that_of_the_guidelines():
    assert contrast((255, 255, 255), (0, 0, 0)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)  # the textbook near miss
    assert readable_on((255, 255, 0)) == (0, 0, 0)
    assert readable_on((0, 0, 160)) == (255, 255, 255)


def test_real_scene_has_all_its_classes_in_the_legend(real_room):
    cloud, classes = real_room
    picture = np.asarray(draw_scene(cloud, classes, modes=("gt", "annotated")))
    legend = picture[-100:]
    for k in np.unique(cloud.gt):
        assert (legend == classes.colors[k]).all(axis=2).sum() > 100
