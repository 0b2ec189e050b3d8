"""Files put together again after damage inside them: E57's checksums, NumPy's header length, zip archives, LZF."""

import io
import json
import struct
import zipfile
from collections.abc import Sequence

import numpy as np
from fuzz_mutations import Sample

_PAGE, _SUM = 1024, 4


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _crc_table()


def _crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFF


def e57_sample(file: bytes) -> Sample:
    """The header, the points and the XML of an E57 file without checksums; joining adds them."""
    content = b"".join(file[at : at + _PAGE - _SUM] for at in range(0, len(file), _PAGE))
    xml = content.index(b"<?xml")
    return Sample((content[:48], content[48:xml], content[xml:]), _e57)


def _e57(parts: Sequence[bytes]) -> bytes:
    content, step = b"".join(parts), _PAGE - _SUM
    pages = [content[at : at + step].ljust(step, b"\0") for at in range(0, len(content), step)]
    return b"".join(page + struct.pack(">I", _crc32c(page)) for page in pages)


def npy_bytes(array: np.ndarray) -> bytes:
    """A ``.npy`` file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_sample(array: np.ndarray) -> Sample:
    """The header's text and the data; joining states the header's length."""
    data = npy_bytes(array)
    length = struct.unpack_from("<H", data, 8)[0]
    return Sample((data[10 : 10 + length], data[10 + length :]), _npy)


def _npy(parts: Sequence[bytes]) -> bytes:
    header, data = parts
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + data


def npz_sample(arrays: dict[str, np.ndarray], compression: int) -> Sample:
    """The members' headers and data; joining zips them."""
    members = [npy_sample(array) for array in arrays.values()]

    def join(parts: Sequence[bytes]) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as archive:
            for i, name in enumerate(arrays):
                archive.writestr(f"{name}.npy", _npy(parts[2 * i : 2 * i + 2]))
        return file.getvalue()

    return Sample(tuple(part for member in members for part in member.parts), join)


def zip_sample(file: bytes) -> Sample:
    """The members of an archive; joining zips them again, as they were stored."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}

    def join(parts: Sequence[bytes]) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for info, part in zip(members, parts, strict=True):
                archive.writestr(info.filename, part, info.compress_type)
        return file.getvalue()

    return Sample(tuple(members.values()), join)


def safetensors_sample(file: bytes) -> Sample:
    """The JSON and the numbers; joining states the length of the JSON."""
    length = struct.unpack_from("<Q", file)[0]
    return Sample((file[8 : 8 + length], file[8 + length :]), lambda p: struct.pack("<Q", len(p[0])) + p[0] + p[1])


def text_sample(text: str) -> Sample:
    """Text, its first line apart."""
    head, line, rest = text.partition("\n")
    return Sample(((head + line).encode(), rest.encode()))


def json_sample(value: object) -> Sample:
    """A JSON file."""
    return Sample((json.dumps(value, indent=1).encode(),))
