"""The page as the client of a server: a stub here answers as the live server does."""

from __future__ import annotations

import http.server
import json
import threading

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.html import live_page
from pointseg.viewing.payload import pack_scene

GREEN, ORANGE = (20, 160, 60), (230, 120, 10)
CLASSES = Classes("toy", ("floor", "block"), np.array([GREEN, ORANGE], np.uint8), ())
N = 1000
LONG = "Area_5/" + "a_rather_long_name_of_a_room_" * 5 + "17"
CLOUDS = [
    {"id": 0, "name": "office", "source": "runs/a"},
    {"id": 1, "name": "hall", "source": "runs/a"},
    {"id": 2, "name": LONG, "source": "runs/a"},
    {"id": 3, "name": "broken", "source": "runs/a"},
    {"id": 4, "name": "office", "source": "runs/b"},
    {"id": 5, "name": "hall", "source": "runs/b"},
    {"id": 6, "name": "step_1", "source": "runs/a", "place": "steps of a"},
    {"id": 7, "name": "step_5", "source": "runs/a", "place": "steps of a"},
]
SENTENCE = "The file broken.ply holds no points; write it again."
SLOW = 2


def cloud(number: int) -> Cloud:
    rng = np.random.default_rng(number % 4)
    coord = np.concatenate([rng.random((N, 3)) * [4 + number, 4, 0], rng.random((N, 3)) + np.array([1.5, 1.5, 1])])
    gt = np.repeat([0, 1], N)
    return Cloud(coord.astype(np.float32), gt=gt, pred=gt if number < 4 else 1 - gt, name=CLOUDS[number]["name"])


class Server:
    """Answers from memory; holds the points of the ``SLOW`` scene back until ``release`` is set."""

    def __init__(self) -> None:
        self.answers = {"/": (200, "text/html; charset=utf-8", live_page(CLOUDS).encode())}
        pair = [about | {"first": {1: "a", 5: "b"}.get(about["id"])} for about in CLOUDS]
        self.answers["/pair"] = (200, "text/html; charset=utf-8", live_page(pair).encode())
        self.answers["/clouds/3/header.json"] = (500, "application/json", json.dumps({"error": SENTENCE}).encode())
        for about in CLOUDS:
            number = about["id"]
            if number != 3:
                header, points = pack_scene(cloud(number), CLASSES)
                self.answers[f"/clouds/{number}/header.json"] = (200, "application/json", json.dumps(header).encode())
                self.answers[f"/clouds/{number}/points.bin"] = (200, "application/octet-stream", points)
        self.release = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == f"/clouds/{SLOW}/points.bin":
                    server.release.wait(20)
                status, kind, body = server.answers.get(self.path, (404, "application/json", b"{}"))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_port}/"


@pytest.fixture(scope="module")
def server():
    made = Server()
    made.release.set()
    yield made
    made.release.set()
    made.http.shutdown()
    made.http.server_close()


def ready(browser, name: str) -> None:
    browser.wait_for(f"document.body.dataset.state === 'ready' && document.title === {json.dumps(name)}")


def choose(browser, select: str, value: str) -> None:
    """As by hand: the list's value, and the event that tells of it."""
    browser.eval(f"document.getElementById('{select}').value = '{value}'")
    browser.eval(f"document.getElementById('{select}').dispatchEvent(new Event('change'))")


def test_scenes_change_and_what_was_set_stays(browser, server):
    browser.show(server.address)
    ready(browser, "office")
    for key in ("2", "b", "+"):
        browser.key(key)
    browser.click_on("#classes tr:nth-child(1) input")
    browser.drag((200, 300), (300, 330))
    browser.key("]")
    ready(browser, "hall")
    about = browser.data()
    assert (about["mode"], about["background"], about["shown"]) == ("pred", "dark", str(N))
    hash_ = browser.eval("location.hash")
    assert hash_ == "#a=1&mode=pred&size=1.2&bg=dark&hide=floor"  # the camera is that of a new scene
    assert browser.share(browser.screenshot()[:, :580], ORANGE, 60) > 0.005
    browser.key("[")
    ready(browser, "office")
    assert browser.console_errors == []
    asked = {url.split("#")[0] for url in browser.requests}
    wanted = {f"clouds/{number}/{part}" for number in (0, 1) for part in ("header.json", "points.bin")}
    assert asked == {server.address} | {server.address + path for path in wanted}


def test_an_address_opens_two_and_steps_keep_the_comparison(browser, server):
    browser.show(f"{server.address}#a=0&b=4&mode=pred")
    assert browser.data()["points"] == str(4 * N)
    labels = "[...document.querySelectorAll('#labels div')].map((e) => e.innerText.replace(/\\s/g, ' '))"
    assert browser.eval(labels) == ["A: a · mIoU 100.0 %", "B: b · mIoU 0.0 %"]
    browser.drag((100, 300), (160, 330))
    browser.wait_for("location.hash.includes('cam=')")
    camera = browser.eval("new URLSearchParams(location.hash.slice(1)).get('cam')")
    browser.key("]")
    ready(browser, "hall")
    assert browser.eval("location.hash").startswith("#a=1&b=5&")
    assert "cam=" not in browser.eval("location.hash")
    browser.key("[")
    ready(browser, "office")
    # The same scene alone keeps the camera.
    browser.eval(f"location.hash = '#a=0&b=4&mode=pred&cam={camera}'")
    browser.wait_for("document.body.dataset.state === 'ready' && location.hash.includes('cam=')")
    choose(browser, "compare", "")
    browser.wait_for(f"document.body.dataset.state === 'ready' && document.body.dataset.points === '{2 * N}'")
    assert f"cam={camera}" in browser.eval("location.hash").replace("%2C", ",")


