"""The page in a real browser: headless Chromium with software WebGL. Skipped where there is no Chromium."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointseg.data.classes import Classes
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import CONFIDENCE_RAMP, RIGHT_COLOR, WRONG_COLOR, class_colors
from pointseg.viewing.html import scene_html

GREEN, ORANGE = (20, 160, 60), (230, 120, 10)
WHITE, BLACK = (255, 255, 255), (18, 22, 27)
NASTY = "a, b</script><script>document.body.dataset.hacked=1</script>"
CLASSES = Classes("toy", ("floor", NASTY), np.array([GREEN, ORANGE], np.uint8), ())
N = 3000
RNG = np.random.default_rng(0)
FLOOR = RNG.random((N, 3)) * [4, 4, 0]
BLOCK = RNG.random((N, 3)) * [1, 1, 1] + [1.5, 1.5, 1]
COORD = np.concatenate([FLOOR, BLOCK]).astype(np.float32)
GT = np.repeat([0, 1], N)
PRED = np.where(COORD[:, 0] > 2, 0, GT)  # half of the block
PSEUDO = np.where(COORD[:, 1] > 2, 1 - GT, -1)
ENTROPY = (COORD[:, 0] / 4 * np.log(2)).astype(np.float32)
NORMAL = np.tile(np.array([[0, 0, 1]], np.float32), (2 * N, 1))
WRONG = int((COORD[N:, 0] > 2).sum())
STAGE = 580  # pixels left of the panel, which shows class colours in every mode


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """A floor and a block above its middle; half of the block is predicted as floor."""
    cloud = Cloud(
        COORD,
        gt=GT,
        pred=PRED,
        confidence=np.full(2 * N, 0.5, np.float32),
        entropy=ENTROPY,
        pseudo=PSEUDO,
        normal=NORMAL,
        name=NASTY,
        offset=(100, 0, 0),
    )
    return scene_html(tmp_path_factory.mktemp("page") / "scene.html", cloud, CLASSES)


def shown(browser, page: Path, state: str = "") -> dict[str, str]:
    """The page as opened; the body's data."""
    return browser.show(f"{page.as_uri()}#{state}")


def stage(browser) -> np.ndarray:
    return browser.screenshot()[:, :STAGE]


def test_the_address_chooses_the_state_and_nothing_is_asked_for(browser, page):
    about = shown(browser, page, "mode=pred&cut=0.4&shade=0")
    assert about["mode"] == "pred"
    # Heights run from 0 to 2 m and the block begins at 1 m, so 0.4 leaves the floor alone.
    assert (about["shown"], about["points"], about["total"]) == (str(N), str(2 * N), str(2 * N))
    assert "hacked" not in about
    assert [url.split("#")[0] for url in browser.requests] == [page.as_uri()]
    assert browser.console_errors == []


@pytest.mark.parametrize(
    ("state", "present", "absent"),
    [
        ("mode=gt&bg=light", [GREEN, ORANGE, WHITE], [WRONG_COLOR, BLACK]),
        ("mode=error&bg=dark", [RIGHT_COLOR, WRONG_COLOR, BLACK], [GREEN, WHITE]),
        ("mode=pseudo", [GREEN, ORANGE, tuple(class_colors(np.array([-1]), CLASSES)[0])], [WRONG_COLOR]),
        ("mode=normal&cut=0.4", [(128, 128, 255)], [GREEN]),
    ],
)
def test_the_picture_has_the_colours_of_its_mode(browser, page, state, present, absent):
    shown(browser, page, f"{state}&shade=0&size=2")
    picture = stage(browser)
    assert all(browser.share(picture, color) > 0.01 for color in present)
    assert all(browser.share(picture, color) < 0.001 for color in absent)


def test_entropy_is_dark_where_the_network_is_unsure(browser, page):
    shown(browser, page, "mode=entropy&view=top&cut=0.4&shade=0&size=2")
    picture = stage(browser)
    # The floor from above, the one thing in the picture: entropy grows with x, from none to even chances.
    ys, xs = np.nonzero((picture < 240).any(axis=2))
    left, right, y = xs.min(), xs.max(), int(np.median(ys))
    assert np.abs(picture[y, left + 8].astype(int) - CONFIDENCE_RAMP[-1][1]).max() < 20
    assert np.abs(picture[y, right - 8].astype(int) - CONFIDENCE_RAMP[0][1]).max() < 20


def test_keys_and_switches(browser, page):
    assert shown(browser, page)["mode"] == "gt"
    for key, mode in zip(
        "23456781", ("pred", "error", "confidence", "entropy", "pseudo", "height", "normal", "gt"), strict=True
    ):
        browser.key(key)
        assert browser.data()["mode"] == mode
    browser.key("x")
    assert browser.data()["shown"] == str(WRONG)
    browser.key("x")
    browser.key("b")
    assert browser.data()["background"] == "dark"
    browser.key("c")
    # Nothing is a ceiling here, so c cuts at 0.8 of 2 m and takes the block's top 0.4 m off.
    assert N + 0.5 * N < int(browser.data()["shown"]) < N + 0.7 * N
    browser.key("2")
    browser.key("v")
    browser.key("r")
    # Back to the start, but for the colouring, the background and the kept view.
    assert (browser.data()["shown"], browser.data()["background"]) == (str(2 * N), "dark")
    assert browser.eval("location.hash").startswith("#mode=pred&bg=dark&saved=")
    browser.key("B", "shift")  # as with Caps Lock
    assert browser.data()["background"] == "light"
    assert browser.console_errors == []


