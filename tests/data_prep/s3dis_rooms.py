"""Rooms in S3DIS's native layout with points at random, and a way to prepare them."""

import numpy as np

from data_prep import s3dis
from data_prep._jobs import Store, prepare_scenes
from pointseg.data.classes import load_classes

CLASSES = load_classes("s3dis")


def write_object(raw, room, name, n, seed=0):
    """Write ``raw/<room>/Annotations/<name>.txt`` with n points; returns (n, 6) as written."""
    rng = np.random.default_rng([seed, n])
    rows = np.hstack([rng.uniform(-3, 3, (n, 3)).round(3), rng.integers(0, 256, (n, 3))])
    folder = raw / room / "Annotations"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{x:.3f} {y:.3f} {z:.3f} {r:.0f} {g:.0f} {b:.0f}\n" for x, y, z, r, g, b in rows]
    (folder / f"{name}.txt").write_text("".join(lines))
    return rows


def write_areas(raw):
    """Three rooms of a floor and a chair in two areas; returns ``raw``."""
    for room in ("Area_1/office_1", "Area_1/hallway_2", "Area_5/office_1"):
        write_object(raw, room, "floor_1", 50)
        write_object(raw, room, "chair_1", 20, seed=1)
    return raw


def prepare(raw, out, *, classes=CLASSES, voxel_sizes=(0.5,), areas=None, workers=1, dataset="s3dis"):
    jobs = s3dis.jobs(raw, classes, areas)
    return prepare_scenes(jobs, Store(out, dataset, classes, tuple(voxel_sizes)), workers=workers)


def statuses(report):
    return {result.name: result.status for result in report.results}
