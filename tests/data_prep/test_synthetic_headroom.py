"""The forest script: the score it prints is scikit-learn's, and raw and prepared rooms give the same one."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from data_prep.synthetic import CLASS_NAMES, generate
from pointseg.errors import InputError

SCRIPT = Path(__file__).parents[2] / "scripts" / "synthetic_headroom.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic_headroom", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_raw_and_prepared_rooms_score_alike_and_under_the_bar(script: ModuleType, tmp_path: Path) -> None:
    generate(tmp_path / "raw", areas=5, rooms_per_area=4, density=60, seed=0, workers=1)
    rooms = script.read_raw(tmp_path / "raw")
    for folder in sorted((tmp_path / "raw").glob("*/*")):
        scene = tmp_path / "prepared" / folder.relative_to(tmp_path / "raw")
        scene.mkdir(parents=True)
        clouds = {file.stem: np.loadtxt(file, ndmin=2) for file in sorted((folder / "Annotations").iterdir())}
        cloud = np.concatenate(list(clouds.values()))
        labels = [CLASS_NAMES.index(name.rsplit("_", 1)[0]) for name in clouds]
        np.save(scene / "coord.npy", cloud[:, :3].astype(np.float32))
        np.save(scene / "color.npy", cloud[:, 3:].astype(np.uint8))
        np.save(scene / "segment.npy", np.repeat(labels, [len(part) for part in clouds.values()]).astype(np.int16))
    prepared = script.read_prepared(tmp_path / "prepared")
    assert sorted(rooms) == sorted(prepared)
    for name, (features, label) in rooms.items():
        assert np.allclose(features, prepared[name][0], atol=1e-5)
        assert np.array_equal(label, prepared[name][1])
    iou = script.forest(rooms, points=1000, trees=5, seed=0)
    assert 10 < 100 * np.nanmean(iou) < script.FOREST_BAR


def test_scores_are_those_of_scikit_learn(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(CLASS_NAMES), 3000)
    guess = np.where(rng.random(3000) < 0.6, label, rng.integers(0, len(CLASS_NAMES), 3000))

    class Fixed:
        def __init__(self, *args: object, **kwargs: object) -> None: ...

        def fit(self, features: np.ndarray, label: np.ndarray) -> None: ...

        def predict(self, features: np.ndarray) -> np.ndarray:
            return guess

    monkeypatch.setattr(script, "RandomForestClassifier", Fixed)
    room = (np.zeros((3000, 4), np.float32), label)
    iou = script.forest({"Area_1/a": room, "Area_5/b": room}, points=10, trees=1, seed=0)
    assert np.allclose(iou, jaccard_score(label, guess, average=None))


def test_folders_without_rooms_are_refused(script: ModuleType, tmp_path: Path) -> None:
    for read in (script.read_raw, script.read_prepared):
        with pytest.raises(InputError, match="holds no"):
            read(tmp_path)
    with pytest.raises(InputError, match="Area_5"):
        script.forest({"Area_1/a": (np.zeros((5, 4)), np.zeros(5, int))}, points=1, trees=1, seed=0)
