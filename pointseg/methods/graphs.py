"""Two graphs over the nodes of each sample, through which class scores and features correct one another.

Source: MLLC (Xiao et al., IEEE TMM 2024; arXiv 2404.02065) and its released trainer. Adjacencies are constants in fp32
(fp64 for fp64 input) and never join two samples.

Semantic-level graph: edges are cosines of features, the strongest few of each node. Found chunk by chunk and kept
sparse, so memory grows with n, not n^2. Class-level graph: edges are cosines of class probabilities between nodes of
the same hard label. Those blocks are ``U U^T`` with U (n_g, K) the normalised probabilities of a group, never formed:
a product with it costs O(n K) per channel, and is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pointseg.methods.base import full_precision

CHUNK = 2048
"""Nodes compared with all nodes of their sample at a time: 16 MB for 2048 nodes, and no more than CHUNK x n ever."""

ABOVE_ANY_COSINE = 2.0
"""Makes a node its own first neighbour, which equal features elsewhere would otherwise leave to chance."""


@dataclass(frozen=True)
class SemanticGraph:
    """``D^-1/2 (A + A^T) D^-1/2`` as the directed edges of A, without a gradient.

    Attributes:
        target: (n, k) int64 neighbours of each node, itself among them.
        weight: (n, k) weights of these edges, A.
        scale: (n,) D^-1/2, with D the row sums of ``A + A^T``.
    """

    target: Tensor
    weight: Tensor
    scale: Tensor

    def propagate(self, x: Tensor) -> Tensor:
        """One hop: (n, D) -> (n, D), differentiable in ``x``. Takes memory for n k D numbers."""
        scaled = self.scale[:, None] * x
        weight = self.weight[:, :, None]
        # Plain indexing would do, but its gradient on a CPU adds rows in the order of the threads.
        gathered = scaled.index_select(0, self.target.flatten()).unflatten(0, self.target.shape)
        received = (weight * gathered).sum(1)
        sent = (weight * scaled[:, None]).flatten(0, 1)
        return self.scale[:, None] * received.index_add(0, self.target.flatten(), sent)


@torch.no_grad()
def semantic_graph(
    features: Tensor, batch_index: Tensor, neighbours: int = 20, *, coord: Tensor | None = None, radius: float = 0.0
) -> SemanticGraph:
    """``D^-1/2 (A + A^T) D^-1/2`` with A = relu(cos) kept for each node's strongest ``neighbours`` and itself.

    A node is always its own neighbour with weight 1 (2 after symmetrising), even if its feature is 0: no degree is 0.

    Args:
        features: (n, E).
        batch_index: (n,) int64 sample of each node, ascending.
        neighbours: kept for each node beside itself; ties are broken as ``topk`` does (the release keeps all of them).
        coord: (n, 3) metres, where ``radius`` is set.
        radius: neighbours must also lie within it, metres; 0 = anywhere in the sample.
    """
    direction = F.normalize(full_precision(features), dim=1)
    width = neighbours + 1
    target = torch.arange(len(direction), device=direction.device)[:, None].repeat(1, width)
    weight = torch.zeros_like(target, dtype=direction.dtype)
    start = 0
    for size in torch.bincount(batch_index).tolist():
        kept = min(width, size)
        for first in range(start, start + size, CHUNK):
            rows = slice(first, min(first + CHUNK, start + size))
            cosine = (direction[rows] @ direction[start : start + size].t()).relu_()
            if radius > 0 and coord is not None:
                distance = torch.cdist(coord[rows].float(), coord[start : start + size].float())
                cosine.masked_fill_(distance > radius, 0)
            cosine.diagonal(first - start).fill_(ABOVE_ANY_COSINE)
            strongest = cosine.topk(kept)
            target[rows, :kept] = strongest.indices + start
            weight[rows, :kept] = strongest.values.clamp(max=1)
        start += size
    degree = weight.sum(1).index_add(0, target.flatten(), weight.flatten())
    return SemanticGraph(target, weight, degree.rsqrt())


def propagate_by_class(features: Tensor, probability: Tensor, hard: Tensor, batch_index: Tensor) -> Tensor:
    """``D^-1/2 B D^-1/2 F`` with ``B_ij = relu(cos(p_i, p_j))`` for nodes of the same sample and hard label, else 0.

    Probabilities are not negative, so neither is a cosine of theirs, and each group's block is ``U U^T``. The gradient
    goes to the features alone.

    Args:
        features: F, (n, E).
        probability: p, (n, K).
        hard: (n,) int64 hard label.
        batch_index: (n,) int64 sample of each node.
    """
    with torch.no_grad():
        group = batch_index * probability.shape[1] + hard
        order = group.argsort(stable=True)
        sizes = [size for size in torch.bincount(group).tolist() if size]
        blocks = F.normalize(full_precision(probability), dim=1)[order].split(sizes)
        scale = torch.cat([u @ u.sum(0) for u in blocks]).rsqrt()[:, None]
        back = order.argsort()
    scaled = (full_precision(features)[order] * scale).split(sizes)
    moved = torch.cat([u @ (u.t() @ f) for u, f in zip(blocks, scaled, strict=True)])
    return (moved * scale)[back]
