"""Small prepared rooms that the tests of training, evaluating and predicting share, and how Triton runs."""

import os
import signal
import sys

import hypothesis
import numpy as np
import pytest
import torch

from pointseg.data.classes import load_classes, save_classes
from pointseg.data.scene import write_scene
from pointseg.data.sparse_labels import draw

# Without a GPU its kernels are interpreted. Triton reads this while it is imported, for its own library too, and much
# of torch imports it; so it is set before any test module is.
if not torch.cuda.is_available():
    assert "triton" not in sys.modules, "triton was imported before its interpreter could be chosen"
    os.environ["TRITON_INTERPRET"] = "1"

# Where a script starts the tests in its background, Ctrl-C is ignored, also by every process that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples take as long as the machine is busy.
hypothesis.settings.register_profile("pointseg", deadline=None)
hypothesis.settings.load_profile("pointseg")

FLOOR, WALL, TABLE, CHAIR = 1, 2, 7, 8
VOXEL = 0.1


def room(seed):
    """A floor, two walls, a table top and a chair: (coord (N, 3), color (N, 3), segment (N,))."""
    rng = np.random.default_rng(seed)
    width, depth = rng.uniform(2.0, 3.0, size=2)
    patches = [
        (FLOOR, (0, 0, 0), (width, depth, 0), 1500, (120, 110, 100)),
        (WALL, (0, 0, 0), (width, 0, 2.0), 1000, (200, 200, 195)),
        (WALL, (0, 0, 0), (0, depth, 2.0), 1000, (200, 200, 195)),
        (TABLE, (0.5, 0.5, 0.7), (1.5, 1.3, 0.7), 500, (150, 100, 60)),
        (CHAIR, (1.6, 0.5, 0.4), (2.0, 0.9, 0.45), 250, (40, 40, 60)),
    ]
    coord = np.concatenate([rng.uniform(low, np.add(high, 1e-6), size=(n, 3)) for _, low, high, n, _ in patches])
    color = np.concatenate([rng.normal(rgb, 12, size=(n, 3)) for *_, n, rgb in patches])
    segment = np.concatenate([np.full(n, k) for k, _, _, n, _ in patches])
    return coord, color.clip(0, 255).astype(np.uint8), segment.astype(np.int16)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def no_pictures(monkeypatch):
    """Trainings without what takes longest in short ones."""
    monkeypatch.setattr("pointseg.training.notes.explained", lambda *_: {})
    monkeypatch.setattr("pointseg.training.notes.RunNotes.pseudo_labels", lambda *_: None)
    monkeypatch.setattr("pointseg.training.pictures.PredictionPictures.draw", lambda _: {})


@pytest.fixture(scope="session")
def rooms_root(tmp_path_factory):
    """A root with two training rooms, one held-out room, and the draws ``1pt_seed0`` and ``1pct_seed0``."""
    root = tmp_path_factory.mktemp("rooms")
    classes = load_classes("s3dis")
    save_classes(classes, root / "classes.yaml")
    for number, (split, name) in enumerate([("Area_1", "office_1"), ("Area_2", "office_1"), ("Area_5", "office_1")]):
        coord, color, segment = room(number)
        write_scene(
            root,
            split,
            name,
            coord=coord,
            color=color,
            segment=segment,
            dataset="s3dis",
            sources=[],
            repairs=[],
            voxel_sizes=[VOXEL],
        )
    for rule in ("1pt", "1%"):
        draw(root, rule, seed=0, voxel_size=VOXEL, splits=["Area_1", "Area_2"])
    return root