def test_keys_of_digits_on_a_keyboard_that_types_them_with_shift(browser, page):
    """A French one: the row of digits types other characters, and "-" is the sixth."""

    def pressed(key: str, code: str, shift: bool = False) -> str:
        about = {"key": key, "code": code, "modifiers": 8 if shift else 0}
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, **about)
        return browser.data()["mode"]

    shown(browser, page)
    assert pressed("é", "Digit2") == "pred"
    assert pressed("3", "Digit3", shift=True) == "error"
    assert pressed("-", "Digit6") == "pseudo"
    assert pressed("4", "Numpad4") == "confidence"
    assert "size=" not in browser.eval("location.hash")
    assert pressed(")", "Minus") == "confidence"
    assert "size=0.83" in browser.eval("location.hash")
    browser.key("v")
    browser.key("t")
    assert "view=top" in browser.eval("location.hash")
    # Now that there is a first kept view, Shift with the first digit goes back to it.
    assert pressed("1", "Digit1", shift=True) == "confidence"
    assert "view=top" not in browser.eval("location.hash")
    assert pressed("2", "Digit2", shift=True) == "pred"


def test_a_class_switched_off_vanishes_and_the_address_keeps_it(browser, page):
    shown(browser, page, "mode=gt&shade=0&size=2")
    browser.click_on("#classes tr:nth-child(2) input")
    assert browser.data()["shown"] == str(N)
    assert browser.share(stage(browser), ORANGE) == 0
    assert browser.share(stage(browser), GREEN) > 0.01
    kept = browser.eval("location.hash")
    assert shown(browser, page, kept[1:])["shown"] == str(N)
    assert browser.eval("document.querySelectorAll('#classes input')[1].checked") is False
    # The same switch means the pseudo-label where that is shown.
    browser.key("6")
    assert browser.data()["shown"] == str(int((PSEUDO != 1).sum()))
    browser.click_on("#all")
    browser.eval("document.querySelector('#classes .class-name').dispatchEvent(new MouseEvent('dblclick'))")
    assert browser.data()["shown"] == str(int((PSEUDO == 0).sum()))


def table(browser) -> list[list[str]]:
    rows = "[document.getElementById('classes-head'), ...document.querySelectorAll('#classes tr')]"
    return browser.eval(f"{rows}.map((r) => [...r.cells].slice(1).map((c) => c.innerText.trim()))")


def test_annotations_have_a_list_of_classes(browser, tmp_path):
    """Also where nothing else is known of the points, as of a user's own scan."""
    annotated = np.full(2 * N, -1)
    annotated[[0, 1, 2, N]] = [0, 0, 0, 1]
    own = Cloud(COORD, annotated=annotated, name="own")
    shown(browser, scene_html(tmp_path / "own.html", own, CLASSES), "mode=annotated&shade=0&view=top&size=2")
    assert browser.text("#classes-title") == "classes by annotation"
    rows = [["class", "annotated"], ["floor", "3"], [NASTY, "1"], ["not annotated", f"{2 * N - 4:,}"]]
    assert table(browser) == rows
    swatches = "[...document.querySelectorAll('#classes i')].map((e) => getComputedStyle(e).backgroundColor)"
    assert browser.eval(swatches)[:2] == ["rgb(20, 160, 60)", "rgb(230, 120, 10)"]
    assert browser.share(stage(browser), ORANGE) > 0
    browser.click_on("#classes tr:nth-child(2) input")
    assert browser.data()["shown"] == str(2 * N - 1)
    assert browser.share(stage(browser), ORANGE) == 0
    browser.click_on("#classes tr:nth-child(3) input")
    assert browser.data()["shown"] == "3"
    known = Cloud(COORD, gt=GT, pred=GT, annotated=annotated, name="known")
    shown(browser, scene_html(tmp_path / "known.html", known, CLASSES), "mode=annotated")
    assert browser.text("#classes-title") == "classes by ground truth"
    assert table(browser) == [["class", "points", "annotated"], ["floor", f"{N:,}", "3"], [NASTY, f"{N:,}", "1"]]
    browser.click_on("#classes tr:nth-child(2) input")
    assert browser.data()["shown"] == str(N)
    browser.key("1")
    assert table(browser)[0] == ["class", "points", "IoU %"]


