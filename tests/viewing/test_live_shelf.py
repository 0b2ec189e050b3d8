"""The live server's scenes: when they are read, which are kept, and what goes wrong with one."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from live_servers import CLASSES, Scenes, ask, cloud, serving

from pointseg.errors import InputError
from pointseg.viewing.live import Shelf
from pointseg.viewing.payload import pack_scene


def test_scenes_are_read_when_asked_for_and_kept_within_bounds():
    scenes = Scenes(3)
    size = len(pack_scene(cloud(0), CLASSES)[1]) + 3000  # of the points, and a header
    shelf = Shelf(scenes.sources, pack_scene, kept_bytes=2 * size)
    with serving(shelf) as server:
        ask(server, "/")
        assert scenes.read == []
        for number in (0, 0, 1, 0):
            ask(server, f"/clouds/{number}/header.json")
            ask(server, f"/clouds/{number}/points.bin")
        assert scenes.read == [0, 1]
        ask(server, "/clouds/2/points.bin")  # 1 was used longest ago, and goes
        ask(server, "/clouds/0/points.bin")
        assert scenes.read == [0, 1, 2]
        ask(server, "/clouds/1/points.bin")
        assert scenes.read == [0, 1, 2, 1]


def test_the_last_scene_stays_however_large():
    scenes = Scenes(2)
    shelf = Shelf(scenes.sources, pack_scene, kept_bytes=1)
    assert shelf.get(0) is shelf.get(0)
    shelf.get(1)
    shelf.get(0)
    assert scenes.read == [0, 1, 0]


def test_two_requests_for_one_scene_read_it_once():
    """The page asks for a scene's header and points at the same time."""
    scenes, started, go = Scenes(1), threading.Event(), threading.Event()

    def slow(*given):
        started.set()
        assert go.wait(20)
        return pack_scene(*given)

    shelf, got = Shelf(scenes.sources, slow), []
    threads = [threading.Thread(target=lambda: got.append(shelf.get(0))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(20)
    go.set()
    for thread in threads:
        thread.join()
    assert scenes.read == [0]
    assert got[0] is got[1] is got[2]


def test_a_scene_nobody_waits_for_is_not_read():
    scenes, go, reading = Scenes(2), threading.Event(), threading.Event()

    def slow(*given):
        reading.set()
        assert go.wait(20)
        return pack_scene(*given)

    shelf = Shelf(scenes.sources, slow)
    entered, left = threading.Event(), threading.Event()

    def watched(number, wanted):
        if number == 0:
            return Shelf.get(shelf, number, wanted)
        entered.set()
        found = Shelf.get(shelf, number, wanted)
        left.set()
        return found

    shelf.get = watched
    with serving(shelf) as server:
        first = threading.Thread(target=ask, args=(server, "/clouds/0/header.json"))
        first.start()
        assert reading.wait(20)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as second:
            second.sendall(b"GET /clouds/1/header.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert entered.wait(20)
        go.set()
        assert left.wait(20)
        first.join()
    assert scenes.read == [0]


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (InputError("the file is damaged; fetch it again."), 422, "the file is damaged; fetch it again."),
        (FileNotFoundError(2, "No such file or directory", "a.ply"), 500, "a.ply: No such file or directory."),
        (MemoryError("8 GB"), 507, "scene 1 needs more memory than there is (8 GB)."),
        (ZeroDivisionError("oh"), 500, "scene 1 could not be shown (ZeroDivisionError: oh)."),
    ],
)
def test_what_goes_wrong_with_one_scene_is_an_answer(error, status, sentence):
    with serving(Shelf(Scenes(2, _1=error).sources, pack_scene)) as server:
        for part in ("header.json", "points.bin"):
            got, headers, body = ask(server, f"/clouds/1/{part}")
            assert (got, headers["Content-Type"], json.loads(body)) == (status, "application/json", {"error": sentence})
        assert ask(server, "/clouds/0/header.json")[0] == 200
