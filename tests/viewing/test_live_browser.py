"""The real page from the real server: in a browser, and what it begins with."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import numpy as np

from pointseg.cli.main import main
from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.html import live_page
from pointseg.viewing.live import LiveServer, Shelf
from pointseg.viewing.payload import pack_scene
from pointseg.viewing.ply import write_ply
from pointseg.viewing.sources import Source

CLASSES = Classes("toy", ("floor", "crate"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((0,), (1,)))
N = 4000
STAGE = (290, 350)  # its middle


def load(number: int) -> tuple[Cloud, Classes]:
    if number == 1:
        raise InputError("the file is damaged; fetch it again.")
    coord = np.random.default_rng(number).random((N, 3)) * [4, 4, 0.01] + [10 * number, 0, 0]
    return Cloud(coord, gt=np.full(N, number // 2), pred=np.zeros(N, int), name=f"scene {number}"), CLASSES


def test_in_a_browser(browser):
    """A scene, one that fails, the next; a point of it by a click; and nothing from anywhere else."""
    sources = [Source(f"scene {i}", "toys", Path("nowhere"), lambda i=i: load(i)) for i in range(3)]
    clouds = [{"id": i, "name": s.name, "source": s.source} for i, s in enumerate(sources)]
    with LiveServer(live_page(clouds, mode="confidence"), Shelf(sources, pack_scene)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            browser.open(server.url)
            browser.wait_for('document.body.dataset.state === "ready"', 60)
            assert browser.eval("document.body.dataset.points") == str(N)
            assert browser.share(browser.screenshot()[:, :580], (20, 160, 60), 40) > 0.02
            assert browser.text("#note") == 'This scene cannot be shown as "confidence"; it lacks the data.'
            browser.key("]")
            browser.wait_for('document.body.innerText.includes("the file is damaged; fetch it again.")', 60)
            browser.key("]")
            browser.wait_for('document.body.dataset.state === "ready"', 60)
            browser.click(*STAGE)
            rows = "[...document.querySelectorAll('#picked-values tr')]"
            told = dict(browser.eval(f"{rows}.map((r) => [...r.cells].map((c) => c.innerText))"))
            assert (told["truth"], told["prediction"]) == ("crate", "floor")
            x, y, _ = (float(v) for v in told["x y z (m)"].split())
            # The middle of the picture is about that of the third scene.
            assert (abs(x - 22) < 0.5, abs(y - 2) < 0.5) == (True, True)
            assert all("422" in text for text in browser.console_errors)
            assert all(address.startswith((server.url, "data:", "blob:")) for address in browser.requests)
        finally:
            server.shutdown()


def test_two_targets_are_opened_side_by_side_without_an_address(tmp_path, monkeypatch):
    pages = []
    monkeypatch.setattr(LiveServer, "serve_forever", lambda server: pages.append(server.page.decode()))
    for run, names in (("one", "ab"), ("other", "bc")):
        (tmp_path / run).mkdir()
        for name in names:
            write_ply(tmp_path / run / f"{name}.ply", load(0)[0])
    assert main(["view", str(tmp_path / "one"), str(tmp_path / "other"), "--port", "0"]) == 0
    header = json.loads(re.search(r'id="header">(.*?)</script>', pages[0], re.S)[1])
    first = {about.get("first"): (Path(about["source"]).name, about["name"]) for about in header["clouds"]}
    assert (first["a"], first["b"]) == (("one", "b"), ("other", "b"))
