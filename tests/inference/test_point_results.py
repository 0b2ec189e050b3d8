"""Results carried back to points: the same as plain indexing, in little memory, told of as it goes on."""

import re
from pathlib import Path

import numpy as np
import pytest

from pointseg.data.formats import write_predictions
from pointseg.data.voxel_files import read_array
from pointseg.inference.point_results import Column, write_point_results
from pointseg.inference.tile_network import RESULT

STATUS = Path("/proc/self/status")


@pytest.fixture
def written(tmp_path):
    """Results of 5000 voxels, the voxels of 40 000 points in no order, and what was made of them in many stretches."""
    rng = np.random.default_rng(0)
    results, rows, told = np.empty(5000, RESULT), rng.integers(0, 5000, 40_000), []
    results["pred"], results["confidence"], results["entropy"] = rng.integers(0, 99, 5000), *rng.random((2, 5000))
    results.tofile(tmp_path / "results.bin")
    np.save(tmp_path / "rows.npy", rows)
    sizes = []

    def inverse(points):
        for part in read_array(tmp_path / "rows.npy", points):
            sizes.append(len(part))
            yield part

    columns = write_point_results(tmp_path / "results.bin", inverse, tmp_path, 500_000, told.append)
    assert 5 < len(sizes) < 100
    return results[rows], columns, told


def test_every_point_gets_its_voxels_result(written):
    expected, columns, _ = written
    for name, column in zip(RESULT.names, columns, strict=True):
        assert column.dtype == RESULT[name]
        np.testing.assert_array_equal(np.asarray(column), expected[name])
        np.testing.assert_array_equal(column[100:300], expected[name][100:300])
        assert column[-1] == expected[name][-1]
        assert column[5] == expected[name][5]
        assert len(column[7:7]) == 0


@pytest.mark.parametrize("suffix", ["npy", "xyz"])
def test_the_writers_take_columns_and_tell_how_far_they_are(written, tmp_path, suffix):
    expected, columns, told = written
    coord = np.random.default_rng(1).random((40_000, 3)).astype(np.float32)
    source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    np.save(source, coord) if suffix == "npy" else np.savetxt(source, coord, fmt="%.3f")
    write_predictions(source, target, columns[0], confidence=columns[1], entropy=columns[2])
    table = np.load(target) if suffix == "npy" else np.loadtxt(target)
    np.testing.assert_array_equal(table[:, 3], expected["pred"])
    np.testing.assert_allclose(table[:, 4], expected["confidence"], rtol=1e-5)
    assert told
    assert max(told) <= 40_000


@pytest.mark.skipif(not STATUS.is_file(), reason="what is mapped is read from Linux's /proc")
def test_pages_are_given_back_as_the_column_is_gone_through(tmp_path):
    def mapped():
        return int(re.search(r"RssFile:\s+(\d+)", STATUS.read_text())[1]) * 1024

    points = 16_000_000
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (points,)})
        file.truncate(file.tell() + 4 * points)
    column, told, most = Column.of(tmp_path / "a.npy"), [], []
    column.on_points, before = told.append, mapped()
    for start in range(0, points, 1_000_000):
        assert column[start : start + 1_000_000].sum() == 0
        most.append(mapped() - before)
    assert told == list(range(1_000_000, points + 1, 1_000_000))
    for row in range(0, points, 1024):
        assert column[row] == 0
        most.append(mapped() - before) if row % 65536 == 0 else None
    # A slice of it is 4 MB, all of it 64 MB.
    assert max(most) < 16e6
