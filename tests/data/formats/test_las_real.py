"""Real tiles of national and photogrammetric surveys, where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from pointseg.data.formats import inspect_cloud, iter_cloud, read_cloud, write_predictions

laspy = pytest.importorskip("laspy")
DATA = os.environ.get("POINTSEG_TEST_DATA")
FILES = sorted((Path(DATA or ".") / "urban").glob("*.laz")) if DATA else []
pytestmark = pytest.mark.skipif(not FILES, reason="POINTSEG_TEST_DATA holds no LAZ tiles")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_real_tile(path, tmp_path):
    old = laspy.read(str(path))
    found = read_cloud(path)
    np.testing.assert_array_equal(found.coord, np.stack([old.x, old.y, old.z], axis=1))
    np.testing.assert_array_equal(found.label, old.classification)
    assert sum(len(chunk.coord) for chunk in iter_cloud(path, chunk_points=30_001)) == len(old.x)
    if found.color is not None:
        red = np.asarray(old.red)
        np.testing.assert_array_equal(found.color[:, 0], red // 256 if red.max() > 255 else red)
    pred = np.arange(len(old.x)) % 7
    write_predictions(path, tmp_path / "pred.laz", pred, confidence=pred / 7)
    new = laspy.read(str(tmp_path / "pred.laz"))
    for name in old.points.array.dtype.names:
        assert old.points.array[name].tobytes() == new.points.array[name].tobytes(), name
    for name in old.point_format.dimension_names:
        np.testing.assert_array_equal(old[name], new[name])
    np.testing.assert_array_equal(new["pred"], pred)
    for name in ("scales", "offsets", "version"):
        np.testing.assert_array_equal(getattr(old.header, name), getattr(new.header, name))
    # The bounds are computed anew: some of these files state them finer than their points are.
    np.testing.assert_allclose(new.header.mins, found.coord.min(axis=0), atol=1e-6)
    assert old.header.point_format.id == new.header.point_format.id
    records = [
        {(r.user_id, r.record_id): r.record_data_bytes() for r in las.header.vlrs if r.user_id != "LASF_Spec"}
        for las in (old, new)
    ]
    assert records[0] == records[1]
    crs = inspect_cloud(path).crs
    assert crs == inspect_cloud(tmp_path / "pred.laz").crs
    if "770" in path.name:
        assert "Lambert-93" in crs or crs.startswith("EPSG:2154"), "the tiles' name says so"
