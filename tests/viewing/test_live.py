"""The live server: what it serves, what it refuses, whom it answers."""

from __future__ import annotations

import http.client
import json
import socket
import zlib

import pytest
from live_servers import CLASSES, PAGE, N, Scenes, ask, cloud, serving

from pointseg.errors import InputError
from pointseg.viewing.live import LiveServer, Shelf
from pointseg.viewing.payload import pack_scene


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
