"""The chunks of a LAZ file, checked before they are decompressed.

lazrs makes room for what the file promises, and ends the whole process where there is none: no exception can be caught.
The points follow eight bytes that say where the table of chunks is: a version, the number of chunks, and compressed
for each chunk its bytes (and its points, where chunks differ in that). A chunk of the newer point formats is its first
point, its number of points, the sizes of its layers, and the layers.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import IO, Any

from pointseg.errors import InputError

_SMALLEST_POINT = 20
"""The first point of a chunk is stored as it is."""

_LAYERED = 3
_LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}
"""Of an item: the point itself, RGB, RGB and infrared, wave packet. Extra bytes have one each."""

_MOST_EXPANSION, _ALWAYS_ALLOWED = 4096, 1 << 26
"""Of a chunk; points that are all alike are compressed to a 2000th."""


def check_chunks(path: Path, file: IO[bytes], header: Any) -> None:
    """Refuse a table of chunks that does not fit the file; ``file`` is left at the first point.

    Args:
        path: The file, for the messages.
        file: Open.
        header: As laspy read it.

    Raises:
        InputError: The table lies outside the file, or promises more bytes or fewer points than there are.
    """
    import lazrs

    records = header.vlrs.get("LasZipVlr")
    if not records:
        raise _damaged(path, "it does not say how its points are compressed")
    record = bytes(records[0].record_data)
    if len(record) < 34 or len(record) < 34 + 6 * int.from_bytes(record[32:34], "little"):
        raise _damaged(path, "what says how its points are compressed is cut short")
    vlr = lazrs.LazVlr(record)
    row, begin, size = vlr.item_size(), header.offset_to_point_data, path.stat().st_size
    if row != header.point_format.size:
        raise _damaged(path, f"its points have {header.point_format.size} bytes in the header, {row} compressed")
    table, chunks = _table(path, file, begin, size)
    held = table - begin - 8
    if chunks * _SMALLEST_POINT > held:
        raise _damaged(path, f"its {held:,} bytes of points cannot be {chunks:,} chunks")
    file.seek(begin)
    entries = lazrs.read_chunk_table(file, vlr) if chunks else []
    points, most = sum(n for n, _ in entries), max((n for n, _ in entries), default=0)
    if sum(length for _, length in entries) > held:
        raise _damaged(path, f"its chunks promise more than the {held:,} bytes of points that it holds")
    _check_layers(path, file, record, begin + 8 + row, [length for _, length in entries])
    file.seek(begin)
    if header.point_count > points:
        raise _damaged(path, f"its header promises {header.point_count:,} points, its chunks at most {points:,}")
    if most * row > _ALWAYS_ALLOWED + _MOST_EXPANSION * size:
        raise _damaged(path, f"a chunk of {most:,} points of {row} bytes cannot come from its {size:,} bytes")


def points_at_a_time(row: int, wanted: int) -> int:
    """How many points of ``row`` bytes to decompress in one go, at most ``wanted``, at least one."""
    return min(wanted, math.ceil(_ALWAYS_ALLOWED / max(row, 1)))


def _check_layers(path: Path, file: IO[bytes], record: bytes, place: int, lengths: list[int]) -> None:
    """Refuse layers that are larger than their chunk; ``place`` is the end of the first chunk's first point."""
    compressor, (items,) = record[0], struct.unpack_from("<H", record, 32)
    if compressor != _LAYERED:
        return
    kinds = [struct.unpack_from("<HH", record, 34 + 6 * i) for i in range(items)]
    layers = sum(_LAYERS.get(kind, size) for kind, size in kinds)
    for length in lengths:
        file.seek(place + 4)
        sizes = file.read(4 * layers)
        if sum(struct.unpack(f"<{len(sizes) // 4}I", sizes[: len(sizes) // 4 * 4])) > length:
            raise _damaged(path, f"the layers of a chunk do not fit into its {length:,} bytes")
        place += length


def _table(path: Path, file: IO[bytes], begin: int, size: int) -> tuple[int, int]:
    """Where the table is, and its number of chunks."""
    file.seek(begin)
    place = file.read(8)
    if place == b"\xff" * 8:  # written where the writer could not go back
        file.seek(max(size - 8, 0))
        place = file.read(8)
    table = struct.unpack("<q", place)[0] if len(place) == 8 else -1
    if not begin + 8 <= table <= size - 8:
        raise _damaged(path, "its table of chunks is not in the file, which may be cut short")
    file.seek(table + 4)
    return table, struct.unpack("<I", file.read(4))[0]


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged: {reason}; fetch or export it again")
