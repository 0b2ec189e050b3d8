"""The page in a real browser: headless Chromium with software WebGL. Skipped where there is no Chromium."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointseg.data.classes import Classes
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import RIGHT_COLOR, WRONG_COLOR
from pointseg.viewing.html import scene_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")

NASTY = "a, b</script><script>document.body.dataset.hacked=1</script>"
CLASSES = Classes("toy", ("floor", NASTY), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ())
N = 3000
RNG = np.random.default_rng(0)
FLOOR = RNG.random((N, 3)) * [4, 4, 0]
BLOCK = RNG.random((N, 3)) * [1, 1, 1] + [1.5, 1.5, 1]
COORD = np.concatenate([FLOOR, BLOCK]).astype(np.float32)
WRONG = int((COORD[N:, 0] > 2).sum())


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """A floor and a block above its middle; half of the block is predicted as floor."""
    gt = np.repeat([0, 1], N)
    pred = np.where(COORD[:, 0] > 2, 0, gt)
    cloud = Cloud(COORD, gt=gt, pred=pred, confidence=np.full(2 * N, 0.5, np.float32), name=NASTY, offset=(100, 0, 0))
    return scene_html(tmp_path_factory.mktemp("page") / "scene.html", cloud, CLASSES)


def browse(url: str, tmp_path: Path, *flags: str) -> str:
    command = [
        CHROMIUM,
        *["--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"],
        *["--enable-unsafe-swiftshader", "--disable-background-networking", "--disable-component-update"],
        *["--disable-sync", "--no-first-run", "--hide-scrollbars", "--virtual-time-budget=8000"],
        *[f"--user-data-dir={tmp_path / 'profile'}", "--window-size=900,700", *flags, url],
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout


def body(dom: str) -> dict[str, str]:
    """The data-... attributes of the body."""
    found = re.findall(r'data-([\w-]+)="([^"]*)"', re.search(r"<body[^>]*>", dom)[0])
    return {name: html.unescape(value) for name, value in found}


def share(picture: np.ndarray, color) -> float:
    """Of pixels close to a colour: the card's and the file's roundings differ by a step or two."""
    return float((np.abs(picture.astype(int) - np.asarray(color)) <= 3).all(axis=2).mean())


def test_the_address_chooses_the_state(page, tmp_path):
    data = body(browse(f"{page.as_uri()}#mode=pred&cut=0.4&shade=0", tmp_path, "--dump-dom"))
    assert (data["state"], data["mode"]) == ("ready", "pred")
    # Heights run from 0 to 2 m and the block begins at 1 m, so 0.4 leaves the floor alone.
    assert (data["shown"], data["points"], data["total"]) == (str(N), str(2 * N), str(2 * N))
    assert "hacked" not in data


def test_hidden_classes_and_names_with_commas(page, tmp_path):
    # As the page itself writes it: encoded twice.
    name = "".join(f"%25{ord(c):02X}" if not c.isalnum() else c for c in NASTY)
    dom = browse(f"{page.as_uri()}#mode=gt&hide={name}", tmp_path, "--dump-dom")
    assert (body(dom)["shown"], body(dom)["mode"]) == (str(N), "gt")
    assert "&lt;/script&gt;&lt;script&gt;" in dom


@pytest.mark.parametrize(
    ("state", "present", "absent"),
    [
        ("mode=gt&bg=light", [(20, 160, 60), (230, 120, 10), (255, 255, 255)], [WRONG_COLOR, (18, 22, 27)]),
        ("mode=error&bg=dark", [RIGHT_COLOR, WRONG_COLOR, (18, 22, 27)], [(20, 160, 60), (255, 255, 255)]),
    ],
)
def test_the_picture_has_the_colours_of_its_mode(page, tmp_path, state, present, absent):
    browse(f"{page.as_uri()}#{state}&shade=0&size=2", tmp_path, f"--screenshot={tmp_path / 'shot.png'}")
    # Left of the panel, which shows class colours in every mode.
    picture = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB"))[:, :580]
    assert all(share(picture, color) > 0.01 for color in present)
    assert all(share(picture, color) < 0.001 for color in absent)


def test_keys_clicks_and_wheel(page, tmp_path):
    """A copy of the page with a script that uses it the way hands do and notes what comes of it."""
    script = """<script>
    const seen = [], canvas = document.getElementById("canvas"), data = document.body.dataset;
    const key = (k) => dispatchEvent(new KeyboardEvent("keydown", { key: k }));
    const note = (what) => seen.push(what + ":" + [data.mode, data.shown, data.background].join("/"));
    const at = (type, x, y, more) => canvas.dispatchEvent(new PointerEvent(type,
      { pointerId: 1, clientX: x, clientY: y, button: 0, buttons: 1, pointerType: "mouse", bubbles: true, ...more }));
    canvas.setPointerCapture = () => {};
    const timer = setInterval(() => {
      if (data.state !== "ready") return;
      clearInterval(timer);
      note("start");
      for (const k of ["2", "3", "x"]) { key(k); note(k); }
      key("x"); note("x again");
      key("b"); note("b");
      key("c"); note("c");
      key("r"); note("r");
      const box = document.querySelector("#classes input");
      box.checked = false; box.dispatchEvent(new Event("change")); note("box");
      document.getElementById("all").click(); note("all");
      document.getElementById("view-top").click();
      const middle = (innerWidth - document.getElementById("panel").offsetWidth) / 2;
      at("pointerdown", middle, innerHeight / 2); at("pointerup", middle, innerHeight / 2);
      seen.push("picked:" + document.getElementById("picked-values").innerText.replace(/\\s+/g, " "));
      at("pointerdown", 5, innerHeight - 5); at("pointerup", 5, innerHeight - 5);
      seen.push("missed:" + data.picked);
      at("pointerdown", 200, 200); at("pointermove", 260, 220); at("pointerup", 260, 220);
      canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -50, cancelable: true }));
      seen.push("hash:" + location.hash);
      data.seen = seen.join("\\n");
    }, 50);
    </script></body>"""
    copy = tmp_path / "copy.html"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    noted = body(browse(copy.as_uri(), tmp_path, "--dump-dom"))["seen"]
    seen = dict(line.split(":", 1) for line in noted.split("\n"))
    everything = str(2 * N)
    assert seen["start"] == f"gt/{everything}/light"
    assert seen["2"] == f"pred/{everything}/light"
    assert seen["3"] == f"error/{everything}/light"
    assert seen["x"] == f"error/{WRONG}/light"
    assert seen["x again"] == f"error/{everything}/light"
    assert seen["b"] == f"error/{everything}/dark"
    # Nothing is a ceiling here, so c cuts at 0.8 of 2 m and takes the block's top 0.4 m off.
    assert N + 0.5 * N < int(seen["c"].split("/")[1]) < N + 0.7 * N
    assert seen["r"] == f"error/{everything}/dark"
    assert seen["box"] == f"error/{N}/dark"
    assert seen["all"] == f"error/{everything}/dark"
    # From above, the middle of the picture is the block's top: x and y about 2 m, z about 2 m, x moved by the offset.
    values = re.search(r"truth (.*) prediction (.*) confidence 0\.50 x y z \(m\) (\S+) (\S+) (\S+)", seen["picked"])
    assert values[1].startswith("a, b")
    x, y, z = (float(values[k]) for k in (3, 4, 5))
    assert abs(x - 102) < 0.3
    assert abs(y - 2) < 0.3
    assert z > 1.6
    assert seen["missed"] == "-1"
    assert seen["hash"] == "#mode=error&bg=dark&view=top"


def test_wrong_points_only(page, tmp_path):
    data = body(browse(f"{page.as_uri()}#mode=error&wrong=1", tmp_path, "--dump-dom"))
    assert data["shown"] == str(WRONG)


def test_without_webgl2_the_page_says_so(page, tmp_path):
    dom = browse(page.as_uri(), tmp_path, "--dump-dom", "--disable-3d-apis")
    assert body(dom)["state"] == "no-webgl2"
    assert "no WebGL2" in dom
