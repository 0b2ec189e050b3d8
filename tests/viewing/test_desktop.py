"""The desktop view: what keys do, without a window; and what Open3D draws of it, where Open3D can draw."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing import desktop
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.controls import SIZES, Controls
from pointseg.viewing.desktop import Window, show
from pointseg.viewing.drawing import DARK, LIGHT

CLASSES = Classes("toy", ("floor", "block"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((0,), (1,)))


def scene(**parts) -> Cloud:
    """A floor with a block on it; the prediction misses the block's half with x above 5."""
    rng = np.random.default_rng(0)
    coord = np.concatenate([rng.random((20_000, 3)) * [10, 6, 0], rng.random((20_000, 3)) * [4, 2, 1] + [3, 2, 0]])
    gt = np.repeat([0, 1], 20_000)
    given = {"coord": coord, "gt": gt, "pred": np.where(coord[:, 0] > 5, 0, gt), "name": "toy/scene 1"}
    return Cloud(**(given | parts))


def room() -> Cloud:
    """The six sides of a box of 6 x 4 x 3 m."""
    u, v = np.random.default_rng(0).random((2, 4000))
    still = np.zeros(4000)
    sides = [(u * 6, v * 4, still), (u * 6, v * 4, still + 3), (u * 6, still, v * 3), (u * 6, still + 4, v * 3)]
    sides += [(still, u * 4, v * 3), (still + 6, u * 4, v * 3)]
    return Cloud(np.concatenate([np.stack(side, axis=1) for side in sides]))


def pressed(keys: str, cloud: Cloud | None = None) -> Controls:
    controls = Controls(scene() if cloud is None else cloud, CLASSES)
    for key in keys:
        controls.press(key)
    return controls


def test_digits_choose_the_colourings_the_cloud_has_in_their_order():
    controls = Controls(scene(), CLASSES)
    assert controls.modes == ["gt", "pred", "error", "height"]
    for key, mode in zip("4321", ["height", "error", "pred", "gt"], strict=True):
        assert controls.press(key).do == "points"
        assert controls.mode == mode
    assert controls.press("5").do == "nothing"
    assert controls.mode == "gt"
    everything = scene(
        color=np.zeros((40_000, 3), np.uint8),
        confidence=np.zeros(40_000),
        entropy=np.zeros(40_000),
        pseudo=np.zeros(40_000, int),
        annotated=np.zeros(40_000, int),
        normal=np.zeros((40_000, 3)),
    )
    assert pressed("0", everything).mode == "normal"


def test_a_hidden_class_is_that_of_the_labels_shown():
    cloud = scene()
    block = cloud.gt == 1
    np.testing.assert_array_equal(pressed(". ").keep(), ~block)
    np.testing.assert_array_equal(pressed("2. ").keep(), cloud.pred != 1)
    assert pressed(".  ").keep().all()
    np.testing.assert_array_equal(pressed(".o").keep(), block)
    assert pressed(".oo").keep().all()
    pseudo = scene(pseudo=np.where(np.arange(40_000) % 4 == 0, 0, -1))
    controls = Controls(pseudo, CLASSES, "pseudo")
    controls.press("o")
    np.testing.assert_array_equal(controls.keep(), pseudo.pseudo == 0)
    assert pressed(",").chosen == 1  # before the first comes the last


def test_annotations_have_classes_with_counts_and_switches():
    """Also where nothing else is known of the points."""
    annotated = np.full(40_000, -1)
    annotated[[0, 1, 2, 20_000]] = [0, 0, 0, 1]
    own = Controls(scene(gt=None, pred=None, annotated=annotated), CLASSES, "annotated")
    lines = ["classes by annotation:", "  #14a03c  floor (3 annotated, shown)"]
    assert own.help().splitlines()[-3:] == [*lines, "  #e6780a  block (1 annotated, shown)"]
    assert own.press(".").say.startswith("class block (1 annotated, shown)")
    own.press(" ")
    np.testing.assert_array_equal(own.keep(), annotated != 1)
    np.testing.assert_array_equal(np.flatnonzero(own.enlarged()), [0, 1, 2])
    known = Controls(scene(annotated=annotated), CLASSES, "annotated")
    assert known.press(".").say.startswith("class block (20,000 points, 1 annotated, shown)")
    known.press(" ")
    np.testing.assert_array_equal(np.flatnonzero(known.enlarged()), [0, 1, 2])
    known.press("1")
    assert not known.enlarged().any()


def test_wrong_points_only_and_hidden_classes_work_together():
    cloud = scene()
    np.testing.assert_array_equal(pressed("x").keep(), cloud.error == 1)
    assert not pressed("x. ").keep().any()
    assert pressed("xx").keep().all()


def test_a_ceiling_is_cut_at_first_and_shown_on_demand():
    cloud = room()
    controls = Controls(cloud, CLASSES)
    assert not controls.keep()[4000:8000].any()
    assert controls.keep()[:4000].all()
    controls.press("c")
    assert controls.keep().all()
    assert Controls(scene(), CLASSES).press("c").do == "nothing"


