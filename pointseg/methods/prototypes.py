"""Class prototypes as momentum centroids of projected features, and the projection in front of them.

Source: ERDA (Tang et al., NeurIPS 2023), prototypical pseudo-label generation. Two places where the released code
and the evident intent part are decided for the intent: a class without an annotated row in the batch keeps its
prototype, and a class never seen takes no part in the softmax (``mask_unseen=False`` gives it cosine 0, as released).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.methods.base import full_precision
from pointseg.methods.distributed import all_gather_rows, all_reduce_sum
from pointseg.methods.divergence import EXCLUDED

SAME_DIRECTION = 1 - 1e-4
"""Two embeddings whose cosine is above this count as one when distinct ones are looked for."""


class ProjectionHead(nn.Sequential):
    """Linear + BN + ReLU, then Linear with bias: (M, C) -> (M, E). With one width it is ERDA's ``mlp2``.

    Args:
        width: C, of input and hidden layer.
        out: E; None = ``width``.
    """

    def __init__(self, width: int, out: int | None = None) -> None:
        super().__init__(
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, out or width)
        )


class Prototypes(nn.Module):
    """One prototype per class: ``C_k <- m C_k + (1 - m) c_k`` with c_k the centroid of the class's annotated rows.

    From zeros the direction of C_k is that of c_k after the first update, whatever m is. From random values (the
    released ``mom-I``) it takes some 1/(1 - m) updates to become the class's own; in a job of several processes each
    must draw the same ones.

    Args:
        num_classes: K.
        width: C, channels of the embeddings.
        momentum: m, in [0, 1).
        mask_unseen: a class never seen has no probability; False: its cosine is 0, whatever its buffer holds.
        random: start from Xavier-uniform values instead of zeros.
    """

    value: Tensor
    seen: Tensor

    def __init__(
        self,
        num_classes: int,
        width: int,
        momentum: float = 0.999,
        *,
        mask_unseen: bool = True,
        random: bool = False,
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.mask_unseen = mask_unseen
        value = torch.zeros(num_classes, width)
        self.register_buffer("value", nn.init.xavier_uniform_(value) if random else value)
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))

    @torch.no_grad()
    def update(self, embedding: Tensor, labels: Tensor) -> None:
        """Move the prototypes of the classes present among the annotated rows of all processes; keep the others.

        Args:
            embedding: (M, C) projected features.
            labels: (M,) int64, -1 = not annotated.
        """
        classes = torch.arange(len(self.seen), device=labels.device)
        member = (labels[:, None] == classes).to(self.value.dtype)
        count = all_reduce_sum(member.sum(0))
        with torch.autocast(labels.device.type, enabled=False):
            total = all_reduce_sum(member.t() @ embedding.to(self.value.dtype))
        self.value.copy_(_moved(self.value, total, count, self.momentum))
        self.seen |= count > 0

    def similarity(self, embedding: Tensor) -> Tensor:
        """Cosine of each row with each prototype, (M, C) -> (M, K) fp32; classes never seen as ``mask_unseen`` says.

        Prototypes are constants here; the gradient goes to the embedding.
        """
        cosine = _cosine(embedding, self.value)
        return cosine.masked_fill(~self.seen, EXCLUDED if self.mask_unseen else 0.0)


class SubPrototypes(nn.Module):
    """n prototypes per class: each annotated row moves the nearest one of its own class, by the rule of ``Prototypes``.

    How several prototypes work is not published; the choices made here: a sub-prototype starts from one annotated row,
    the one least similar to those its class already has, and waits for a later batch if there is no row of another
    direction; a row's similarity with a class is the largest one over the class's sub-prototypes, so the gradient
    goes through that one. A sub-prototype that is never the nearest again stays where it is.

    Args:
        num_classes: K.
        width: C, channels of the embeddings.
        per_class: n.
        momentum: m, in [0, 1).
        mask_unseen: a class never seen has no probability; False: its cosine is 0.
    """

    sub_value: Tensor
    sub_seen: Tensor

    def __init__(
        self, num_classes: int, width: int, per_class: int, momentum: float = 0.999, *, mask_unseen: bool = True
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.mask_unseen = mask_unseen
        self.register_buffer("sub_value", torch.zeros(num_classes, per_class, width))
        self.register_buffer("sub_seen", torch.zeros(num_classes, per_class, dtype=torch.bool))

    @property
    def value(self) -> Tensor:
        """(K, C) mean of each class's sub-prototypes; one not yet started is 0 and changes no direction."""
        return self.sub_value.mean(1)

    @property
    def seen(self) -> Tensor:
        """(K,) bool, classes with a prototype."""
        return self.sub_seen.any(1)

    @torch.no_grad()
    def update(self, embedding: Tensor, labels: Tensor) -> None:
        """Start and move the sub-prototypes of the classes present among the annotated rows of all processes.

        Args:
            embedding: (M, C) projected features.
            labels: (M,) int64, -1 = not annotated.
        """
        annotated = labels >= 0
        rows = all_gather_rows(embedding[annotated].to(self.sub_value.dtype))
        labels = all_gather_rows(labels[annotated])
        if not len(rows):
            return
        cosine = self._started(F.normalize(rows, dim=1), labels)
        num_classes, per_class, width = self.sub_value.shape
        slot = labels * per_class + cosine.argmax(1)
        member = F.one_hot(slot, num_classes * per_class).to(rows.dtype)
        total = (member.t() @ rows).view(num_classes, per_class, width)
        self.sub_value.copy_(_moved(self.sub_value, total, member.sum(0).view(num_classes, per_class), self.momentum))

    def _started(self, direction: Tensor, labels: Tensor) -> Tensor:
        """Start sub-prototypes; the cosines (R, n) of each row with those of its class, those not started at -inf."""
        anchor, seen = F.normalize(self.sub_value, dim=2), self.sub_seen
        row = torch.arange(len(labels), device=labels.device)
        for j in range(seen.shape[1]):
            nearest = _own_cosine(direction, labels, anchor, seen).amax(1)
            lowest = nearest.new_full((len(seen),), torch.inf).scatter_reduce(0, labels, nearest, "amin")
            last = len(row) - 1
            candidate = torch.where(nearest == lowest[labels], row, last)
            chosen = torch.full_like(lowest, last, dtype=row.dtype).scatter_reduce(0, labels, candidate, "amin")
            start = ~seen[:, j] & (lowest < SAME_DIRECTION)
            anchor[:, j] = torch.where(start[:, None], direction[chosen], anchor[:, j])
            seen[:, j] |= start
        return _own_cosine(direction, labels, anchor, seen)

    def similarity(self, embedding: Tensor) -> Tensor:
        """Largest cosine of each row with a prototype of each class, (M, C) -> (M, K) fp32."""
        cosine = _cosine(embedding, self.sub_value.flatten(0, 1)).view(len(embedding), *self.sub_seen.shape)
        nearest = cosine.masked_fill(~self.sub_seen, -torch.inf).amax(2)
        return nearest.masked_fill(~self.seen, EXCLUDED if self.mask_unseen else 0.0)


def _moved(value: Tensor, total: Tensor, count: Tensor, momentum: float) -> Tensor:
    """Momentum step (..., C) towards ``total / count``; where ``count`` (...) is 0 the value stays."""
    centroid = total / count.clamp(min=1)[..., None]
    return torch.where((count > 0)[..., None], momentum * value + (1 - momentum) * centroid, value)


def _cosine(embedding: Tensor, value: Tensor) -> Tensor:
    """(M, C) against (P, C) -> (M, P). Dividing by the norms after the product spares a normalised (M, C) copy."""
    embedding = full_precision(embedding)
    direction = F.normalize(value.to(embedding.dtype), dim=1)
    norm = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
    return embedding @ direction.t() / norm.clamp_min(1e-12)


def _own_cosine(direction: Tensor, labels: Tensor, anchor: Tensor, seen: Tensor) -> Tensor:
    """Cosines (R, n) of rows with the anchors (K, n, C) of their own class, -inf where there is none."""
    cosine = (anchor[labels] @ direction[:, :, None]).squeeze(2)
    return cosine.masked_fill(~seen[labels], -torch.inf)
