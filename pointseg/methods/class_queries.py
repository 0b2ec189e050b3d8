"""Class queries: learned vectors, one per class, that look at a sample before they label its rows.

The query-based generator of pseudo-labels of the extended ERDA (arXiv 2408.16520), whose abstract names it and whose
details are not public: pre-norm decoder layers of cross-attention and a feed-forward part, without attention among
the queries, are chosen here. With g the projection, f the features of a sample and Q' its queries,

    Q' <- Q + MHA(LN(Q), LN(g(f)));   Q' <- Q' + FFN(LN(Q'));   s = cos(g(f), Q') / tau

Each sample has its own Q'. The cost grows with K times the keys, never with pairs of rows. Nothing here is random
after construction: which rows are keys is a function of the step, so that a resumed training sees the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods.base import full_precision
from pointseg.methods.distributed import all_reduce_sum
from pointseg.methods.prototype_watch import pairwise_cosine
from pointseg.methods.prototypes import ProjectionHead

FFN_EXPANSION = 4
"""Hidden width of the feed-forward part over C, as in most transformers; it sees K rows only, so it costs nothing."""

PHASES = 1024
GOLDEN_PHASE = 633
"""Golden ratio of ``PHASES``: consecutive steps start as far as can be from all earlier starts."""


@dataclass(frozen=True)
class SampleRows:
    """Which rows belong to which sample, whatever the order of the rows.

    Attributes:
        order: (M,) int64 rows, sample after sample.
        counts: rows of each of the B samples; one between others may have none.
    """

    order: Tensor
    counts: list[int]

    @classmethod
    def of(cls, batch_index: Tensor) -> SampleRows:
        """From the (M,) sample index of each row."""
        return cls(batch_index.argsort(stable=True), torch.bincount(batch_index).tolist())

    def keys(self, limit: int, step: int) -> tuple[Tensor, Tensor]:
        """At most ``limit`` evenly spaced rows of each sample, padded to the same number L.

        A sample of no more rows than ``limit`` gives them all. The first of the spaced rows moves with the step.

        Args:
            limit: largest L.
            step: of the training.

        Returns:
            (B, L) int64 rows and (B, L) bool, False where a place is padding.
        """
        counts = torch.tensor(self.counts, device=self.order.device)
        taken = counts.clamp(max=limit)
        place = torch.arange(min(max(self.counts), limit), device=self.order.device)
        phase = step * GOLDEN_PHASE % PHASES
        # Whole numbers throughout: the same rows on every device, and all of them where nothing is left out.
        spaced = (place * PHASES + phase) * counts[:, None] // (PHASES * taken.clamp(min=1)[:, None])
        # A sample without rows gets one foreign key: its queries are used by no row, but must not turn into NaN.
        valid = place < taken.clamp(min=1)[:, None]
        start = (counts.cumsum(0) - counts)[:, None]
        return self.order[torch.where(valid, start + spaced, 0)], valid


class DecoderLayer(nn.Module):
    """Cross-attention from queries to the keys of their sample, then a feed-forward part; both residual and pre-norm.

    Args:
        width: C of queries and keys.
        heads: attention heads; a divisor of ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_key, self.norm_ffn = (nn.LayerNorm(width) for _ in range(3))
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.ffn = nn.Sequential(
            nn.Linear(width, FFN_EXPANSION * width), nn.ReLU(), nn.Linear(FFN_EXPANSION * width, width)
        )

    def forward(self, queries: Tensor, keys: Tensor, valid: Tensor) -> Tensor:
        """``(B, K, C), (B, L, C), (B, L) bool -> (B, K, C)``."""
        query = self._split(self.query(self.norm_query(queries)))
        key, value = (self._split(part) for part in self.key_value(self.norm_key(keys)).chunk(2, dim=2))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None, :])
        queries = queries + self.out(attended.transpose(1, 2).flatten(2))
        return queries + self.ffn(self.norm_ffn(queries))

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, heads, L, C / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class ClassQueries(nn.Module):
    """Pseudo-logits from class queries that were adapted to each sample.

    Works on points, voxels or pixels: flatten them to rows. All in fp32 under autocast.

    Args:
        num_classes: K.
        feature_dim: C of the features, and of projection and queries.
        layers: decoder layers.
        heads: attention heads.
        temperature: tau.
        max_keys: rows of a sample that the queries look at, at most.
        from_labels: a query starts, as soon as its class has annotated rows, as their centroid's direction instead of
            a random one; the length is that of a random one.

    Raises:
        InputError: ``feature_dim`` cannot be shared among the heads.
    """

    placed: Tensor

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        layers: int = 1,
        heads: int = 8,
        temperature: float = 0.1,
        max_keys: int = 8192,
        from_labels: bool = False,
    ) -> None:
        super().__init__()
        if feature_dim % heads:
            raise InputError(
                f"heads is {heads}; the network's {feature_dim} feature channels cannot be shared among so many, "
                f"give a divisor of {feature_dim}"
            )
        self.temperature, self.max_keys, self.from_labels = temperature, max_keys, from_labels
        self.projection = ProjectionHead(feature_dim)
        self.queries = nn.Parameter(torch.randn(num_classes, feature_dim))
        self.layers = nn.ModuleList(DecoderLayer(feature_dim, heads) for _ in range(layers))
        self.register_buffer("placed", torch.zeros(num_classes, dtype=torch.bool))

    def forward(self, features: Tensor, batch_index: Tensor, labels: Tensor, step: int = 0) -> tuple[Tensor, Tensor]:
        """Pseudo-logits of every row.

        Args:
            features: (M, C).
            batch_index: (M,) int64 sample of each row.
            labels: (M,) int64, -1 = not annotated; with ``from_labels``, in training, they place queries.
            step: of the training; decides which rows of a large sample are keys.

        Returns:
            s (M, K), cosines over tau, and the queries of each sample, (B, K, C).
        """
        with torch.autocast(features.device.type, enabled=False):
            embedding = self.projection(full_precision(features))
            if self.training and self.from_labels:
                self.place(embedding, labels)
            rows = SampleRows.of(batch_index)
            queries = self.adapt(embedding, rows, step)
            return self.similarity(embedding, queries, rows), queries

    @torch.no_grad()
    def place(self, embedding: Tensor, labels: Tensor) -> None:
        """Move each query of a class that is annotated for the first time, in any process, to its rows' centroid.

        Args:
            embedding: (M, C) projected features.
            labels: (M,) int64, -1 = not annotated.
        """
        annotated = labels >= 0
        one_hot = F.one_hot(labels[annotated], len(self.queries)).to(embedding.dtype)
        fresh = (all_reduce_sum(one_hot.sum(0)) > 0) & ~self.placed
        direction = F.normalize(all_reduce_sum(one_hot.t() @ embedding[annotated]), dim=1)
        length = embedding.shape[1] ** 0.5
        self.queries.copy_(torch.where(fresh[:, None], direction * length, self.queries))
        self.placed |= fresh

    def adapt(self, embedding: Tensor, rows: SampleRows, step: int) -> Tensor:
        """The queries after looking at the (M, C) embedding of each sample: (B, K, C)."""
        index, valid = rows.keys(self.max_keys, step)
        keys = embedding.index_select(0, index.flatten()).unflatten(0, index.shape)
        queries = self.queries.expand(len(index), -1, -1)
        for layer in self.layers:
            queries = layer(queries, keys, valid)
        return queries

    def similarity(self, embedding: Tensor, queries: Tensor, rows: SampleRows) -> Tensor:
        """Cosine over tau of each row of the (M, C) embedding with the queries of its sample: (M, K)."""
        direction = F.normalize(queries, dim=2) / self.temperature
        parts = F.normalize(embedding, dim=1).index_select(0, rows.order).split(rows.counts)
        by_sample = torch.cat([part @ own.t() for part, own in zip(parts, direction, strict=True)])
        return torch.empty_like(by_sample).index_copy(0, rows.order, by_sample)

    @torch.no_grad()
    def statistics(self, adapted: Tensor) -> dict[str, Tensor]:
        """How alike the classes' queries are, and how far the samples move them.

        Args:
            adapted: (B, K, C) queries of each sample.

        Returns:
            ``query_cosine_max`` and ``query_cosine_mean`` between two classes of one sample (near 1: all rows get the
            same pseudo-label), and ``query_shift``, mean 1 - cos(Q, Q') (near 0: the attention changes nothing).
        """
        every = torch.ones_like(self.placed)
        pairs = torch.cat([pairwise_cosine(own, every) for own in adapted])
        return {
            "query_cosine_max": pairs.amax(),
            "query_cosine_mean": pairs.mean(),
            "query_shift": 1 - F.cosine_similarity(full_precision(adapted), self.queries, dim=2).mean(),
        }
