"""Small prepared scenes and sparse labels, and what reading one promises."""

import io
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from fuzz_clouds import POINTS
from fuzz_containers import npy_sample
from fuzz_mutations import Sample
from fuzz_own_files import CLASSES, prepared

from pointseg.data.label_clicks import import_clicks
from pointseg.data.scene import open_scene
from pointseg.data.sparse_labels import draw, open_labels

VOXEL = 0.5


def drawn(folder: Path) -> None:
    """The root of ``prepared``, with a draw."""
    prepared(folder)
    draw(folder / "root", "1pt", seed=0, voxel_size=VOXEL, splits=["all"], name="drawn")


def clicked(folder: Path) -> None:
    """The root of ``prepared``, with a click on its first point."""
    prepared(folder)
    x, y, z = open_scene(folder / "root" / "all" / "x").coord[0].tolist()
    (folder / "clicks.csv").write_text(f"x,y,z,class\n{x},{y},{z},wall\n")
    import_clicks(folder / "root", folder / "clicks.csv", splits=["all"], name="drawn")


@cache
def _files(write: Callable[[Path], None]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        return {str(p.relative_to(name)): p.read_bytes() for p in Path(name).rglob("*") if p.is_file()}


def text(file: str, write: Callable[[Path], None] = drawn) -> list[Sample]:
    """A JSON file of the root."""
    return [Sample((_files(write)[file],))]


def array(file: str, write: Callable[[Path], None] = drawn) -> list[Sample]:
    """An array of the root; its header's text and its numbers are damaged apart."""
    return [npy_sample(np.load(io.BytesIO(_files(write)[file])))]


def _root(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.name == "root")


def read_scene(path: Path) -> None:
    """Everything a training reads of the scene that a file belongs to."""
    scene = open_scene(_root(path) / "all" / "x")
    n = scene.num_points
    assert n == POINTS
    assert (scene.coord.shape, scene.coord.dtype) == ((n, 3), np.float32)
    assert scene.offset.shape == (3,)
    assert np.isfinite(scene.offset).all()
    for values, dtype in ((scene.segment, np.int16), (scene.instance, np.int32)):
        assert values is None or (values.shape, values.dtype) == ((n,), dtype)
    for size in scene.voxel_sizes:
        grid = scene.sound_grid(size)
        assert np.isfinite(scene.coord[grid.point]).all()
        assert (grid.coord[grid.inverse].shape, grid.coord.dtype) == ((n, 3), np.int32)


def read_labels(path: Path) -> None:
    """Everything a training reads of the draw that a file belongs to."""
    labels = open_labels(_root(path), "drawn")
    index, label = labels.for_scene(open_scene(_root(path) / "all" / "x"))
    assert (index.dtype, label.dtype, index.shape) == (np.int64, np.int16, label.shape)
    assert len(index) == 0 or 0 <= index.min() <= index.max() < POINTS
    assert len(label) == 0 or 0 <= label.min() <= label.max() < CLASSES.num_classes
    assert labels.counts.shape == (len(labels.spec["classes"]),)
    assert (labels.source is None) == (labels.spec["rule"] is not None)
