"""A sparse-voxel network seen as methods see it: inputs in, (features, logits) out, row for row."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from pointseg.errors import InputError
from pointseg.models.engine import ME, SUPPORTS_AUTOCAST
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

        Follows ``torch.autocast`` on pointseg's own engine; MinkowskiEngine computes in the inputs' dtype all the same.

        Raises:
            InputError: two rows of ``inputs.coord`` are equal, so that rows could not correspond.
        """
        device = inputs.features.device.type
        with nullcontext() if SUPPORTS_AUTOCAST else torch.autocast(device, enabled=False):
            x = ME.SparseTensor(inputs.features, inputs.coord)
            if len(x.F) != len(inputs.features):
                raise InputError(
                    f"{len(inputs.features) - len(x.F)} of {len(inputs.features)} coordinate rows are duplicates: "
                    f"merge them first (pointseg.data.voxel), so that every output row has one input row."
                )
            features = self.net.features(x)
            return features.F, self.net.final(features).F


def build_segmentor(
    name: str, in_channels: int, num_classes: int, *, planes: tuple[int, ...], init_dim: int, stem_kernel: int
) -> Segmentor:
    """A segmentor by backbone name; empty ``planes`` takes the table of the name."""
    net = MODELS[name](in_channels, num_classes, planes=planes or None, init_dim=init_dim, stem_kernel=stem_kernel)
    return Segmentor(net)
