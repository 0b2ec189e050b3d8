"""Real laser tiles prepared as own clouds, where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from data_prep import cloud
from data_prep._jobs import Store, prepare_scenes
from pointseg.data.classes import load_classes
from pointseg.data.scene import list_scenes

laspy = pytest.importorskip("laspy")
DATA = os.environ.get("POINTSEG_TEST_DATA")
FILES = sorted((Path(DATA or ".") / "urban").glob("*.laz")) if DATA else []
pytestmark = pytest.mark.skipif(not FILES, reason="POINTSEG_TEST_DATA holds no LAZ tiles")


def test_real_tiles(tmp_path):
    asprs = load_classes("asprs")
    report = prepare(tmp_path / "out", asprs)
    assert report.failed == ()
    ignored = [result.name for result in report.results if any("64 (113 points)" in r["what"] for r in result.repairs)]
    assert len(ignored) == 2, "two tiles hold a class of the producer's own, which is said"
    scenes = {scene.name: scene for scene in list_scenes(tmp_path / "out")}
    assert len(scenes) == len(FILES) == 7
    for file in FILES:
        old, scene = laspy.read(str(file)), scenes[file.stem]
        np.testing.assert_allclose(scene.coord + scene.offset, np.stack([old.x, old.y, old.z], axis=1), atol=1e-4)
        classification = np.asarray(old.classification)
        for name, source in (("ground", 2), ("high vegetation", 5), ("building", 6)):
            np.testing.assert_array_equal(scene.segment == asprs.index(name), classification == source)
        assert (scene.intensity is None) == (not np.any(old.intensity))
    assert scenes["brighton_small"].color is not None
    crs = [scene.meta["facts"].get("crs", "") for name, scene in scenes.items() if "_770" in name]
    assert len(crs) == 5
    assert all("Lambert-93" in text or "2154" in text for text in crs)


def prepare(out, classes):
    jobs = cloud.jobs([FILES[0].parent], classes)
    return prepare_scenes(jobs, Store(out, "cloud", classes, (0.5,)), workers=1)
