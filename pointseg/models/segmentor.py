"""A sparse-voxel network seen as methods see it: inputs in, (features, logits) out, row for row."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

import pointseg.minkowski as ME
from pointseg.models.minkunet import MODELS, MinkUNetBase


class VoxelInputs(Protocol):
    """What the segmentor needs of a batch: ``coord`` (V, 4) int32 and ``features`` (V, C) float32."""

    @property
    def coord(self) -> Tensor: ...
    @property
    def features(self) -> Tensor: ...


class Segmentor(nn.Module):
    """A MinkUNet on voxel batches.

    Args:
        net: the network; its ``state_dict`` is what checkpoints keep, so published names stay as they are.
    """

    def __init__(self, net: MinkUNetBase) -> None:
        super().__init__()
        self.net = net

    @property
    def feature_dim(self) -> int:
        return self.net.feature_dim

    def forward(self, inputs: VoxelInputs) -> tuple[Tensor, Tensor]:
        """Decoder features (V, C) and logits (V, K), rows in the order of ``inputs``.

        Raises:
            InputError: two rows of ``inputs.coord`` are equal, so that rows could not correspond.
        """
        mode = ME.SparseTensorQuantizationMode.NO_QUANTIZATION
        features = self.net.features(ME.SparseTensor(inputs.features, inputs.coord, quantization_mode=mode))
        return features.F, self.net.final(features).F


def build_segmentor(
    name: str, in_channels: int, num_classes: int, *, planes: tuple[int, ...], init_dim: int, stem_kernel: int
) -> Segmentor:
    """A segmentor by backbone name; empty ``planes`` takes the table of the name."""
    net = MODELS[name](in_channels, num_classes, planes=planes or None, init_dim=init_dim, stem_kernel=stem_kernel)
    return Segmentor(net)
