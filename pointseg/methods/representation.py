"""A head that embeds features for contrast, beside the classifier of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pointseg.methods.base import full_precision


class Represented(nn.Module):
    """A network with its representation head: ``inputs -> (embeddings (M, E) in fp32, logits (M, K))``."""

    def __init__(self, model: nn.Module, head: nn.Sequential) -> None:
        super().__init__()
        self.model = model
        self.head = head

    def forward(self, inputs: Any) -> tuple[Tensor, Tensor]:
        features, logits = self.model(inputs)
        with torch.autocast(features.device.type, enabled=False):
            return self.head(full_precision(features)), logits


def embed_rows(head: nn.Sequential, features: Tensor, rows: Tensor) -> Tensor:
    """Embeddings (..., E) of the chosen rows (...) of features (M, C), in fp32.

    All M rows enter the statistics of batch norm, as if all were embedded; only the last, widest layer is spared them.
    """
    *hidden, last = head
    with torch.autocast(features.device.type, enabled=False):
        x = full_precision(features)
        for layer in hidden:
            x = layer(x)
        # Plain indexing would do, but its gradient on a CPU adds rows drawn twice in the order of the threads.
        return last(x.index_select(0, rows.flatten()).unflatten(0, rows.shape))
