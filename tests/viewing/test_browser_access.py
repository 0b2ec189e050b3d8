"""The page by keyboard, its contrast, and clouds that are not what one expects; in a real browser."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import numbered_classes
from pointseg.viewing.html import live_page, scene_html

NAMES = ("floor", "<b>\"quoted\"</b> & 'more'", "an_endless_name_without_any_place_to_break_it_" * 5)
CLASSES = Classes("toy", NAMES, np.array([[20, 160, 60], [230, 120, 10], [40, 60, 220]], np.uint8), ())

# Every visible text of the page with its contrast against the nearest background that is not transparent (WCAG 2.2).
CONTRASTS = """(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = (v) => (v <= 10.3 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (node) => {
    const color = rgb(getComputedStyle(node).backgroundColor);
    return color.length === 3 || color[3] === 1 ? color : behind(node.parentElement);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("script")) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))].sort((p, q) => q - p);
    found.push([walker.currentNode.data.trim(), (a + 0.05) / (b + 0.05)]);
  }
  return found;
})()"""


def cloud(n: int = 300, **parts) -> Cloud:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 2, n)  # the third class has no point
    return Cloud(**({"coord": rng.random((n, 3)), "gt": ids, "pred": ids, "annotated": ids, "name": "a room"} | parts))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return scene_html(tmp_path_factory.mktemp("page") / "scene.html", cloud(), CLASSES).as_uri()


@pytest.mark.parametrize("background", ["light", "dark"])
def test_text_has_contrast(browser, page, background):
    browser.show(f"{page}#bg={background}&mode=error")
    browser.click(290, 350)
    browser.key("?")
    found = browser.eval(CONTRASTS)
    assert {"floor", "clicked point", "no truth", "hand and keys", "IoU %"} <= {text for text, _ in found}
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_of_the_live_page_has_contrast(browser, tmp_path, dark):
    """Opened from a file it has no server to ask: its list and what went wrong are to be read."""
    names = ("office", "hall")
    clouds = [{"id": i, "name": names[i % 2], "source": f"runs/{'ab'[i // 2]}"} for i in range(4)]
    (tmp_path / "live.html").write_text(live_page(clouds, dark=dark), encoding="utf-8")
    browser.open((tmp_path / "live.html").as_uri())
    browser.wait_for("document.body.dataset.state === 'failed'")
    found = browser.eval(CONTRASTS)
    assert {"compare with", "hall"} <= {text for text, _ in found}
    assert any("does not answer" in text for text, _ in found)
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


def test_everything_is_reached_by_tab_with_visible_focus(browser, page):
    browser.show(page)
    every = "[...document.querySelectorAll('button, input, select, canvas')]"
    controls = f"{every}.filter((e) => e.checkVisibility() && !e.closest('dialog'))"
    wanted = browser.eval(f"{controls}.length")
    browser.eval(f"window.order = {controls}; window.seen = new Set()")
    outlined = "getComputedStyle(document.activeElement).outlineStyle"
    for _ in range(wanted):
        browser.key("Tab")
        at, outline = browser.eval(f"[order.indexOf(document.activeElement), {outlined}]")
        browser.eval(f"seen.add({at})")
        # Handles of the box draw their own ring, on the thumb, which no style of the input tells.
        if not browser.eval("!!document.activeElement.closest('.range')"):
            assert outline == "solid", browser.eval("document.activeElement.outerHTML.slice(0, 90)")
    assert browser.eval("[seen.size, seen.has(-1)]") == [wanted, False]
    unnamed = (
        f"{controls}.filter((e) => !(e.innerText || e.ariaLabel || (e.labels && e.labels.length))).map((e) => e.id)"
    )
    assert browser.eval(unnamed) == []


def test_the_camera_and_the_point_in_the_middle_by_keyboard(browser, page):
    browser.show(page)
    browser.eval("document.getElementById('canvas').focus()")
    camera = ""
    for key, modifiers in [("ArrowLeft", ""), ("ArrowUp", ""), ("ArrowLeft", "shift"), ("PageUp", "")]:
        browser.key(key, modifiers)
        browser.wait_for(f"location.hash.includes('cam=') && !location.hash.includes({json.dumps(camera or 'none')})")
        camera = browser.eval("location.hash.match(/cam=[^&]*/)[0]")
    browser.key("Enter")
    assert browser.data()["picked"] != "-1"
    target = "location.hash.match(/cam=([^&]*)/)[1].split(',').slice(0, 3).map(Number)"
    values = "[...document.querySelectorAll('#picked-values tr')].find((r) => r.innerText.startsWith('x y z'))"
    point = [float(v) for v in browser.eval(f"{values}.cells[1].innerText").split()]
    assert browser.eval(target) != pytest.approx(point, abs=2e-3)
    browser.key("f")
    browser.wait_for(f"!location.hash.includes({json.dumps(camera)})")
    assert browser.eval(target) == pytest.approx(point, abs=2e-3)
    browser.key("Escape")
    assert browser.eval("document.getElementById('picked').hidden")
    # A switch keeps the focus when the list is brought up to date.
    browser.eval("document.querySelector('#classes input').focus()")
    browser.key(" ")
    assert browser.eval(
        "document.activeElement === document.querySelector('#classes input') && !document.activeElement.checked"
    )
    browser.key("?", "shift")
    assert browser.eval("document.getElementById('help').open")
    browser.key("Escape")
    assert not browser.eval("document.getElementById('help').open")
    assert browser.console_errors == []


ODD = {
    "one point": cloud(1),
    "all in one place": Cloud(np.zeros((500, 3)), gt=np.zeros(500, int), name="x"),
    "flat": cloud(coord=np.random.default_rng(0).random((300, 3)) * [3, 2, 0]),
    "upright": cloud(coord=np.random.default_rng(0).random((300, 3)) * [0, 2, 3]),
    "bare": Cloud(np.random.default_rng(0).random((300, 3)), name=""),
    "nothing known": cloud(gt=np.full(300, -1), pred=np.full(300, -1), annotated=np.full(300, -1)),
    "far away": cloud(offset=(5e6, 4e5, 1e3)),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_clouds(browser, tmp_path, kind):
    odd = ODD[kind]
    about = browser.show(scene_html(tmp_path / "odd.html", odd, CLASSES).as_uri() + "#cut=1")
    assert about["shown"] == str(odd.num_points)
    picture = browser.screenshot()[:, :580]
    assert (picture < 245).any(axis=2).sum() > 8
    for key in "123456789":
        browser.key(key)
        assert browser.data()["shown"] == str(odd.num_points)
    browser.click(290, 350)
    for key in "ccxxtsber":
        browser.key(key)
    assert browser.console_errors == []
    if kind in ("one point", "all in one place"):
        assert browser.data()["picked"] != "-1"


@pytest.mark.parametrize("count", [250, 300])
def test_many_classes(browser, tmp_path, count):
    """From 256 on an id takes two bytes."""
    ids = np.arange(3000) % count
    many = cloud(3000, gt=ids, pred=ids, annotated=None)
    browser.show(scene_html(tmp_path / "many.html", many, numbered_classes(count)).as_uri())
    assert browser.eval("document.querySelectorAll('#classes tr').length") == count
    browser.click_on(f"#classes tr:nth-child({count}) input")
    assert browser.data()["shown"] == str(3000 - int((ids == count - 1).sum()))
    assert browser.console_errors == []


def test_names_do_not_break_the_panel(browser, page, tmp_path):
    browser.show(page)
    assert browser.eval("document.querySelectorAll('#classes .class-name')[1].innerText").strip() == NAMES[1]
    assert browser.eval("document.querySelectorAll('#classes b').length") == 0
    long = cloud(name="a_scene_whose_name_never_ends_" * 8)
    for width in (900, 420):
        browser.resize(width, 700)
        try:
            browser.show(scene_html(tmp_path / "long.html", long, CLASSES).as_uri())
            if width < 700:
                browser.click_on("#fold")
            inside = (
                "[...document.querySelectorAll('#panel *')].every((e) => e.getBoundingClientRect().right <= innerWidth)"
            )
            assert browser.eval(inside)
            assert browser.text("#name") == long.name
        finally:
            browser.resize(900, 700)
