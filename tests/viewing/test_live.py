"""The live server: what it serves, what it refuses, what it keeps."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.live import LiveServer, Shelf
from pointseg.viewing.payload import pack_scene
from pointseg.viewing.sources import Source

CLASSES = Classes("toy", ("floor", "crate"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((0,), (1,)))
N = 500
PAGE = "<!doctype html><title>t</title>"


def cloud(number: int) -> Cloud:
    gt = np.arange(N) % 2
    return Cloud(np.random.default_rng(number).random((N, 3)), gt=gt, pred=gt * 0, name=f"scene {number}")


class Scenes:
    """Sources that count how often each is read."""

    def __init__(self, count: int, **failing: Exception) -> None:
        self.read: list[int] = []
        self.failing = {int(name[1:]): error for name, error in failing.items()}
        self.sources = [Source(f"scene {i}", "toys", Path("nowhere"), lambda i=i: self.load(i)) for i in range(count)]

    def load(self, number: int) -> tuple[Cloud, Classes]:
        self.read.append(number)
        if number in self.failing:
            raise self.failing[number]
        return cloud(number), CLASSES


@contextmanager
def serving(shelf: Shelf, page: str = PAGE, host: str = "127.0.0.1"):
    with LiveServer(page, shelf, host, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: LiveServer, path: str, method: str = "GET", **headers: str):
    """(status, headers, body) of one request; the path is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


@pytest.fixture(scope="module")
def served():
    scenes = Scenes(2)
    with serving(Shelf(scenes.sources, pack_scene)) as server:
        yield server


def test_the_page_and_a_scene(served):
    status, headers, body = ask(served, "/")
    assert (status, body.decode()) == (200, PAGE)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    status, headers, body = ask(served, "/clouds/1/header.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    expected, payload = pack_scene(cloud(1), CLASSES)
    assert json.loads(body) == json.loads(json.dumps(expected))
    status, _, body = ask(served, "/clouds/1/points.bin")
    assert (status, body) == (200, payload)
    assert len(zlib.decompress(body, wbits=-15)) == N * (6 + 1 + 1)


def test_every_answer_protects_itself(served):
    for path in ("/", "/clouds/0/points.bin", "/nothing"):
        _, headers, _ = ask(served, path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "connect-src 'self'" in policy
        assert "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    "path",
    [
        *["/../etc/passwd", "/clouds/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/etc/passwd"],
        *["/clouds/0/../1/points.bin", "/clouds/0/%2e%2e/points.bin", "/clouds/0/points.bin/..", "/clouds/0/"],
        *["/clouds/2/header.json", "/clouds/-1/header.json", "/clouds/00/header.json", "/clouds/1e0/header.json"],
        *["/clouds/999999999999999999999/header.json", "/clouds/%30/header.json", "/clouds/\u0661/header.json"],
        *["/clouds/0/header.json?x=/etc/passwd", "/clouds/0/header.json\\..", "http://localhost/", "*", "/index.html"],
    ],
)
def test_nothing_else_is_served(served, path):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert list(json.loads(body)) == ["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "BREW"])
def test_other_methods_are_refused(served, method):
    status, headers, body = ask(served, "/", method)
    assert (status, headers["Allow"], headers["Connection"]) == (405, "GET, HEAD", "close")
    assert json.loads(body)["error"] == "Only GET and HEAD are answered."


def test_head_sends_no_body(served):
    status, headers, body = ask(served, "/clouds/0/points.bin", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(pack_scene(cloud(0), CLASSES)[1])


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", ""],
)
def test_a_foreign_name_is_refused(served, host):
    status, _, body = ask(served, "/clouds/0/header.json", Host=host)
    assert status == 403
    assert b"own address" in body


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"])
def test_names_of_this_machine_at_any_port(served, host):
    """Through a tunnel the port is another one."""
    assert ask(served, "/", Host=host)[0] == 200


def test_a_request_without_host_is_refused(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01 what is this", b"GET / HTTP/1.1\r\nX: " + b"a" * 70000, b"GET / HTTP/2.0"]
)
def test_garbage_is_answered_in_a_sentence(served, sent):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(sent + b"\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert list(json.loads(answer.rpartition(b"\r\n")[2])) == ["error"]
    assert ask(served, "/")[0] == 200


def test_a_connection_is_kept_for_several_requests(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", "/")
    connection.getresponse().read()
    used = connection.sock
    for path in ("/nothing", "/clouds/0/header.json"):
        connection.request("GET", path)
        connection.getresponse().read()
    assert connection.sock is used
    connection.close()


def test_only_loopback_is_bound(served):
    assert (served.only_here, served.server_address[0]) == (True, "127.0.0.1")
    # Another address of this machine, which every server on 0.0.0.0 would answer.
    with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
        socket.create_connection(("127.0.0.2", served.port), timeout=2)


def test_opened_wider_it_answers_to_numbers_and_its_own_name_alone():
    with serving(Shelf(Scenes(1).sources, pack_scene), host="0.0.0.0") as server:
        assert not server.only_here
        assert server.url == f"http://127.0.0.1:{server.port}/"
        assert [ask(server, "/", Host=host)[0] for host in ("192.168.1.7:80", socket.gethostname())] == [200, 200]
        status, _, body = ask(server, "/", Host="evil.example")
        assert (status, json.loads(body)["error"].split()[-1]) == (403, f"http://127.0.0.1:{server.port}/")


def test_names_of_any_case_are_known_and_the_full_one_is_looked_up_once(monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "gethostname", lambda: "Ada")
    monkeypatch.setattr(socket, "getfqdn", lambda: asked.append(1) or "Ada.Lab.Example")
    with serving(Shelf(Scenes(1).sources, pack_scene), host="0.0.0.0") as server:
        hosts = ("ADA:80", "ada.lab.example", "Ada.Lab.Example:8080", "other.lab.example", "other.example")
        assert [ask(server, "/", Host=host)[0] for host in hosts] == [200, 200, 200, 403, 403]
    assert asked == [1]


def test_a_taken_port_and_a_foreign_host_are_one_sentence(served):
    shelf = Shelf([], pack_scene)
    with pytest.raises(InputError, match=f"cannot listen on port {served.port} of 127.0.0.1 .*another --port"):
        LiveServer(PAGE, shelf, "127.0.0.1", served.port)
    with pytest.raises(InputError, match=r"0 .*to 65535"):
        LiveServer(PAGE, shelf, "127.0.0.1", 70000)
    with pytest.raises(InputError, match="cannot listen"):
        LiveServer(PAGE, shelf, "203.0.113.1", 0)


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
