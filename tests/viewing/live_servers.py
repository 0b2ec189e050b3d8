"""Toy scenes that count how often they are read, a live server of them, and requests to it."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pointseg.data.classes import Classes
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.live import LiveServer, Shelf
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
