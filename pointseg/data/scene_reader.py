"""Reading prepared scenes: folders of memory-mapped arrays under Pointcept's file names, plus ``meta.json``.

Opening a scene checks every file's header and length, so a damaged scene is refused before anything is trained on
it. Arrays are mapped anew at each access instead of being held: thousands of open scenes need no file handles, and a
scene sent to a data-loading process travels as a path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.data.npy import map_npy
from pointseg.data.scene_meta import AXIS_ALIGNMENT, read_meta
from pointseg.data.voxel import VoxelGrid
from pointseg.errors import InputError

ARRAYS: dict[str, tuple[type[np.generic], int]] = {
    "coord": (np.float32, 3),
    "color": (np.uint8, 3),
    "segment": (np.int16, 1),
    "instance": (np.int32, 1),
    "normal": (np.float32, 3),
    "intensity": (np.float32, 1),
}
"""Arrays of a scene: dtype and columns (1 = a flat array). Only ``coord`` is always there."""

GRID_ARRAYS: dict[str, tuple[type[np.generic], int]] = {
    "coord": (np.int32, 3),
    "point": (np.int64, 1),
    "inverse": (np.int64, 1),
    "color": (np.uint8, 3),
    "segment": (np.int16, 1),
    "intensity": (np.float32, 1),
}
"""Arrays of a stored voxel grid; the last three only where the scene has them."""

AVERAGED = ("color", "segment", "intensity")
"""What a voxel grid takes over from the points."""

LABELS_FOLDER = "sparse_labels"
"""The one folder of a root that is not a split."""


def grid_name(voxel_size: float) -> str:
    """The folder of a stored grid: ``grid_0.05`` for 5 cm.

    Raises:
        InputError: More than six digits, which the name could not hold.
    """
    if float(f"{voxel_size:g}") != voxel_size:
        raise InputError(f"the voxel size {voxel_size} has more than six digits; use {voxel_size:g}")
    return f"grid_{voxel_size:g}"


@dataclass(frozen=True)
class PreparedScene:
    """One scene of N points. Equal to another one if it is the same folder.

    Attributes:
        path: Its folder.
        split: The folder above, such as ``Area_5``.
        name: Such as ``office_1``.
        meta: The content of ``meta.json``.
    """

    path: Path
    split: str
    name: str
    meta: dict[str, Any] = field(compare=False, repr=False)

    @property
    def num_points(self) -> int:
        """N."""
        return int(self.meta["num_points"])

    @property
    def offset(self) -> np.ndarray:
        """(3,) float64 metres: add it to ``coord`` to get the source's coordinates, turned if its axes were aligned."""
        return np.array(self.meta["offset"], dtype=np.float64)

    @property
    def sources(self) -> list[Path]:
        """The raw files it was made from, which may be gone."""
        paths = (entry.get("path") for entry in self.meta.get("sources", []))
        return [Path(path) for path in paths if isinstance(path, str)]

    def located(self, position: np.ndarray) -> np.ndarray:
        """Where positions in the source's own coordinates are in those of ``coord``.

        Args:
            position: (M, 3) metres.

        Returns:
            (M, 3) float64 metres.
        """
        matrix = np.array(self.meta.get("facts", {}).get(AXIS_ALIGNMENT, np.eye(4)), dtype=np.float64)
        return np.asarray(position @ matrix[:3, :3].T + matrix[:3, 3] - self.offset)

    @property
    def coord(self) -> np.ndarray:
        """(N, 3) float32 metres, read-only."""
        return self._array("coord")

    @property
    def color(self) -> np.ndarray | None:
        """(N, 3) uint8, or None. Read-only."""
        return self._optional("color")

    @property
    def intensity(self) -> np.ndarray | None:
        """(N,) float32 strength of the laser's return, in the source's own unit, or None. Read-only."""
        return self._optional("intensity")

    @property
    def segment(self) -> np.ndarray | None:
        """(N,) int16 class, -1 = ignored; None if the scene has no ground truth. Read-only."""
        return self._optional("segment")

    @property
    def instance(self) -> np.ndarray | None:
        """(N,) int32 object number, or None. Read-only."""
        return self._optional("instance")

    @property
    def normal(self) -> np.ndarray | None:
        """(N, 3) float32 unit vectors, or None. Read-only."""
        return self._optional("normal")

    @property
    def voxel_sizes(self) -> tuple[float, ...]:
        """Sizes of the stored grids, metres."""
        return tuple(float(size) for size in self.meta["grids"])

    def grid(self, voxel_size: float) -> VoxelGrid:
        """The stored grid of a size; its arrays are read-only.

        Args:
            voxel_size: Metres.

        Raises:
            InputError: No grid of that size is stored, or it is damaged.
        """
        folder = grid_name(voxel_size)
        if folder not in {grid_name(size) for size in self.voxel_sizes}:
            sizes = ", ".join(f"{size:g}" for size in self.voxel_sizes) or "none"
            raise InputError(
                f"scene {self.split}/{self.name} has no voxel grid of {voxel_size:g} m (stored: {sizes}); use one of "
                f"those, or add it by preparing again with --voxel-size {voxel_size:g}"
            )
        return _read_grid(self, float(voxel_size), self.path / folder)

    def sound_grid(self, voxel_size: float) -> VoxelGrid:
        """The stored grid of a size, its rows seen to lead to points and voxels that are there, and those to be finite.

        Opening a scene looks at headers alone; whoever follows ``point`` and ``inverse`` starts here.

        Args:
            voxel_size: Metres.

        Raises:
            InputError: As ``grid``, a row that leads nowhere, or a coordinate that is not finite.
        """
        grid, again = self.grid(voxel_size), "the file is damaged: delete the scene's folder and prepare it again"
        for name, index, limit in (("inverse", grid.inverse, len(grid.coord)), ("point", grid.point, self.num_points)):
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < limit:
                bad = int(index.min()) if index.min() < 0 else int(index.max())
                file = self.path / grid_name(voxel_size) / f"{name}.npy"
                raise InputError(f"{file} holds {bad}, but it must be in 0..{limit - 1}; {again}")
        # One number that is not finite makes the sum so, and no sum of finite float32 overflows a float64.
        if not np.isfinite(self.coord.sum(dtype=np.float64)):
            raise InputError(f"{self.path / 'coord.npy'} holds coordinates that are not finite; {again}")
        return grid

    def _optional(self, name: str) -> np.ndarray | None:
        return self._array(name) if name in self.meta["arrays"] else None

    def _array(self, name: str) -> np.ndarray:
        return map_array(self.path / f"{name}.npy", *ARRAYS[name], rows=self.num_points)