def test_without_an_address_the_pair_that_the_server_names_is_opened(browser, server):
    browser.show(f"{server.address}pair#mode=pred")
    assert browser.data()["points"] == str(4 * N)
    assert browser.eval("location.hash") == "#a=1&b=5&mode=pred"
    browser.show(f"{server.address}pair#a=1")
    assert browser.data()["points"] == str(2 * N)


def test_a_scene_that_fails_says_why_and_others_still_open(browser, server):
    browser.show(f"{server.address}#a=1")
    choose(browser, "scene", "3")
    browser.wait_for("document.body.dataset.state === 'failed'")
    browser.eval("new Promise((done) => setTimeout(done, 1700))")  # longer than the page waits to explain a silence
    assert browser.text("#message") == SENTENCE
    assert browser.text("#name") == "broken"
    browser.key("1")
    browser.key("c")
    browser.click(200, 300)
    browser.key("[")
    browser.key("[")
    ready(browser, "hall")
    # Chromium itself notes the 500; the page throws nothing.
    assert all("500" in line for line in browser.console_errors)


def test_a_load_that_was_overtaken_is_dropped(browser, server):
    browser.show(f"{server.address}#a=0")
    server.release.clear()
    browser.key("]")
    ready(browser, "hall")
    browser.key("]")
    browser.wait_for("document.body.dataset.state === 'loading'")
    assert "Loading Area_5" in browser.text("#message")
    browser.wait_for("document.getElementById('message').innerText.includes('predicts it first')")
    browser.key("[")
    ready(browser, "hall")
    server.release.set()
    browser.eval("new Promise((done) => setTimeout(done, 300))")
    assert browser.data()["state"] == "ready"
    assert browser.text("#name") == "hall"
    assert browser.console_errors == []


def test_the_list_is_filtered_and_long_names_stay_readable(browser, server):
    browser.show(f"{server.address}#a=2")
    assert browser.text("#name") == LONG
    assert browser.eval("document.getElementById('panel').scrollWidth <= document.getElementById('panel').clientWidth")
    entry = browser.eval(
        "(({innerText, title}) => [innerText, title])(document.querySelector('#scene option[value=\"2\"]'))"
    )
    assert (entry[0].startswith("Area_5/a"), entry[0].endswith("17"), "…" in entry[0], entry[1]) == (
        True,
        True,
        True,
        LONG,
    )
    browser.click_on("#filter")
    for letter in "b of":
        browser.key(letter)
    assert browser.eval("[...document.querySelectorAll('#scene option')].map((o) => o.value)") == ["4"]
    # Letters typed there are no commands.
    assert browser.data()["background"] == "light"
    browser.eval("document.getElementById('filter').blur()")
    browser.key("]")
    ready(browser, "office")
    assert browser.eval("location.hash").startswith("#a=4&")


def test_without_the_server_the_page_says_so(browser, server):
    browser.show(f"{server.address}#a=0")
    browser.call(
        "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )
    try:
        browser.key("]")
        browser.wait_for("document.body.dataset.state === 'failed'")
        assert "does not answer" in browser.text("#message")
    finally:
        browser.call(
            "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )


def test_camera_box_and_kept_views_stay_at_one_place(browser, server):
    """Clouds of one place have different names, as the pseudo-labels of a run step by step do."""
    browser.show(f"{server.address}#a=6")
    browser.key("v")
    browser.drag((200, 300), (300, 330))
    browser.wait_for("location.hash.includes('cam=')")
    browser.eval("document.getElementById('x-low').focus()")
    browser.key("ArrowRight")
    kept = browser.eval("location.hash").removeprefix("#a=6&")
    assert "x=0.005,1" in kept
    assert "saved=" in kept
    browser.key("]")
    browser.wait_for("document.body.dataset.state === 'ready' && location.hash.startsWith('#a=7&')")
    assert browser.eval("location.hash").removeprefix("#a=7&") == kept
    # On many keyboards brackets come with AltGr, which reads as Ctrl and Alt.
    browser.key("[", "ctrl alt")
    browser.wait_for("document.body.dataset.state === 'ready' && location.hash.startsWith('#a=6&')")
    browser.key("[", "ctrl")
    assert browser.eval("location.hash").startswith("#a=6&")


def test_without_the_graphics_card_no_scene_is_called_ready(browser, server):
    browser.show(f"{server.address}#a=0")
    lose = "document.getElementById('canvas').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
    browser.eval(lose)
    browser.wait_for("document.body.dataset.state === 'failed'")
    browser.key("]")
    browser.wait_for("document.title === 'hall' && document.body.dataset.state !== 'loading'")
    assert browser.data()["state"] == "failed"
    assert "graphics card" in browser.text("#message")


def test_a_scrolled_panel_stays_clear_of_its_button(browser, server):
    browser.resize(900, 400)
    try:
        browser.show(f"{server.address}#a=0&b=4")
        browser.eval("document.getElementById('panel').scrollTop = 160")
        over = browser.eval(
            "(() => { const f = document.getElementById('fold').getBoundingClientRect();"
            " return document.elementsFromPoint(f.x + 4, f.y + f.height / 2).map((e) => e.id || e.tagName)})()"
        )
        assert over[:2] == ["fold", "name"]
    finally:
        browser.resize(900, 700)
