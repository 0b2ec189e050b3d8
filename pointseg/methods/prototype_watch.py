"""What is watched about prototypes: how far they move and how alike they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.methods.base import full_precision


class PrototypeWatch(nn.Module):
    """Remembers the prototypes of the last look, so that the drift between two looks survives a checkpoint.

    Args:
        num_classes: K.
        width: C.
    """

    before: Tensor

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("before", torch.zeros(num_classes, width))

    @torch.no_grad()
    def look(self, value: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """Scalars on the prototypes ``value`` (K, C) of the classes ``seen`` (K,).

        Returns:
            ``prototype_drift``, 1 - cosine with the last look's prototype, mean over classes; the same as
            ``prototype_drift_class`` (K,), NaN for a class not seen then; ``prototype_cosine_mean``, ``_rms`` and
            ``_max`` over pairs of classes (mean or rms near 1: prototypes have collapsed onto one or two directions).
            A value that does not exist is left out.
        """
        statistics = {}
        drift = 1 - F.cosine_similarity(value, self.before, dim=1)
        known = seen & (self.before != 0).any(1)
        if known.any():
            statistics["prototype_drift"] = drift[known].mean()
            statistics["prototype_drift_class"] = drift.masked_fill(~known, float("nan"))
        cosine = pairwise_cosine(value, seen)
        if len(cosine):
            statistics["prototype_cosine_mean"] = cosine.mean()
            statistics["prototype_cosine_rms"] = cosine.square().mean().sqrt()
            statistics["prototype_cosine_max"] = cosine.max()
        self.before.copy_(torch.where(seen[:, None], value, 0))
        return statistics


@torch.no_grad()
def pairwise_cosine(value: Tensor, seen: Tensor) -> Tensor:
    """Cosine of each pair of different classes out of ``seen`` (K,), prototypes ``value`` (K, C); one value a pair.

    In full precision under autocast too: bf16 knows no value between 0.949 and 0.953, and the collapse alarm goes by
    the second digit.
    """
    with torch.autocast(value.device.type, enabled=False):
        direction = F.normalize(full_precision(value[seen]), dim=1)
        first, second = torch.triu_indices(len(direction), len(direction), offset=1, device=value.device)
        return (direction @ direction.t())[first, second]


@torch.no_grad()
def effective_rank(value: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """How many dimensions the directions of prototypes spread over, and of how many classes they are.

    The rank is exp of the entropy of the shares that the principal components have in the variance of the normalised
    prototypes: n where the variance is the same in n dimensions and 0 in the others, at most the number of classes less
    one. What all prototypes have in common counts for nothing, as it raises every cosine of a row alike; it does count
    in cosines over pairs.

    Args:
        value: (K, C) prototypes.
        seen: (K,) bool, the classes that count.

    Returns:
        ``prototype_rank`` and ``prototype_classes``; empty if all directions are one, or there is none.
    """
    direction = F.normalize(value[seen], dim=1)
    variance = torch.linalg.svdvals(direction - direction.mean(0)).square()
    share = variance / variance.sum()
    if len(direction) < 2 or not share.isfinite().all():
        return {}
    return {"prototype_rank": torch.special.entr(share).sum().exp(), "prototype_classes": seen.sum()}