def test_a_click_tells_the_values_of_the_point_there(browser, page):
    shown(browser, page, "mode=gt&view=top&size=2")
    browser.click(STAGE / 2, 350)
    told = browser.eval(
        "[...document.querySelectorAll('#picked-values tr')].map((r) => [...r.cells].map((c) => c.innerText))"
    )
    values = dict(told)
    x, y, z = (float(v) for v in values["x y z (m)"].split())
    off = np.abs(COORD - np.array([x - 100, y, z])).max(axis=1)
    nearest = off.argmin()
    assert off[nearest] < 6e-4
    # From above, the middle of the picture is the block's top.
    assert np.abs(COORD[nearest, :2] - 2).max() < 0.3
    assert z > 1.6
    names = ["none", "floor", NASTY]
    assert values["truth"] == names[GT[nearest] + 1]
    assert values["prediction"] == names[PRED[nearest] + 1]
    assert values["pseudo-label"] == names[PSEUDO[nearest] + 1]
    assert values["entropy"].endswith(" nats")
    assert float(values["entropy"][:4]) == pytest.approx(ENTROPY[nearest], abs=0.01)
    assert values["confidence"] == "0.50"
    browser.key("Escape")
    assert browser.eval("document.getElementById('picked').hidden")
    browser.click(5, 690)
    assert browser.data()["picked"] == "-1"


def test_a_point_under_the_mouse_is_described(browser, page):
    shown(browser, page, "mode=gt&view=top&size=2")
    assert browser.eval("document.getElementById('tip').hidden")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=STAGE / 2, y=350)
    browser.wait_for("!document.getElementById('tip').hidden")
    # The block's top is seen there.
    assert NASTY in browser.text("#tip")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=5, y=690)
    browser.wait_for("document.getElementById('tip').hidden")


def test_p_saves_what_is_seen(browser, page):
    """A PNG of the stage, named by the scene and the colouring."""
    shown(browser, page, "mode=error&shade=0&size=2")
    browser.eval(
        "window.saved = new Promise((done) => { URL.createObjectURL = (blob) => { const reader = new FileReader();"
        " reader.onload = () => done(reader.result); reader.readAsDataURL(blob); return 'blob:'; };"
        " HTMLAnchorElement.prototype.click = function () { window.named = this.download; }; }); 1"
    )
    browser.key("p")
    saved = Image.open(io.BytesIO(base64.b64decode(browser.eval("window.saved").split(",")[1])))
    assert saved.size == (STAGE, 700)
    assert browser.eval("window.named").endswith("_error.png")
    red = browser.share(np.asarray(saved.convert("RGB")), WRONG_COLOR, 20)
    assert red == pytest.approx(browser.share(stage(browser), WRONG_COLOR, 20), abs=0.003)
    assert red > 0.01


def test_the_box_cuts_on_six_sides(browser, page):
    about = shown(browser, page, "mode=gt&x=0.5,1&y=0,0.25&z=0,0.2")
    # The floor is 4 m square and flat.
    inside = (COORD[:, 0] >= 2) & (COORD[:, 1] <= 1) & (COORD[:, 2] <= 0.4)
    assert abs(int(about["shown"]) - inside.sum()) <= 2
    shown(browser, page, "mode=gt")
    browser.eval("document.getElementById('z-low').focus()")
    for _ in range(60):
        browser.key("ArrowRight")
    # 60 steps of half a percent of 2 m: the floor is gone, the block is not.
    assert browser.data()["shown"] == str(N)
    assert "z=0.3,1" in browser.eval("location.hash")
    assert browser.text("#z-value") == "0.60\u20132.00 m"
    browser.click_on("#unbox")
    assert browser.data()["shown"] == str(2 * N)


def test_a_link_brings_back_camera_and_kept_views(browser, page):
    shown(browser, page, "mode=gt")
    start = stage(browser)
    browser.key("v")
    browser.drag((200, 300), (320, 360))
    browser.drag((200, 300), (260, 280), modifiers="shift")
    browser.wheel(200, 300, -200)
    browser.wait_for("location.hash.includes('cam=')")
    moved = stage(browser)
    assert browser.share(np.abs(moved.astype(int) - start), (0, 0, 0)) < 0.9
    shown(browser, page, browser.eval("location.hash")[1:])
    off = np.abs(stage(browser).astype(int) - moved).max(axis=2)
    assert (off > 8).mean() < 0.002  # edges of points, by the address's seventh digit
    browser.key("1", "shift")
    assert (np.abs(stage(browser).astype(int) - start).max(axis=2) > 8).mean() < 0.002


def test_a_browser_that_cannot_unpack_is_told_so(browser, page):
    """As Chrome 80 to 102, which know the class but not the format."""
    old = "const known = DecompressionStream; DecompressionStream = class { constructor(format) {"
    old += "if (format === 'deflate-raw') throw new TypeError('Unsupported'); return new known(format); } }"
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=old)["identifier"]
    try:
        browser.open(page.as_uri())
        browser.wait_for("document.body.dataset.state === 'unsupported'")
        assert "Firefox from 113" in browser.text("#message")
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_without_webgl2_the_page_says_so(page, tmp_path, new_browser):
    with new_browser(tmp_path, "--disable-3d-apis") as blind:
        blind.open(page.as_uri())
        blind.wait_for("document.body.dataset.state === 'no-webgl2'")
        assert "no WebGL2" in blind.text("#message")
