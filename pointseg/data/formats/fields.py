"""Further fields of a cloud file by name, in step with the points that ``iter_cloud`` gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pointseg.data.formats.cloud import CHUNK_POINTS, FORMATS, inspect_cloud
from pointseg.data.formats.format import VALID, Columns, reading
from pointseg.data.formats.roles import plain_name


def find_fields(path: str | Path, wanted: tuple[str, ...]) -> dict[str, str]:
    """Which of the wanted fields a file has.

    Args:
        path: A cloud file of any format.
        wanted: Plain names: ``pred`` also finds ``scalar_pred`` and ``pointseg:pred``.

    Returns:
        Plain name -> the file's own name; the first field of a name counts.

    Raises:
        InputError: As ``inspect_cloud``.
    """
    found: dict[str, str] = {}
    for name in _columns(Path(path)):
        if plain_name(name) in wanted:
            found.setdefault(plain_name(name), name)
    return found


def iter_fields(path: str | Path, names: tuple[str, ...], *, chunk_points: int = CHUNK_POINTS) -> Iterator[Columns]:
    """Read fields a chunk at a time: the same rows as ``iter_cloud`` with the same ``chunk_points``.

    Args:
        path: A cloud file of any format.
        names: Fields that hold one value a point, as the file calls them.
        chunk_points: Points in a chunk.

    Raises:
        InputError: As ``iter_cloud``.
    """
    path = Path(path)
    known = FORMATS[path.suffix.lower()]
    marked = VALID in _columns(path)
    for columns in known.chunks(path, (*names, VALID) if marked else names, chunk_points):
        if marked:
            valid = columns.pop(VALID)
            columns = {name: values[valid] for name, values in columns.items()}
        if len(columns[names[0]]):
            yield columns


def _columns(path: Path) -> Mapping[str, np.dtype]:
    inspect_cloud(path)
    known = FORMATS[path.suffix.lower()]
    with reading(path, known.name):
        return known.header(path).columns
