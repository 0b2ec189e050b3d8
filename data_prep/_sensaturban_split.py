"""SensatUrban's tiles: the official split of the blocks of two cities, and which of them a folder holds.

The published archive has two folders, train and test; the four blocks of the validation split lie in the first. The
split is that of the data set's own training code.
"""

from __future__ import annotations

from pathlib import Path

from pointseg.errors import InputError

SPLITS = ("train", "val", "test")
_BLOCKS: dict[str, dict[str, tuple[int, ...]]] = {
    "train": {
        "birmingham": (0, 3, 4, 6, 7, 9, 10, 11, 12, 13),
        "cambridge": (0, 1, 2, 3, 4, 6, 8, 9, 12, 13, 14, 17, 18, 19, 20, 21, 23, 25, 26, 28, 32, 33, 34),
    },
    "val": {"birmingham": (1, 5), "cambridge": (7, 10)},
    "test": {"birmingham": (2, 8), "cambridge": (15, 16, 22, 27)},
}
OFFICIAL: dict[str, tuple[str, ...]] = {
    split: tuple(f"{city}_block_{block}" for city, blocks in cities.items() for block in blocks)
    for split, cities in _BLOCKS.items()
}
"""Split -> its tiles."""

CUT_SHORT = ("cambridge_block_0", "cambridge_block_1", "cambridge_block_34")
"""Published files that end long before the number of points in their header (the first: 264,178 of 47,845,657)."""


def official_split(tile: str) -> str | None:
    """``train``, ``val`` or ``test``; None for a tile of somebody else."""
    return next((split for split, tiles in OFFICIAL.items() if tile in tiles), None)


def find_tiles(raw: str | Path) -> dict[Path, str]:
    """The tiles of a folder and the split of each, in the order of split and name.

    Looked for are ``*.ply`` in the folder and in its ``train``, ``val`` and ``test``, or in those of its folder
    ``ply``. An official tile belongs to its official split wherever it lies, any other to that of its folder.

    Raises:
        InputError: No such folder, no tiles, a tile that is there twice, or one without a split.
    """
    raw = Path(raw)
    if not raw.is_dir():
        raise InputError(f"there is no folder {raw}; give the one that holds SensatUrban's train and test with --raw")
    paths = [
        path
        for base in (raw, raw / "ply")
        for folder in (base, *(base / split for split in SPLITS))
        for path in sorted(folder.glob("*.ply"))
        if not path.name.startswith(".")
    ]
    if not paths:
        inside = sorted({path.parent for depth in ("*", "*/*", "*/*/*") for path in raw.glob(f"{depth}/*.ply")})
        hint = f"did you mean {_base(inside[0])}?" if inside else "give the one that holds train/*.ply and test/*.ply"
        raise InputError(f"{raw} holds no tiles (*.ply); {hint}")
    first: dict[str, Path] = {}
    for path in paths:
        if path.stem in first:
            raise InputError(f"the tile {path.stem} is there twice, {first[path.stem]} and {path}; remove one of them")
        first[path.stem] = path
    split = {path: _split_of(path) for path in paths}
    return dict(sorted(split.items(), key=lambda item: (SPLITS.index(item[1]), item[0].name)))


def missing_tiles(raw: str | Path) -> list[str]:
    """Sentences about official tiles that are not there; none if all are."""
    there = {path.stem for path in find_tiles(raw)}
    notes = []
    for split, tiles in OFFICIAL.items():
        lacking = [tile + " (cut short as published)" * (tile in CUT_SHORT) for tile in tiles if tile not in there]
        if lacking:
            notes.append(
                f"{len(lacking)} of the {len(tiles)} official {split} tiles are not there: {', '.join(lacking)}"
            )
    return notes


def _split_of(path: Path) -> str:
    split = official_split(path.stem) or (path.parent.name if path.parent.name in SPLITS else None)
    if split is None:
        raise InputError(
            f"{path} is no tile of the official split, so it is not known where it belongs; put it into a folder "
            "train, val or test"
        )
    return split


def _base(folder: Path) -> Path:
    return folder.parent if folder.name in SPLITS else folder
