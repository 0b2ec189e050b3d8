"""LZF, the compression of binary PCD files.

The format, as Marc Lehmann's liblzf defines it: a control byte below 32 starts a run of that many plus one literal
bytes; any other is a copy of earlier output, length in its upper three bits (7: one more byte follows) plus two,
distance in its lower five and the next byte, plus one.
"""

from __future__ import annotations

import numpy as np

_LONGEST_RUN = 32
MOST_EXPANSION = 89
"""A copy turns three bytes into at most 264."""


def decompress(data: bytes, size: int) -> bytes:
    """Undo LZF.

    Args:
        data: Compressed bytes.
        size: How many bytes come out; memory grows with what is there, not with this promise.

    Raises:
        ValueError: The data is damaged, or holds another number of bytes.
    """
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        control = data[at]
        at += 1
        if control < _LONGEST_RUN:
            run = control + 1
            out += data[at : at + run]
            at += run
            if at > end:
                raise ValueError("the compressed data ends within a run")
        else:
            length = (control >> 5) + 2
            needed = 2 if length == 9 else 1
            if at + needed > end:
                raise ValueError("the compressed data ends within a copy")
            if length == 9:
                length += data[at]
                at += 1
            distance = ((control & 31) << 8) + data[at] + 1
            at += 1
            begin = len(out) - distance
            if begin < 0:
                raise ValueError("a copy refers to before the beginning")
            piece = out[begin : begin + length]
            # A copy may reach into what it is writing: it repeats then.
            out += piece if len(piece) == length else (piece * (length // len(piece) + 1))[:length]
        if len(out) > size:
            break
    if len(out) != size:
        raise ValueError(f"{size} bytes are promised, {'more' if len(out) > size else len(out)} are there")
    return bytes(out)


def literals(data: bytes) -> bytes:
    """LZF that stores the data as it is: valid anywhere in a stream, 3 % larger than the data."""
    whole = len(data) // _LONGEST_RUN
    runs = np.empty((whole, _LONGEST_RUN + 1), np.uint8)
    runs[:, 0] = _LONGEST_RUN - 1
    runs[:, 1:] = np.frombuffer(data, np.uint8, whole * _LONGEST_RUN).reshape(whole, _LONGEST_RUN)
    rest = data[whole * _LONGEST_RUN :]
    return runs.tobytes() + (bytes([len(rest) - 1]) + rest if rest else b"")
