"""The pictures of predictions that TensorBoard and the report get."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from PIL import ImageDraw

from pointseg.training import pictures
from pointseg.training.pictures import WIDTH, PredictionPictures
from pointseg.viewing.colors import numbered_classes
from pointseg.viewing.scores import class_iou

N, K = 30_000, 3


def test_of_a_large_scene_a_share_is_drawn_and_the_numbers_are_the_scenes(monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, K, N)
    # Every third point is right, the others never: a regular pattern that a share may not repeat.
    pred = np.where(np.arange(N) % 3 == 0, np.maximum(truth, 0), (np.maximum(truth, 0) + 1) % K)
    scene = SimpleNamespace(
        split="Area_5", name="hall", num_points=N, coord=rng.random((N, 3)), color=None, segment=truth.astype(np.int16)
    )
    monkeypatch.setattr(pictures, "MAX_POINTS", 2000)
    kept = PredictionPictures(numbered_classes(K))
    kept.look(scene, SimpleNamespace(pred=pred.astype(np.int16)))
    said = []
    write = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda pen, at, text, **how: write(pen, at, said.append(text) or text, **how)
    )
    assert kept.draw()["Area_5/hall"].width == WIDTH
    everything = " ".join(said)
    wrong = 100 * (pred != truth)[truth >= 0].mean()
    assert "30,000 points " in everything
    assert "drawn: 2,000 of 30,000, an even share" in everything
    assert f"mIoU {100 * class_iou(truth, pred, K).mean():.1f} %" in everything
    assert f"{wrong:.1f} % of points wrong" in everything
    vertices, _ = kept.thumbnails()["Area_5/hall"]
    assert vertices.shape == (1, 2000, 3)
