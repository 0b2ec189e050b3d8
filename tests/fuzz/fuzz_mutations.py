"""Damage done to small valid files: bytes, header numbers, words, encodings."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass(frozen=True)
class Sample:
    """A valid file in parts that are damaged one at a time.

    Attributes:
        parts: A header apart from what follows, for example: damage then meets it as often as the rest.
        join: Makes the file. Checksums, lengths and compression that would hide the damage are made anew here.
    """

    parts: tuple[bytes, ...]
    join: Callable[[Sequence[bytes]], bytes] = b"".join


NUMBERS = (0, 1, 2, 127, 255, 2**15, 2**16 - 1, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)

_ASCII_WORDS = r"""
nan -inf 1e400 -1e400 1e-400 -1 0 3 255 256 65536 2147483648 4294967295 4294967296
9223372036854775807 9223372036854775808 18446744073709551616 -9223372036854775809 1e9 1e18 1e19 -0.0
0.5 .5 1,5 1_000 0x1F 1e 0b0 1:2:3 ' " \ | > - ? : [ ] { } true null ~ .nan .inf [] {} "" [[]] [1]
{"a":1} [1,2,3] list uchar char double float ascii binary F U I S NaN Infinity -Infinity 2001-99-99
!!timestamp !!binary !!int !!float !!set !!omap !!python/object/apply:os.system &a *a &a[*a] {<<:*a}
<<: |O |V8 <U4 >f8 <f2 <c16 |b1 <M8[ns] (3,) (2,-1) (0,3) (9223372036854775807,3)
(4294967296,4294967296)
"""
WORDS = (
    b"",
    b" ",
    b"\n",
    b"\r",
    b"\t",
    b"\0",
    b"\x0c",
    b"\x1b[31m",
    b"\x85",
    b"\xff\xfe",
    "²".encode(),
    "٣".encode(),
    "\u2028".encode(),
    "\U0001f600".encode(),
    b"9" * 5000,
    b"x" * 3000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b"(" * 3000,
    b"- " * 3000,
    b"1 " * 3000,
    *(word.encode() for word in _ASCII_WORDS.split()),
)
_WORD = re.compile(rb"[^\s,;:=|{}\[\]()\"'<>/]+")


def samples_damaged(samples: Sequence[Sample]) -> st.SearchStrategy[bytes]:
    """Files made of valid ones by a few steps of damage."""
    return st.builds(
        _damaged, st.sampled_from(samples), st.integers(0, 7), st.lists(_steps(), min_size=1, max_size=4), _endings()
    )


def random_files(samples: Sequence[Sample]) -> st.SearchStrategy[bytes]:
    """Random bytes, half of them after the beginning of a valid file."""
    begins = sorted({b""} | {sample.join(sample.parts)[:n] for sample in samples for n in (4, 8, 80)})
    return st.builds(lambda begin, rest: begin + rest, st.sampled_from(begins), st.binary(max_size=400))


def _damaged(sample: Sample, part: int, steps: list[Callable[[bytes], bytes]], ending: Callable) -> bytes:
    parts = list(sample.parts)
    for step in steps:
        parts[part % len(parts)] = step(parts[part % len(parts)])
    return ending(sample.join(parts))


def _steps() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    place = st.integers(0, 1 << 14)
    length = st.sampled_from((1, 2, 3, 4, 8, 16, 100))
    return st.one_of(
        st.builds(_cut, place),
        st.builds(_flip, place, st.integers(0, 7)),
        st.builds(_insert, place, st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(WORDS))),
        st.builds(_delete, place, length),
        st.builds(_number, place, st.sampled_from((1, 2, 4, 8)), st.sampled_from(NUMBERS), st.booleans()),
        st.builds(_repeat, place, length, st.sampled_from((1, 2, 50))),
        st.builds(_word, place, st.sampled_from(WORDS)),
        st.builds(_word, place, st.sampled_from(WORDS)),
        st.builds(_swap, place, place),
    )


def _endings() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """What is done to a file as a whole; mostly nothing."""
    nothing = st.just(lambda data: data)
    return st.one_of(
        nothing,
        nothing,
        nothing,
        nothing,
        st.sampled_from((_with_mark, _utf16, lambda data: data.replace(b"\n", b"\r\n"), lambda data: data + data)),
        st.builds(_cut, st.integers(0, 1 << 14)),
    )


def _cut(place: int) -> Callable[[bytes], bytes]:
    return lambda data: data[: place % (len(data) + 1)]


def _flip(place: int, bit: int) -> Callable[[bytes], bytes]:
    return lambda data: _with(data, place, 1, lambda old: bytes([old[0] ^ 1 << bit]))


def _insert(place: int, more: bytes) -> Callable[[bytes], bytes]:
    return lambda data: _with(data, place, 0, lambda _: more)


def _delete(place: int, length: int) -> Callable[[bytes], bytes]:
    return lambda data: _with(data, place, length, lambda _: b"")


def _repeat(place: int, length: int, times: int) -> Callable[[bytes], bytes]:
    return lambda data: _with(data, place, length, lambda old: old * (times + 1))


def _number(place: int, size: int, value: int, big: bool) -> Callable[[bytes], bytes]:
    stored = (value % 256**size).to_bytes(size, "big" if big else "little")
    return lambda data: _with(data, place, size, lambda _: stored)


def _word(place: int, new: bytes) -> Callable[[bytes], bytes]:
    def step(data: bytes) -> bytes:
        words = list(_WORD.finditer(data))
        if not words:
            return new
        word = words[place % len(words)]
        return data[: word.start()] + new + data[word.end() :]

    return step


def _swap(first: int, second: int) -> Callable[[bytes], bytes]:
    """Two lines change places."""

    def step(data: bytes) -> bytes:
        lines = data.split(b"\n")
        i, j = first % len(lines), second % len(lines)
        lines[i], lines[j] = lines[j], lines[i]
        return b"\n".join(lines)

    return step


def _with(data: bytes, place: int, length: int, change: Callable[[bytes], bytes]) -> bytes:
    place %= len(data) + (length == 0) or 1
    return data[:place] + change(data[place : place + length] or b"\0") + data[place + length :]


def _with_mark(data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data


def _utf16(data: bytes) -> bytes:
    return data.decode("latin1").encode("utf-16")
