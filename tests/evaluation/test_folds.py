"""Cross-validation: what may be pooled, and that pooling is scoring everything at once."""

import numpy as np
import pytest

from pointseg.data.scene import list_scenes
from pointseg.errors import InputError
from pointseg.evaluation import evaluate_scenes, pooled
from pointseg.evaluation.folds import Fold, check_folds
from pointseg.inference import ScenePrediction

AREAS = [f"Area_{k}" for k in range(1, 7)]
NAMES = tuple(f"class {k}" for k in range(13))


def guess(scene):
    """Every voxel of an even number right, the others class 1."""
    grid = scene.grid(0.1)
    voxel_pred = np.where(np.arange(len(grid.coord)) % 2 == 0, grid.segment, 1).astype(np.int16)
    return ScenePrediction(grid, voxel_pred, np.full(len(voxel_pred), 0.7, np.float32))


def test_pooled_folds_are_one_evaluation_of_all_scenes(rooms_root):
    areas = ["Area_1", "Area_2", "Area_5"]
    folds = [evaluate_scenes(list_scenes(rooms_root, [area]), guess, NAMES) for area in areas]
    together, whole = pooled(folds), evaluate_scenes(list_scenes(rooms_root), guess, NAMES)
    np.testing.assert_array_equal(together.matrix, whole.matrix)
    np.testing.assert_array_equal(together.matrix_voxel, whole.matrix_voxel)
    assert together.as_json() == whole.as_json()
    with pytest.raises(InputError, match="Area_1/office_1 was scored by two runs"):
        pooled([folds[0], whole])


def test_folds_must_be_disjoint_and_complete():
    good = {f"run{k}": Fold([area], []) for k, area in enumerate(AREAS)}
    check_folds(good, AREAS)
    with pytest.raises(InputError, match="no run holds out Area_6"):
        check_folds({name: fold for name, fold in good.items() if name != "run5"}, AREAS)
    with pytest.raises(InputError, match="Area_1 is held out by run0 and by again"):
        check_folds({**good, "again": Fold(["Area_1"], [])}, AREAS)
    with pytest.raises(InputError, match="run0 was trained on Area_1"):
        check_folds({**good, "run0": Fold(["Area_1"], ["Area_1", "Area_2"])}, AREAS)
    with pytest.raises(InputError, match="run0 holds out no split"):
        check_folds({**good, "run0": Fold([], [])}, AREAS)
