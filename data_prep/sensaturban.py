"""SensatUrban's tiles, ``RAW/{train,test}/<city>_block_<n>.ply``, to prepared scenes.

    python -m data_prep.sensaturban --raw data_release --out data/sensaturban

The scenes are put into the official splits train, val and test.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from data_prep._jobs import SceneJob, add_store_arguments, run_prepare
from data_prep._main import run_module
from data_prep._sensaturban_split import find_tiles, missing_tiles
from data_prep._sensaturban_tile import read_chunks, read_tile
from pointseg.data.classes import Classes, SourceId

HELP = "SensatUrban's native tiles (train/*.ply, test/*.ply) to prepared, voxelised scenes in the official splits."

VOXEL_SIZE = 0.2
"""Metres; the grid of the data set's own code and of the published scores."""


def jobs(raw: str | Path, classes: Classes) -> list[SceneJob]:
    """One job a tile.

    Args:
        raw: Folder with ``train`` and ``test``, or of tiles.
        classes: Their source ids are the numbers in the tiles.

    Raises:
        InputError: No such folder, no tiles, or a tile without a split.
    """
    raw, labels = Path(raw).absolute(), classes.labels_by_source()
    return [_job(raw, path, split, labels) for path, split in find_tiles(raw).items()]


def _job(raw: Path, path: Path, split: str, labels: Mapping[SourceId, int]) -> SceneJob:
    settings: dict[str, Any] = {"labels": labels, "labelled": split != "test"}
    read, chunks = partial(read_tile, **settings), partial(read_chunks, **settings)
    return SceneJob(split, path.stem, (path,), raw, read, chunks=chunks)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this module's flags."""
    parser.add_argument("--raw", required=True, type=Path, help="folder that holds train and test, or the tiles")
    add_store_arguments(parser, classes="sensaturban", voxel_size=VOXEL_SIZE, streaming=True)


def run(args: argparse.Namespace) -> int:
    """Prepare and print what was done."""
    return run_prepare(args, "sensaturban", lambda classes: jobs(args.raw, classes), lambda: missing_tiles(args.raw))


if __name__ == "__main__":
    sys.exit(run_module(HELP, add_arguments, run))
