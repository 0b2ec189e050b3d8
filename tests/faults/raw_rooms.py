"""Small rooms in S3DIS's native layout, prepared through the library and through the command."""

import numpy as np

from data_prep import s3dis
from data_prep._jobs import Store, prepare_scenes
from data_prep._main import run_module
from pointseg.data.classes import load_classes

CLASSES = load_classes("s3dis")


def write_room(raw, room, n=60, seed=0):
    """A room of a floor and a chair in S3DIS's native layout."""
    rng = np.random.default_rng(seed)
    folder = raw / room / "Annotations"
    folder.mkdir(parents=True)
    for name, count in (("floor_1", n), ("chair_1", n // 2)):
        rows = np.hstack([rng.uniform(-3, 3, (count, 3)), rng.integers(0, 256, (count, 3))])
        np.savetxt(folder / f"{name}.txt", rows, fmt="%.3f %.3f %.3f %d %d %d")
    return folder


def write_rooms(raw):
    """Three rooms of different sizes in two areas."""
    for seed, room in enumerate(("Area_1/office_1", "Area_1/office_2", "Area_5/hall_1")):
        write_room(raw, room, 60 + 30 * seed, seed)
    return raw


def prepare(raw, out, *, voxel_sizes=(0.5,), workers=1):
    return prepare_scenes(s3dis.jobs(raw, CLASSES), Store(out, "s3dis", CLASSES, voxel_sizes), workers=workers)


def command(raw, out, *more):
    arguments = ["--raw", str(raw), "--out", str(out), "--voxel-size", "0.5", "--workers", "1", *more]
    return run_module(s3dis.HELP, s3dis.add_arguments, s3dis.run, arguments)


def statuses(report):
    return {result.name: result.status for result in report.results}


def content(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def undisturbed(raw, tmp_path):
    """What the root holds after a run in which nothing goes wrong."""
    prepare(raw, tmp_path / "undisturbed")
    return content(tmp_path / "undisturbed")
