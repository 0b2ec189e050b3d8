"""The live viewer's server: one page and the scenes it was asked to show, to browsers of this machine.

It answers ``/``, ``/clouds/<id>/header.json`` and ``/clouds/<id>/points.bin``; ids are places in a list, so no address
ever becomes a path of the file system. Another site's page that has its own name point to this machine (DNS rebinding)
still sends that name as Host, which is refused; with that and read-only answers a secret in the address would keep out
only other users of the same machine, who must be kept from the data by other means on a shared server anyway.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import logging
import os
import re
import select
import socket
import socketserver
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.sources import Source

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
KEPT_BYTES = 256_000_000
"""Of packed scenes that stay in memory: ten of 2 million points or more."""

Pack = Callable[[Cloud, Classes], tuple[dict[str, Any], bytes]]
"""A cloud as the page takes it: the header, and the compressed points."""

_PIECE = 1 << 16  # bytes
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
_CLOUD = re.compile(r"/clouds/(0|[1-9][0-9]{0,8})/(header\.json|points\.bin)", re.ASCII)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Packed:
    """A scene as it is sent: its header as JSON, and its compressed points."""

    header: bytes
    points: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.header) + len(self.points)


class Shelf:
    """The scenes of a server: read when first asked for, one at a time, the ones last used kept.

    One at a time, because two large scenes being read together may not fit into memory.
    """

    def __init__(self, sources: Sequence[Source], pack: Pack, kept_bytes: int = KEPT_BYTES) -> None:
        """``kept_bytes`` bounds what stays; the scene last read always does."""
        self.sources = sources
        self._pack, self._kept_bytes = pack, kept_bytes
        self._kept: OrderedDict[int, Packed] = OrderedDict()
        self._reading, self._touching = threading.Lock(), threading.Lock()

    def get(self, number: int, wanted: Callable[[], bool] = lambda: True) -> Packed | None:
        """A scene, or None where nobody wants it any more when its turn has come.

        Raises:
            InputError: It cannot be read or shown.
        """
        packed = self._find(number)
        if packed is not None:
            return packed
        with self._reading:
            packed = self._find(number)
            if packed is not None or not wanted():
                return packed
            header, points = self._pack(*self.sources[number].load())
            text = json.dumps(header, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
            packed = Packed(text.encode(), points)
            with self._touching:
                self._kept[number] = packed
                while len(self._kept) > 1 and sum(p.size for p in self._kept.values()) > self._kept_bytes:
                    self._kept.popitem(last=False)
            return packed

    def _find(self, number: int) -> Packed | None:
        with self._touching:
            if number in self._kept:
                self._kept.move_to_end(number)
            return self._kept.get(number)


class LiveServer(ThreadingHTTPServer):
    """Serves one page and the scenes of a shelf; ``serve_forever`` until interrupted."""

    daemon_threads = True
    # On Windows the one, in newer Pythons the other, would let two servers share a port unnoticed.
    allow_reuse_address = os.name == "posix"
    allow_reuse_port = False

    def __init__(self, page: str, shelf: Shelf, host: str = LOOPBACK, port: int = 0) -> None:
        """Bind, but do not answer yet.

        Args:
            page: The HTML text of ``/``.
            shelf: The scenes.
            host: Address or name to listen on; other machines can reach it if it is not a loopback one.
            port: 0 = any that is free.

        Raises:
            InputError: The port is taken or not allowed, or the host is not of this machine.
        """
        self.page, self.shelf, self.host = page.encode(), shelf, host.strip("[]")
        self.address_family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        if not 0 <= port <= 65535:
            raise InputError(f"the port is {port}; it must be 0 (any that is free) to 65535.")
        try:
            super().__init__((self.host, port), _Handler)
        except OSError as error:
            raise InputError(
                f"cannot listen on port {port} of {host} ({error.strerror or error}); give another --port (0 takes "
                "any that is free) or --host."
            ) from error

    @property
    def port(self) -> int:
        """The one it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The page's address, for a browser on this machine."""
        everywhere = self.host in ("", "0.0.0.0", "::")
        return f"http://{LOOPBACK if everywhere else _in_url(self.host)}:{self.port}/"

    @property
    def only_here(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return ipaddress.ip_address(str(self.server_address[0])).is_loopback

    def knows(self, host: str | None) -> bool:
        """Whether a request's Host header names this server: see the module's text."""
        name = re.sub(r":[0-9]*$", "", (host or "").strip().lower())
        if name in _OWN_NAMES or name.strip("[]") == self.host.lower():
            return bool(name)
        # Open to others, it has addresses it does not know; a number cannot be rebound as a name can.
        return not self.only_here and (_is_address(name) or name in self._names)

    @functools.cached_property
    def _names(self) -> tuple[str, str]:
        """This machine's own, short and full; kept, because to look the full one up can take seconds."""
        return socket.gethostname().lower(), socket.getfqdn().lower()

    def server_bind(self) -> None:
        # The base class looks up the host's full name, which can take seconds and is of no use here.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing to say of a browser that went away; anything else is a fault of ours."""
        logger.debug("a connection from %s ended early", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pointseg", ""
    timeout = 60  # seconds a browser may keep a silent connection

    def do_GET(self) -> None:
        if not self.server.knows(self.headers.get("Host")):
            address = _in_url(self.connection.getsockname()[0])
            url = f"http://{address}:{self.server.port}/"
            sentence = f"This server answers to its own address only; open it by the address in numbers, such as {url}"
            self._refuse(HTTPStatus.FORBIDDEN, sentence)
        elif self.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif (found := _CLOUD.fullmatch(self.path)) and int(found[1]) < len(self.server.shelf.sources):
            self._cloud(int(found[1]), found[2])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing at this address.")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _cloud(self, number: int, part: str) -> None:
        name = self.server.shelf.sources[number].name
        try:
            packed = self.server.shelf.get(number, self._waiting)
        except InputError as error:
            return self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except MemoryError as error:
            return self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, f"{name} needs more memory than there is ({error}).")
        except OSError as error:
            return self._refuse(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"{error.filename or name}: {error.strerror or error}."
            )
        except Exception as error:
            logger.exception("%s could not be shown", name)
            kind = type(error).__name__
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{name} could not be shown ({kind}: {error}).")
        if packed is None:
            self.close_connection = True
            return None
        if part == "header.json":
            return self._answer(HTTPStatus.OK, "application/json", packed.header)
        return self._answer(HTTPStatus.OK, "application/octet-stream", packed.points)

    def _waiting(self) -> bool:
        """Whether the browser is still there: one that gave up a scene for the next has closed the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return not readable or self.connection.recv(1, socket.MSG_PEEK) != b""

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._answer(status, "application/json", json.dumps({"error": sentence}).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            # The time limit holds for each piece, so that a slow line does not cut a large scene off.
            for start in range(0, len(body), _PIECE):
                self.wfile.write(body[start : start + _PIECE])

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The base class's refusals, in our form; after one, what follows on the connection cannot be trusted."""
        self.close_connection = True
        self.command = self.command or "GET"
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are answered.")
        else:
            self._refuse(HTTPStatus(code), f"{message or HTTPStatus(code).phrase}.")

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def _in_url(host: str) -> str:
    """An address or name as a URL takes it."""
    return f"[{host}]" if ":" in host else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
