"""PCD and its compression: LZF against a slow encoder, packed colours, damaged files, promises that are not kept."""

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointseg.data.formats import inspect_cloud, read_cloud, write_predictions
from pointseg.data.formats.lzf import decompress, literals
from pointseg.errors import InputError


def lzf(data):
    """A greedy encoder written from the format's description: the longest earlier copy, else a literal."""
    out, run, i = bytearray(), bytearray(), 0

    def flush():
        for start in range(0, len(run), 32):
            part = run[start : start + 32]
            out.extend([len(part) - 1, *part])
        run.clear()

    while i < len(data):
        best, far = 0, 0
        for begin in range(max(0, i - 8192), i):
            length = 0
            while length < 264 and i + length < len(data) and data[begin + length] == data[i + length]:
                length += 1
            if length > best:
                best, far = length, i - begin
        if best >= 3:
            flush()
            distance, length = far - 1, best - 2
            if length < 7:
                out.extend([length << 5 | distance >> 8, distance & 255])
            else:
                out.extend([7 << 5 | distance >> 8, length - 7, distance & 255])
            i += best
        else:
            run.append(data[i])
            i += 1
    flush()
    return bytes(out)


@given(st.lists(st.sampled_from([b"a", b"ab", b"abc" * 4, b"\0" * 40, b"x" * 300, b"0123456789" * 5]), max_size=12))
def test_lzf_undoes_a_slow_encoder(parts):
    data = b"".join(parts)
    assert decompress(lzf(data), len(data)) == data


@given(st.binary(max_size=200))
def test_lzf_literals(data):
    assert decompress(literals(data), len(data)) == data
    assert len(literals(data)) <= len(data) * 33 / 32 + 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x05abc", "ends within a run"),
        (b"\x00a\x20", "ends within a copy"),
        (b"\x00a\xe0\x00", "ends within a copy"),
        (b"\x00a\x20\x01", "before the beginning"),
        (b"\x00a\xe0\xff\x00", "10 bytes are promised, more are there"),
        (b"\x02abc", "10 bytes are promised, 3 are there"),
    ],
)
def test_lzf_refuses_damage(data, message):
    with pytest.raises(ValueError, match=message):
        decompress(data, 10)


def pcd(count, data, fields="x y z", sizes="4 4 4", types="F F F", more=""):
    head = f"VERSION .7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {types}\n{more}WIDTH {count}\nHEIGHT 1\nPOINTS {count}\n"
    return (head + f"DATA {data}\n").encode()


def test_a_compressed_file_with_copies(tmp_path):
    xyz = np.tile(np.arange(6, dtype="<f4"), (3, 50))  # repeats: the encoder finds copies
    plain = xyz.tobytes()
    packed = lzf(plain)
    assert len(packed) < len(plain) / 4
    path, target = tmp_path / "a.pcd", tmp_path / "b.pcd"
    path.write_bytes(pcd(300, "binary_compressed") + struct.pack("<II", len(packed), len(plain)) + packed)
    np.testing.assert_array_equal(read_cloud(path).coord, xyz.T)
    write_predictions(path, target, np.arange(300))
    body = target.read_bytes().split(b"DATA binary_compressed\n", 1)[1]
    size, whole = struct.unpack_from("<II", body)
    assert size == len(body) - 8
    assert decompress(body[8:], whole) == plain + np.arange(300, dtype="<i2").tobytes()
    np.testing.assert_array_equal(read_cloud(target).coord, xyz.T)


def test_damaged_compressed_files(tmp_path):
    path = tmp_path / "a.pcd"
    for sizes, body, message in [
        ((1000, 1200), b"x" * 50, "1,000 compressed bytes are promised, the file holds 50"),
        ((50, 1300), b"x" * 50, "is damaged: 100 points of 12 bytes do not come from 50"),
        ((2, 1200), b"xx", "is damaged"),
        ((50, 1200), b"\xff" * 50, "before the beginning"),
        ((), b"", "promises 100 points, the file holds 0"),
    ]:
        path.write_bytes(pcd(100, "binary_compressed") + struct.pack(f"<{len(sizes)}I", *sizes) + body)
        with pytest.raises(InputError, match=message):
            read_cloud(path)


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_a_promise_of_a_trillion_points_takes_no_memory(tmp_path, data):
    (tmp_path / "a.pcd").write_bytes(pcd(10**12, data) + struct.pack("<II", 100, 2**32 - 1) + b"\n1 2 3" * 20)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.pcd"):
        read_cloud(tmp_path / "a.pcd")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_packed_colours(tmp_path):
    path = tmp_path / "a.pcd"
    bits = 0x0A141E
    as_float = struct.unpack("<f", struct.pack("<I", bits))[0]
    path.write_bytes(pcd(1, "binary", "x y z rgb", "4 4 4 4", "F F F F") + struct.pack("<fffI", 1, 2, 3, bits))
    assert read_cloud(path).color.tolist() == [[10, 20, 30]]
    for text, kind in [(repr(as_float), "F"), (str(bits), "F"), (str(bits), "U"), (str(0xFF000000 | bits), "U")]:
        path.write_bytes(pcd(1, "ascii", "x y z rgb", "4 4 4 4", f"F F F {kind}") + f"1 2 3 {text}\n".encode())
        assert read_cloud(path).color.tolist() == [[10, 20, 30]], (text, kind)


def test_fields_of_several_values(tmp_path):
    path, target = tmp_path / "a.pcd", tmp_path / "b.pcd"
    start = pcd(2, "ascii", "x y z hist label", "4 4 4 4 4", "F F F F U", "COUNT 1 1 1 3 1\n")
    path.write_bytes(start + b"1 2 3 .1 .2 .3 5\n4 5 6 .4 .5 .6 7\n")
    found = read_cloud(path)
    assert found.coord.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found.label.tolist() == [5, 7]
    assert inspect_cloud(path).fields == ("x", "y", "z", "hist", "label")
    write_predictions(path, target, np.array([8, 9]))
    assert target.read_bytes().endswith(b"DATA ascii\n1 2 3 .1 .2 .3 5 8\n4 5 6 .4 .5 .6 7 9\n")
    assert b"\nCOUNT 1 1 1 3 1 1\n" in target.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"POINTS 2", b"POINTS 3", "POINTS is 3, WIDTH x HEIGHT is 2"),
        (b"WIDTH 2\n", b"", "WIDTH is missing"),
        (b"TYPE F F F", b"TYPE F F X", "no type X of size 4"),
        (b"SIZE 4 4 4", b"SIZE 4 4", "shorter"),
        (b"FIELDS x y z", b"FIELDS x y y", "occurs more than once"),
        (b"FIELDS x y z", b"FIELDS x y w", "no coordinates x, y, z; its fields are x, y, w"),
        (b"DATA ascii", b"DATA morse", "DATA is 'morse'"),
        (b"7 8 9", b"7 8", "line 10: 2 columns where 3 are expected"),
        (b"7 8 9", b"", "promises 2 points, the file holds 1"),
    ],
)
def test_damaged_files(tmp_path, old, new, message):
    content = pcd(2, "ascii") + b"4 5 6\n7 8 9\n"
    assert old in content
    (tmp_path / "a.pcd").write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_cloud(tmp_path / "a.pcd")
