"""A toy cloud and its classes, ``pointseg view`` called in this process, and what a page says of itself."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np

from pointseg.cli import view
from pointseg.data.classes import Classes
from pointseg.viewing.cloud import Cloud

CLASSES = Classes("toy", ("ground", "crate"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((0,), (1,)))


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    view.add_arguments(parser)
    args = parser.parse_args([str(a) for a in arguments])
    return view.run(args)


def cloud(name: str = "toy") -> Cloud:
    coord = np.random.default_rng(0).random((400, 3))
    ids = np.arange(400) % 2
    return Cloud(coord, np.full((400, 3), 90, np.uint8), gt=ids, pred=ids[::-1].copy(), name=name)


def page_header(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="header">(.*?)</script>', text)[1])