def test_sizes_have_limits_and_r_goes_back_but_for_colouring_and_background():
    assert pressed("+" * 50).size == SIZES[1]
    assert pressed("-" * 50).size == SIZES[0]
    controls = pressed("+b2x. r")
    fresh = Controls(scene(), CLASSES)
    assert (controls.size, controls.keep().all()) == (fresh.size, True)
    assert (controls.mode, controls.dark) == ("pred", True)


def test_keys_without_what_they_need_say_so():
    bare = Cloud(np.random.default_rng(0).random((50, 3)))
    for key in ".,ox c":
        assert Controls(bare, CLASSES).press(key).do == "nothing"
        assert Controls(bare, CLASSES).press(key).say
    assert "ground truth (shown)" in Controls(scene(), CLASSES).press("h").say
    assert Controls(bare, CLASSES).press("?").say == ""


def test_clouds_that_cannot_be_shown():
    with pytest.raises(InputError, match="no points"):
        Controls(Cloud(np.zeros((0, 3))), CLASSES)
    with pytest.raises(InputError, match="it has gt, pred, error, height"):
        Controls(scene(), CLASSES, "entropy")
    with pytest.raises(InputError, match="class id 9"):
        Controls(scene(pred=np.full(40_000, 9)), CLASSES)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_without_a_display_a_sentence_says_what_to_use_instead(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(InputError, match=r"no display .* --html or --png"):
        show(scene(), CLASSES, say=[].append)
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(InputError, match=r":4711.*does not answer"):
        show(scene(), CLASSES, say=[].append)


def test_without_open3d_a_sentence_says_how_to_install_it(monkeypatch, tmp_path):
    real = builtins.__import__

    def absent(name, *rest, **named):
        if name == "open3d":
            raise ModuleNotFoundError("No module named 'open3d'", name="open3d")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setattr(desktop, "check_display", lambda: None)
    with pytest.raises(InputError, match=r"pip install 'pointseg\[open3d\]'"):
        show(scene(), CLASSES, say=[].append, folder=tmp_path)


@pytest.fixture(scope="module")
def drawable() -> None:
    """Skip where Open3D is absent or cannot draw; tried in a process of its own, because some drivers crash it."""
    pytest.importorskip("open3d", reason="Open3D is not installed")
    trial = (
        "import numpy, open3d; w = open3d.visualization.VisualizerWithKeyCallback();"
        "assert w.create_window('t', 64, 64, visible=False) and w.get_render_option();"
        "w.poll_events(); w.update_renderer(); assert numpy.asarray(w.capture_screen_float_buffer(True)).size"
    )
    made = subprocess.run([sys.executable, "-c", trial], capture_output=True, env=os.environ, timeout=100, check=False)
    if made.returncode != 0:
        pytest.skip(f"Open3D cannot draw here: {made.stderr.decode(errors='replace').strip()[-200:]}")


def share(picture: np.ndarray, color) -> float:
    return float((np.abs(picture.astype(int) - np.asarray(color)) <= 1).all(axis=2).mean())


@pytest.mark.usefixtures("drawable")
def test_what_open3d_draws_follows_the_keys(tmp_path):
    said: list[str] = []
    window = Window(Controls(scene(), CLASSES), say=said.append, folder=tmp_path, visible=False)
    try:
        picture = window.picture()
        floor, block = CLASSES.colors
        assert share(picture, LIGHT.ground) > 0.2
        assert share(picture, floor) > 0.05
        assert share(picture, block) > 0.01
        for key in ". b":
            window.press(key)
        hidden = window.picture()
        assert share(hidden, block) == 0
        assert share(hidden, DARK.ground) > 0.2
        assert share(hidden, LIGHT.ground) == 0
        window.press("x")  # nothing is left: the wrong points all belong to the hidden class
        assert share(window.picture(), DARK.ground) == 1
        for key in "rt+p p":
            window.press(key)
        above = window.picture()
        rows, columns = np.nonzero((np.abs(above.astype(int) - floor) <= 1).all(axis=2))
        # From above the floor is a rectangle of 10 x 6 m, x to the right.
        assert np.ptp(columns) / np.ptp(rows) == pytest.approx(10 / 6, rel=0.05)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["toy_scene_1_gt.png", "toy_scene_1_gt_2.png"]
        assert any("block" in line and "hidden" in line for line in said)
    finally:
        window.close()


@pytest.mark.usefixtures("drawable")
def test_open3d_draws_annotated_points_larger(tmp_path):
    annotated = np.where(np.arange(40_000) % 4000 == 0, 1, -1)
    own = Controls(scene(gt=None, pred=None, annotated=annotated), CLASSES, "annotated")
    window = Window(own, say=[].append, folder=tmp_path, visible=False)
    try:
        seen = [share(window.picture(), CLASSES.colors[1])]
        for key in ("+", "+", " ", "r", "."):
            window.press(key)
            seen.append(share(window.picture(), CLASSES.colors[1]))
        # At most ten points of 3 x 3 pixels each would be seen of 1280 x 800.
        assert seen[0] > 2 * 10 * 9 / (1280 * 800)
        assert seen[0] < seen[1] < seen[2]
        assert seen[3] == seen[2]  # the first class, which no point is annotated with
        window.press(" ")
        assert share(window.picture(), CLASSES.colors[1]) == 0
    finally:
        window.close()
