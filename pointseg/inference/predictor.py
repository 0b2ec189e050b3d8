"""A trained network that is called on clouds: the Python side of ``pointseg predict``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from pointseg.data.classes import Classes
from pointseg.data.formats import RawCloud
from pointseg.data.voxel import bounding_box, voxelize
from pointseg.errors import InputError
from pointseg.inference.cloud_files import checked_color, shifted
from pointseg.inference.halo import default_halo
from pointseg.inference.memory import (
    DEFAULT_MEMORY,
    FIXED_BYTES,
    Estimate,
    bytes_per_voxel,
    device_bytes,
    free_for_work,
    resident_bytes,
)
from pointseg.inference.model_folder import ModelSpec, load_model
from pointseg.inference.tile_network import RESULT, Network, Voxels, predict_tiles
from pointseg.inference.tiling import Blocks, Ranges, Tile, parts, plan, whole
from pointseg.models.segmentor import Segmentor

_STRETCH = 1 << 18
"""Voxels looked at together when the table of blocks is made."""


@dataclass(frozen=True)
class CloudPrediction:
    """A class for each of N points, in their order.

    Attributes:
        pred: (N,) int16 class, a place in ``classes``.
        confidence: (N,) float32, the softmax probability of that class.
        entropy: (N,) float32, of the softmax, nats: 0 is certain, log K undecided.
        classes: names and colours.
    """

    pred: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray
    classes: Classes


@dataclass(frozen=True)
class Predictor:
    """A network, what it is fed and where it runs.

    Example:
        >>> from pointseg.data.formats import read_cloud, write_predictions
        >>> from pointseg.inference import Predictor
        >>> predictor = Predictor.load("models/rooms")
        >>> prediction = predictor(read_cloud("scan.laz"))
        >>> prediction.classes.names[prediction.pred[0]]
        'floor'
        >>> write_predictions("scan.laz", "labelled.laz", prediction.pred, confidence=prediction.confidence)

    Attributes:
        model: in evaluation mode, on ``device``.
        spec: what it is.
        device: where it runs.
    """

    model: Segmentor
    spec: ModelSpec
    device: torch.device
    _known: dict[tuple[tuple[int, int], ...], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> Predictor:
        """Read a model folder; nothing in it is executed.

        Args:
            folder: as ``save_model`` writes it.
            device: where to run.

        Raises:
            InputError: as ``load_model``.
        """
        model, spec = load_model(folder)
        return cls(model.to(device), spec, torch.device(device))

    def __call__(self, cloud: RawCloud, *, memory: int = DEFAULT_MEMORY, halo: float | None = None) -> CloudPrediction:
        """Predict a cloud that is in memory.

        Heights are counted from the lowest point of the cloud, as in training from the lowest of the scene.

        Args:
            cloud: points in metres, all finite.
            memory: bytes that a tile may take beside what the process holds.
            halo: margin of a tile, metres; None = a share of what the network looks at, see ``halo.py``.

        Raises:
            InputError: no points, coordinates that are not finite, no colours where the model needs them, or too little
                memory.
        """
        if len(cloud.coord) == 0:
            raise InputError("the cloud holds no points; there is nothing to predict")
        offset = np.floor(bounding_box(cloud.coord)[0]) + 0.0
        coord = shifted(cloud.coord, offset)
        color = checked_color(cloud.color, "the cloud") if "color" in self.spec.features else None
        grid = voxelize(coord, self.spec.voxel_size, color=color)
        stretches = (grid.coord[start : start + _STRETCH] for start in range(0, len(grid.coord), _STRETCH))
        arrays = {"coord": grid.coord, "z": coord[grid.point, 2]} | (
            {} if grid.color is None else {"color": grid.color}
        )
        voxels = Voxels(Blocks.of(stretches, grid.coord.min(axis=0)), float(coord[:, 2].min()), arrays)
        results = np.empty(len(grid.coord), RESULT)

        def keep(tile: Tile, ranges: Ranges, rows: np.ndarray) -> None:
            for start, stop, part in parts(ranges, rows):
                results[start:stop] = part

        margin = self.halo_voxels(halo)
        budget, _ = self.tile_voxels(resident_bytes() + memory)
        predict_tiles(self.network, voxels, plan(voxels.blocks, [whole(voxels.blocks)], budget, margin), margin, keep)
        points = results[grid.inverse]
        return CloudPrediction(points["pred"], points["confidence"], points["entropy"], self.spec.classes)

    @property
    def network(self) -> Network:
        """What tiles are given to."""
        return Network(self.model, self.spec.features, self.device, self.spec.precision)

    def halo_voxels(self, halo: float | None) -> int:
        """A margin in metres as voxels, rounded up; None = the network's default.

        Raises:
            InputError: below 0 or not finite.
        """
        if halo is None:
            return default_halo(self.model.net)
        if not 0 <= halo < 1e6:
            raise InputError(f"the margin of tiles is {halo} m; it must be 0 or more, such as 2.5")
        return int(np.ceil(halo / self.spec.voxel_size - 1e-6))

    def tile_voxels(self, memory: int) -> tuple[int, int]:
        """Voxels that a tile may have under a bound on the process, and what is taken whatever the tile, bytes.

        On a GPU the tiles are in its memory: its free part counts then, and the bound for everything else.

        Raises:
            InputError: too little for any tile.
        """
        cost = bytes_per_voxel(self.model.net)
        free = free_for_work(memory, FIXED_BYTES + 1000 * cost)
        if self.device.type == "cuda":
            return (device_bytes(self.device) - FIXED_BYTES) // cost, FIXED_BYTES
        return (free - FIXED_BYTES) // cost, memory - free + FIXED_BYTES

    def estimate(self, points: int, voxels: Voxels, tiles: list[Tile], halo: int, room: tuple[int, int]) -> Estimate:
        """What predicting tiles takes.

        Args:
            points: N.
            voxels: the grid.
            tiles: those to predict.
            halo: margin, voxels.
            room: as ``tile_voxels`` gave it.
        """
        cost = bytes_per_voxel(self.model.net)
        largest = max((tile.voxels for tile in tiles), default=0)
        budget, fixed = room
        return Estimate(
            points=points,
            voxels=int(voxels.blocks.start[-1]),
            tiles=len(tiles),
            largest=largest,
            overlap=sum(tile.voxels for tile in tiles) / max(sum(own(voxels.blocks, tile) for tile in tiles), 1),
            halo=halo * self.spec.voxel_size,
            peak=fixed + largest * cost,
            memory=fixed + budget * cost,
        )

    def fingerprint(self) -> str:
        """SHA-256 of everything that decides a prediction: the spec and the weights.

        Kept for as long as no tensor is replaced or changed in its place, as an optimiser does.
        """
        tensors = self.model.net.state_dict().values()
        # Tensors of inference mode count no changes.
        state = tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)
        if state not in self._known:
            self._known.clear()
            self._known[state] = self._hash()
        return self._known[state]

    def _hash(self) -> str:
        digest = hashlib.sha256(json.dumps(self.spec.to_json(), sort_keys=True).encode())
        for name, tensor in sorted(self.model.net.state_dict().items()):
            digest.update(name.encode() + str(tensor.dtype).encode() + str(tuple(tensor.shape)).encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def own(blocks: Blocks, tile: Tile) -> int:
    """Voxels of a tile without its margin."""
    return int(blocks.sizes[tile.blocks[tile.inside]].sum())
