"""Arrays written by stretches, against ``np.save``."""

import numpy as np
import pytest

from pointseg.data.voxel_files import ArrayWriter, read_array


@pytest.mark.parametrize(("dtype", "columns"), [(np.float32, 3), (np.int16, 1), (np.uint8, 3)])
def test_bytes_of_np_save(tmp_path, dtype, columns):
    whole = np.arange(105, dtype=dtype).reshape((-1, 3) if columns == 3 else -1)
    with ArrayWriter(tmp_path / "a.npy", dtype, columns) as writer:
        writer.append(whole[:10])
        writer.append(whole[10:10])
        writer.append(np.asfortranarray(whole[10:]))
    np.save(tmp_path / "b.npy", whole)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    pieces = list(read_array(tmp_path / "a.npy", 13))
    assert {len(piece) for piece in pieces[:-1]} == {13}
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_header_of_any_number_of_rows_takes_the_same_room(tmp_path):
    sizes = set()
    for rows in (1, 10**15):
        with ArrayWriter(tmp_path / "a.npy", np.uint8, 3) as writer:
            writer.append(np.full((1, 3), 7, np.uint8))
            writer.rows = rows
        sizes.add((tmp_path / "a.npy").stat().st_size)
        with (tmp_path / "a.npy").open("rb") as file:
            np.lib.format.read_magic(file)
            assert np.lib.format.read_array_header_1_0(file)[0] == (rows, 3)
            assert file.read() == b"\7\7\7"
    assert len(sizes) == 1
