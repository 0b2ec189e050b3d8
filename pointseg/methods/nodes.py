"""Rows pooled into the few nodes of a graph, and node values spread over the rows again.

An affinity between all pairs of 1e5 rows is out of reach, so graphs stand on nodes. Three kinds, each within one sample
and without a gradient of its own: coarse cells of space, superpoints (pieces of like features about as big as a cell),
or a random part of the rows with the other rows following the most similar one. Pixels are rows in the plane z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pointseg.methods.base import full_precision

COMPACTNESS = 0.5
"""Weight of (distance / cell size)^2 against the cosine where a row chooses its superpoint."""

SUPERPOINT_SWEEPS = 2
"""Times that rows choose again; superpoints hardly change after that."""

CHUNK = 2048
"""Rows compared with all nodes of their sample at a time, which bounds the memory that takes."""


@dataclass(frozen=True)
class Nodes:
    """Which node a row belongs to. Nodes are in the order of their samples.

    Attributes:
        node: (M,) int64 node of each row.
        share: (M,) weight of the row in its node's mean; sums to 1 over a node. 0 = the row only receives.
        batch_index: (n,) int64 sample of each node, ascending.
    """

    node: Tensor
    share: Tensor
    batch_index: Tensor

    def pool(self, x: Tensor) -> Tensor:
        """Mean of ``x`` (M, D) over the rows of each node: (n, D), in fp32 or fp64."""
        weighted = full_precision(x) * self.share[:, None].to(full_precision(x).dtype)
        return weighted.new_zeros(len(self.batch_index), x.shape[1]).index_add(0, self.node, weighted)

    def spread(self, x: Tensor) -> Tensor:
        """The value of its node for each row: (n, D) -> (M, D)."""
        # Plain indexing would do, but its gradient on a CPU adds rows in the order of the threads.
        return x.index_select(0, self.node)

    def majority(self, labels: Tensor, num_classes: int) -> Tensor:
        """Most frequent class >= 0 among the rows that make up a node, (M,) -> (n,); -1 where there is none."""
        counted = (labels >= 0) & (self.share > 0)
        cell = (self.node * num_classes + labels)[counted]
        counts = torch.bincount(cell, minlength=len(self.batch_index) * num_classes).view(-1, num_classes)
        most, label = counts.max(1)
        return torch.where(most > 0, label, -1)


@torch.no_grad()
def cell_nodes(coord: Tensor, batch_index: Tensor, size: float) -> Nodes:
    """One node for each occupied cube of space.

    Args:
        coord: (M, 3) metres.
        batch_index: (M,) int64.
        size: edge of a cube in metres.
    """
    keys, node, _ = _occupied_cells(coord, batch_index, size)
    return _averaging(node, batch_index, len(keys))


@torch.no_grad()
def superpoint_nodes(coord: Tensor, batch_index: Tensor, features: Tensor, size: float) -> Nodes:
    """Superpoints: each row joins the likest of the pieces grown from its own and the six adjoining cells.

    A simple form of the local clustering of SLIC and VCCS: likeness is the cosine with the piece's mean direction less
    ``COMPACTNESS`` times the squared distance to its centroid in cells.

    Args:
        coord: (M, 3) metres.
        batch_index: (M,) int64.
        features: (M, C).
        size: edge of the seed cells in metres, about the extent of a superpoint.
    """
    keys, home, strides = _occupied_cells(coord, batch_index, size)
    direction = F.normalize(full_precision(features), dim=1)
    place = (coord / size).to(direction.dtype)
    candidates = _adjoining_cells(keys, strides)
    node = home
    for _ in range(SUPERPOINT_SWEEPS):
        pieces = _averaging(node, batch_index, len(keys))
        towards, centre = F.normalize(pieces.pool(direction), dim=1), pieces.pool(place)
        best = torch.full_like(direction[:, 0], -torch.inf)
        for candidate in candidates:
            piece = candidate[home]
            distance = (place - centre[piece]).square().sum(1)
            score = (direction * towards[piece]).sum(1) - COMPACTNESS * distance
            # A piece that lost all its rows has no direction and must not be joined: its mean is only zeros.
            score = score.masked_fill((piece < 0) | (towards[piece] == 0).all(1), -torch.inf)
            node = torch.where(score > best, piece, node)
            best = torch.maximum(score, best)
    kept, node = node.unique(return_inverse=True)
    return _averaging(node, batch_index, len(kept))


@torch.no_grad()
def sampled_nodes(
    features: Tensor, batch_index: Tensor, preferred: Tensor, per_sample: int, generator: torch.Generator
) -> Nodes:
    """A random part of the rows as nodes; every other row follows the node of the highest cosine, and adds nothing.

    Args:
        features: (M, C).
        batch_index: (M,) int64.
        preferred: (M,) bool rows drawn before all others (the annotated ones).
        per_sample: nodes of a sample at most.
        generator: of the draw, on the device of the rows.
    """
    rows = len(batch_index)
    priority = torch.rand(rows, generator=generator, device=batch_index.device) + preferred
    drawn = priority.argsort(descending=True)
    drawn = drawn[batch_index[drawn].argsort(stable=True)]
    sizes = torch.bincount(batch_index)
    rank = torch.arange(rows, device=drawn.device) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    chosen = drawn[rank < per_sample]
    direction = F.normalize(full_precision(features), dim=1)
    node = torch.empty_like(batch_index)
    first = 0
    with torch.autocast(direction.device.type, enabled=False):
        for members, count in zip(drawn.split(sizes.tolist()), sizes.clamp(max=per_sample).tolist(), strict=True):
            towards = direction[chosen[first : first + count]].t()
            for part in members.split(CHUNK):
                if len(part):
                    node[part] = (direction[part] @ towards).argmax(1) + first
            first += count
    node[chosen] = torch.arange(len(chosen), device=node.device)
    share = torch.zeros_like(direction[:, 0])
    share[chosen] = 1
    return Nodes(node, share, batch_index[chosen])


def _averaging(node: Tensor, batch_index: Tensor, count: int) -> Nodes:
    """Nodes whose value is the plain mean of their rows."""
    rows = torch.bincount(node, minlength=count)
    owner = batch_index.new_zeros(count).scatter(0, node, batch_index)
    return Nodes(node, 1 / rows.clamp(min=1)[node], owner)


def _occupied_cells(coord: Tensor, batch_index: Tensor, size: float) -> tuple[Tensor, Tensor, Tensor]:
    """Sorted keys of the occupied cells, each row's place among them, and the key strides along x, y and z.

    A free layer of cells around everything keeps the key of a neighbour from meaning another cell.
    """
    cell = ((coord - coord.amin(0)) / size).floor().long() + 1
    extent = cell.amax(0) + 2
    strides = torch.stack([extent[1] * extent[2], extent[2], torch.ones_like(extent[0])])
    key = batch_index * extent.prod() + (cell * strides).sum(1)
    keys, place = key.unique(return_inverse=True)
    return keys, place, strides


def _adjoining_cells(keys: Tensor, strides: Tensor) -> list[Tensor]:
    """For a cell itself and its six face neighbours: (n,) place among ``keys``, -1 where it is not occupied."""
    found = [torch.arange(len(keys), device=keys.device)]
    for step in (*strides, *-strides):
        place = torch.searchsorted(keys, keys + step).clamp(max=len(keys) - 1)
        found.append(torch.where(keys[place] == keys + step, place, -1))
    return found