def open_scene(path: str | Path) -> PreparedScene:
    """Open a prepared scene and check that it is whole.

    Args:
        path: ``<root>/<split>/<scene>``.

    Raises:
        InputError: Not a prepared scene, another format version, or an array that is missing, truncated, or of the
            wrong type or length.
    """
    path = Path(path)
    meta = _read_meta(path)
    # A linked scene goes by the link's name: two links to scenes of one name are two scenes.
    named = Path(os.path.abspath(path))
    scene = PreparedScene(path, named.parent.name, named.name, meta)
    for name in meta["arrays"]:
        scene._array(name)
    for size in scene.voxel_sizes:
        scene.grid(size)
    return scene


def list_scenes(root: str | Path, splits: Sequence[str] | None = None) -> list[PreparedScene]:
    """All scenes of a root, sorted by split and name.

    Args:
        root: Folder of prepared scenes.
        splits: Only these; None = all.

    Raises:
        InputError: No such root or split, or a damaged scene.
    """
    there = list_splits(root)
    wanted = there if splits is None else sorted(set(splits))
    for split in wanted:
        if split not in there:
            raise InputError(f"{root} has no split {split!r}; it has {', '.join(there) or 'none'}")
    return [open_scene(path) for split in wanted for path in _scene_folders(Path(root) / split)]


def list_splits(root: str | Path) -> list[str]:
    """Names of the folders of a root that hold scenes, sorted.

    Raises:
        InputError: No such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"there is no folder {root}; make prepared scenes with 'pointseg prepare'")
    folders = (p for p in root.iterdir() if p.is_dir() and p.name != LABELS_FOLDER and not p.name.startswith("."))
    return sorted(p.name for p in folders if _scene_folders(p))


def map_array(path: Path, dtype: type[np.generic], columns: int, *, rows: int | None = None) -> np.ndarray:
    """Map a .npy file read-only after checking its type and shape.

    Args:
        path: The file.
        dtype: What it must hold.
        columns: 1 = a flat array, else the second dimension.
        rows: Its length; None = any.

    Raises:
        InputError: Missing, truncated, not a .npy file, or of another type or shape.
    """
    try:
        array = map_npy(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; prepare the scene again") from error
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is damaged or truncated ({error}); prepare the scene again") from error
    shape = array.shape[1:]
    fits = (shape == () if columns == 1 else shape == (columns,)) and array.ndim >= 1
    if array.dtype != dtype or not fits or (rows is not None and len(array) != rows):
        expected = ("N" if rows is None else str(rows)) + (",)" if columns == 1 else f", {columns})")
        raise InputError(
            f"{path} holds {array.dtype} {array.shape}, expected {np.dtype(dtype)} ({expected}; prepare the scene again"
        )
    return array


def _read_meta(path: Path) -> dict[str, Any]:
    meta = read_meta(path)
    names, file = meta["arrays"], path / "meta.json"
    if unknown := [name for name in names if name not in ARRAYS]:
        raise InputError(f"{file} names unknown arrays {', '.join(unknown)[:80]}; prepare the scene again")
    if "coord" not in names or len(set(names)) < len(names):
        raise InputError(f"{file} does not name coord, or an array twice; prepare the scene again")
    return meta


def _read_grid(scene: PreparedScene, voxel_size: float, folder: Path) -> VoxelGrid:
    names = [name for name in GRID_ARRAYS if name not in AVERAGED or name in scene.meta["arrays"]]
    coord = map_array(folder / "coord.npy", *GRID_ARRAYS["coord"])
    arrays = {
        name: map_array(
            folder / f"{name}.npy", *GRID_ARRAYS[name], rows=scene.num_points if name == "inverse" else len(coord)
        )
        for name in names
    }
    return VoxelGrid(voxel_size=voxel_size, **arrays)


def _scene_folders(split: Path) -> list[Path]:
    return sorted(p for p in split.iterdir() if not p.name.startswith(".") and (p / "meta.json").is_file())
