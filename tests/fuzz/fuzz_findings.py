"""What the tests of single findings have in common."""

import struct

import pytest
from fuzz_oracle import check_file
from fuzz_parsers import PARSERS

from pointseg.errors import InputError


def refused(name, data, tmp_path, allowance=96 << 20):
    """The message with which a parser refuses a file, within the bounds on time and memory."""
    parser = PARSERS[name]
    path = parser.place(tmp_path)
    sample = parser.samples()[0]
    path.write_bytes(sample.join(sample.parts))
    parser.read(path)
    path.write_bytes(data)
    assert not check_file(parser.read, path, allowance)
    with pytest.raises(InputError) as caught:
        parser.read(path)
    return str(caught.value)


def npy(header, data=b""):
    """An array file of a header's text and the bytes behind it."""
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header.encode() + data


def array_header(shape, descr="'<f4'"):
    """The text of an array file's header."""
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


def with_number(data, place, form, value):
    """The bytes with a number packed into them."""
    struct.pack_into(form, data, place, value)
    return bytes(data)


def written(path, data):
    """The path, after writing."""
    path.write_bytes(data)
    return path
