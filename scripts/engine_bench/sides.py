"""What the benchmark needs of an engine: a tensor, the network's logits, all maps."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from engine_bench.networks import LEVELS, MinkowskiUNet, SpconvUNet
from engine_bench.settings import PACKAGES


class MinkowskiSide:
    """Ours, or the real MinkowskiEngine."""

    def __init__(self, ME: Any) -> None:
        self.ME = ME
        self.network: nn.Module = MinkowskiUNet(ME)

    def tensor(self, features: Tensor, coordinates: Tensor) -> Any:
        return self.ME.SparseTensor(features, coordinates)

    def logits(self, x: Any) -> Tensor:
        return self.network(x).F

    def maps(self, coordinates: Tensor) -> None:
        """Coordinates of five levels, a 3^3 map on each, a 2^3 map between neighbours."""
        x = self.tensor(coordinates.new_zeros((len(coordinates), 1), dtype=torch.float32), coordinates)
        manager, key = x.coordinate_manager, x.coordinate_map_key
        for level in range(LEVELS):
            if level:
                coarse = manager.stride(key, [2, 2, 2])
                self._kernel_map(manager, key, coarse, 2, 2)
                key = coarse
            self._kernel_map(manager, key, key, 3, 1)

    def _kernel_map(self, manager: Any, inputs: Any, outputs: Any, size: int, stride: int) -> None:
        if self.ME.__name__.startswith("pointseg"):
            # What its layers ask for; kernel_map() would write the pairs out as MinkowskiEngine returns them.
            manager.kernel_map_of(inputs, outputs, self.ME.KernelGenerator(size, stride, dimension=3))
        else:
            manager.kernel_map(inputs, outputs, stride=stride, kernel_size=size, is_transpose=False)


class SpconvSide:
    """spconv; its CPU wheel needs a stand-in for the CUDA stream its backward pass asks for.

    Args:
        shape: cells of the grid along x, y and z, a multiple of 16 each.
        device: "cpu" or "cuda".
    """

    def __init__(self, shape: list[int], device: str) -> None:
        import spconv.pytorch as spconv
        from spconv.pytorch import ops

        if device == "cpu":
            ops.get_current_stream = lambda: 0
        self.spconv, self.ops, self.shape = spconv, ops, shape
        self.network: nn.Module = SpconvUNet()

    def tensor(self, features: Tensor, coordinates: Tensor) -> Any:
        return self.spconv.SparseConvTensor(features, coordinates, self.shape, 1)

    def logits(self, x: Any) -> Tensor:
        out = self.network(x)
        # A tensor does not learn of the maps made after it, and maps of strided layers cannot be used twice.
        x.indice_dict = {key: maps for key, maps in out.indice_dict.items() if key.startswith("subm")}
        return out.features

    def maps(self, coordinates: Tensor) -> None:
        """As :meth:`MinkowskiSide.maps`; on a GPU too those of the algorithm that gathers and scatters."""
        rows, shape, native = coordinates, self.shape, self.spconv.ConvAlgo.Native
        ones, twos, zeros = [1] * 3, [2] * 3, [0] * 3
        for level in range(LEVELS):
            if level:
                rows, *_ = self.ops.get_indice_pairs(
                    rows, 1, shape, native, twos, twos, zeros, ones, zeros, False, False
                )
                shape = [s // 2 for s in shape]
            self.ops.get_indice_pairs(rows, 1, shape, native, [3] * 3, ones, ones, ones, zeros, True, False)


def side(engine: str, coordinates: Tensor, device: str) -> MinkowskiSide | SpconvSide:
    """The engine by its name in the table."""
    if engine == "spconv":
        return SpconvSide(((coordinates[:, 1:].amax(dim=0) + 32) // 16 * 16).tolist(), device)
    return MinkowskiSide(importlib.import_module(PACKAGES[engine]))
