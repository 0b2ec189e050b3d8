"""What fuzzing once found in cloud files: every one of them is refused in one line now, or read."""

import io
import struct

import fuzz_clouds
import laspy
import lazrs
import numpy as np
import pytest
from fuzz_findings import refused, with_number, written
from fuzz_parsers import PARSERS

from pointseg.data.formats import read_cloud, write_predictions
from pointseg.errors import InputError

HUGE = 1 << 40


def _laz(point_format=6):
    header = laspy.LasHeader(point_format=point_format, version="1.4")
    cloud = laspy.LasData(header, laspy.ScaleAwarePointRecord.zeros(12, header=header))
    cloud.X = np.arange(12)
    data = io.BytesIO()
    cloud.write(data, do_compress=True)
    return bytearray(data.getvalue()), laspy.open(io.BytesIO(data.getvalue())).header.offset_to_point_data


def test_laz_files_that_would_end_the_process(tmp_path):
    data, start = _laz()
    table = struct.unpack_from("<q", data, start)[0]
    assert "cannot be 2,863,311,530 chunks" in refused(
        "laz", with_number(data, table + 4, "<I", 0xAAAAAAAA), tmp_path / "a"
    )
    data, start = _laz()
    layer = start + 8 + 30 + 4
    assert "the layers of a chunk do not fit" in refused("laz", with_number(data, layer, "<I", 2**31), tmp_path / "b")
    data, start = _laz()
    assert "table of chunks is not in the file" in refused("laz", with_number(data, start, "<q", 2**62), tmp_path / "c")
    data, _ = _laz()
    assert "its chunks at most 50,000" in refused("laz", with_number(data, 247, "<Q", 2**40), tmp_path / "d")


@pytest.mark.parametrize("points", [1, 50_000, 50_001])
@pytest.mark.parametrize("point_format", [3, 6, 8])
def test_laz_files_of_one_and_two_chunks_are_read(point_format, points, tmp_path):
    header = laspy.LasHeader(point_format=point_format)
    cloud = laspy.LasData(header, laspy.ScaleAwarePointRecord.zeros(points, header=header))
    cloud.X = np.arange(points)
    cloud.write(str(tmp_path / "a.laz"))
    with (tmp_path / "a.laz").open("rb") as file, laspy.open(file) as reader:
        file.seek(reader.header.offset_to_point_data)
        record = lazrs.LazVlr(reader.header.vlrs.get("LasZipVlr")[0].record_data)
        assert len(lazrs.read_chunk_table(file, record)) == 1 + (points > 50_000)
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.laz").coord[:, 0], cloud.x)


def _las(**fields):
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.add_extra_dims([laspy.ExtraBytesParams(name, kind) for name, kind in fields.items()])
    cloud = laspy.LasData(header, laspy.ScaleAwarePointRecord.zeros(5, header=header))
    cloud.X = np.arange(5)
    cloud.evlrs = laspy.vlrs.vlrlist.VLRList([laspy.VLR("company", 5, "a word", b"kept")])
    data = io.BytesIO()
    cloud.write(data)
    return data.getvalue()


def test_a_las_field_of_no_size(tmp_path):
    data = bytearray(_las(mine="3f4"))
    place = data.index(b"mine\0") - 4  # reserved (2), type, options, name
    assert "a field of no size" in refused("las", with_number(data, place + 2, "<H", 0), tmp_path)


def test_a_las_record_of_another_alphabet_is_carried_over(tmp_path):
    (tmp_path / "a.las").write_bytes(_las().replace(b"a word", b"a w\xf6rd"))
    write_predictions(tmp_path / "a.las", tmp_path / "b.las", np.arange(5))
    assert b"a w\xf6rd" in (tmp_path / "b.las").read_bytes()
    assert read_cloud(tmp_path / "b.las", label_field="pred").label.tolist() == [0, 1, 2, 3, 4]


def test_a_las_field_with_a_colon_cannot_be_written_back(tmp_path):
    (tmp_path / "a.las").write_bytes(_las(mine="f4").replace(b"mine\0", b"m:ne\0"))
    with pytest.raises(InputError, match="cannot write a colon"):
        write_predictions(tmp_path / "a.las", tmp_path / "b.las", np.arange(5))


def test_an_extended_las_record_beyond_the_end_makes_no_room(tmp_path):
    data = bytearray(_las())
    at = data.rindex(b"company\0")
    PARSERS["las"].read(written(tmp_path / "a.las", with_number(data, at + 18, "<Q", HUGE)))


def test_blank_lines_in_a_ply_header(tmp_path):
    head, body = fuzz_clouds.ply()[2].parts
    path = written(tmp_path / "a.ply", head.replace(b"property", b"\nproperty", 1) + body)
    write_predictions(path, tmp_path / "b.ply", np.arange(fuzz_clouds.POINTS))
    assert len(read_cloud(tmp_path / "b.ply").coord) == fuzz_clouds.POINTS


def test_a_pcd_header_with_an_entry_twice(tmp_path):
    head, body = fuzz_clouds.pcd()[0].parts
    assert "stands there twice" in refused("pcd", head.replace(b"VERSION", b"FIELDS x\nVERSION") + body, tmp_path)


@pytest.mark.parametrize("name", ["ply", "labelled ply", "scannet mesh", "sensaturban tile"])
def test_ply_rows_that_cannot_be_there(name, tmp_path):
    lists = "property list uchar int vertex_indices\n"
    text = f"ply\nformat ascii 1.0\nelement vertex {1 << 31}\nproperty float x\n{lists}end_header\n1 0\n"
    assert "cut short" in refused(name, text.encode(), tmp_path)


@pytest.mark.parametrize("name", ["scannet mesh", "scannet labels", "sensaturban tile"])
def test_ply_text_with_a_number_beyond_its_type(name, tmp_path):
    head, body = PARSERS[name].samples()[1].parts
    first, rest = body.split(b"\n", 1)
    words = [b"308" if i == 3 else word for i, word in enumerate(first.split())]
    assert refused(name, head + b" ".join(words) + b"\n" + rest, tmp_path)


@pytest.mark.parametrize(("offset", "x"), [("{}", "1"), ("[1]", "1"), ("[NaN, 0, 0]", "1"), ("[0, 0, 0]", "1e300")])
def test_coordinates_that_a_view_cannot_show(offset, x, tmp_path):
    fields = "".join(f"property double {axis}\n" for axis in "xyz")
    text = f"ply\nformat ascii 1.0\ncomment pointseg offset {offset}\nelement vertex 1\n{fields}end_header\n{x} 2 3\n"
    assert refused("labelled ply", text.encode(), tmp_path)


def test_a_comment_does_not_become_a_header_by_added_columns(tmp_path):
    path = written(tmp_path / "a.xyz", b"# of x y z\n1 2 3\n4 5 6\n")
    with pytest.raises(InputError, match="remove that line"):
        write_predictions(path, tmp_path / "b.xyz", np.arange(2))
    assert not (tmp_path / "b.xyz").exists()
