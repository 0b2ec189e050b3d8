"""Two clouds side by side in a real browser: each half shows its own, one camera moves both."""

from __future__ import annotations

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.html import pair_html

GREEN, ORANGE, BLUE = (20, 160, 60), (230, 120, 10), (40, 60, 220)
CLASSES = Classes("toy", ("floor", "block", "roof"), np.array([GREEN, ORANGE, BLUE], np.uint8), ())
HALF = 290  # pixels of 900 that are left of the panel
N = 2000


def cloud(block_as: int, **parts) -> Cloud:
    rng = np.random.default_rng(0)
    coord = np.concatenate([rng.random((N, 3)) * [4, 4, 0], rng.random((N, 3)) + np.array([1.5, 1.5, 1])])
    gt = np.repeat([0, 1], N)
    given = {"coord": coord + np.array([3, 1, 1]), "gt": gt, "pred": np.where(gt == 1, block_as, gt), "name": "room"}
    return Cloud(**(given | parts))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The first finds the block, the second takes it for a roof and has its origin elsewhere."""
    right, wrong = cloud(1), cloud(2)
    moved = Cloud(wrong.coord - [7, 0, 0], gt=wrong.gt, pred=wrong.pred, name="room", offset=(7, 0, 0))
    path = tmp_path_factory.mktemp("pair") / "pair.html"
    return pair_html(path, (right, moved), ("runs/right", "runs/wrong"), CLASSES).as_uri()


def halves(browser) -> tuple[np.ndarray, np.ndarray]:
    picture = browser.screenshot()
    # Below the labels, without the line between.
    return picture[60:, : HALF - 2], picture[60:, HALF + 2 : 2 * HALF]


def table(browser, body: str) -> list[list[str]]:
    return browser.eval(
        f"[...document.querySelectorAll('{body} tr')].map((r) => [...r.cells].map((c) => c.innerText.trim()))"
    )


def test_each_half_shows_its_own_prediction_in_the_same_place(browser, page):
    browser.show(f"{page}#mode=pred&shade=0&size=2")
    left, right = halves(browser)
    assert browser.share(left, ORANGE) > 0.01
    assert browser.share(left, BLUE) == 0
    assert browser.share(right, BLUE) > 0.01
    assert browser.share(right, ORANGE) == 0
    centres = [
        np.argwhere((np.abs(half.astype(int) - color) < 4).all(axis=2)).mean(axis=0)
        for half, color in ((left, ORANGE), (right, BLUE))
    ]
    # The second begins two pixels further right, so that far its block lies to the left.
    assert np.abs(centres[0] - centres[1] - [0, 2]).max() < 2
    labels = browser.eval("[...document.querySelectorAll('#labels div')].map((e) => e.innerText.replace(/\\s/g, ' '))")
    assert labels == ["A: right · mIoU 100.0 %", "B: wrong · mIoU 50.0 %"]
    assert browser.console_errors == []
    assert [url.split("#")[0] for url in browser.requests] == [page]


def test_the_list_compares_and_a_switch_acts_on_both(browser, page):
    browser.show(f"{page}#mode=pred&shade=0&size=2")
    assert [row[1:] for row in table(browser, "#classes")] == [
        ["floor", "100.0", "100.0", "0.0"],
        ["block", "100.0", "0.0", "\u2212100.0"],
        ["roof", *["\u2013"] * 3],
    ]
    browser.click_on("#classes tr:nth-child(2) input")
    left, right = halves(browser)
    assert browser.share(left, ORANGE) == 0
    assert browser.share(right, BLUE) > 0.01
    browser.key("x")
    browser.click_on("#all")
    assert browser.data()["shown"] == str(N)


def test_one_camera_moves_both_and_a_link_brings_it_back(browser, page):
    browser.show(f"{page}#mode=gt&shade=0&size=2")
    before = halves(browser)
    browser.drag((100, 300), (240, 360))
    browser.wait_for("location.hash.includes('cam=')")
    after = halves(browser)
    for old, new in zip(before, after, strict=True):
        assert (np.abs(old.astype(int) - new).max(axis=2) > 8).mean() > 0.05
    # Both are the same cloud as long as the truth is shown, so the halves are the same picture.
    whole = browser.screenshot()[60:]
    assert (np.abs(whole[:, : HALF - 2].astype(int) - whole[:, HALF : 2 * HALF - 2]).max(axis=2) > 40).mean() < 0.02
    browser.show(f"{page}{browser.eval('location.hash')}")
    for old, new in zip(after, halves(browser), strict=True):
        assert (np.abs(old.astype(int) - new).max(axis=2) > 8).mean() < 0.002


def test_a_click_tells_both_points(browser, page):
    browser.show(f"{page}#mode=pred&view=top&size=2")
    for middle in (HALF / 2, 1.5 * HALF):
        browser.click(middle, 350)
        told = {row[0]: row[1:] for row in table(browser, "#picked-values")}
        assert told["truth"] == ["block", "block"]
        assert told["prediction"] == ["block", "roof"]
        first, second = (np.array(text.split(), float) for text in told["x y z (m)"])
        assert np.abs(first - second).max() < 1e-3
    assert browser.eval("[...document.querySelectorAll('.marker')].map((e) => e.hidden)") == [False, False]


def test_a_half_without_predictions_says_what_it_shows(browser, tmp_path):
    path = pair_html(tmp_path / "pair.html", (cloud(1, pred=None), cloud(1)), ("prepared", "runs/right"), CLASSES)
    browser.show(f"{path.as_uri()}#mode=pred")
    assert browser.text("#labels div").startswith("A: prepared · ground truth")
    assert browser.eval("document.querySelector('#labels span').title") == "prepared room"
    assert browser.data()["shown"] == str(4 * N)
    assert browser.console_errors == []


@pytest.mark.parametrize("width", [900, 420])
def test_labels_and_line_belong_to_their_halves(browser, tmp_path, width):
    long = tuple(f"/somewhere/far/away/where/results/are/kept/and/{name}/last" for name in ("runs_one", "runs_two"))
    path = pair_html(tmp_path / "pair.html", (cloud(1), cloud(2)), long, CLASSES)
    browser.resize(width, 700)
    try:
        browser.show(path.as_uri())
        stage = browser.eval("document.getElementById('stage').clientWidth")
        edges = "map((e) => e.getBoundingClientRect()).map((r) => [r.x, r.right])"
        boxes = browser.eval(f"[...document.querySelectorAll('#labels div')].{edges}")
        assert boxes == [[0, stage / 2], [stage / 2, stage]]
        assert browser.text("#labels span").startswith("A: runs_one/last")
        # Two lines at most, within its half and left of the button.
        assert browser.eval("[...document.querySelectorAll('#labels span')].every((e) => e.offsetHeight < 50)")
        right = browser.eval("document.querySelector('#labels div:last-child span').getBoundingClientRect().right")
        assert right <= browser.eval("document.getElementById('fold').getBoundingClientRect().left")
    finally:
        browser.resize(900, 700)
