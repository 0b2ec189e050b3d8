"""Settings of U2PL and U2PL+."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pointseg.methods.setting_checks import SettingChecks

BANK_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class U2plConfig:
    """Settings of U2PL; published values unless said otherwise. U2PL+ is ``prototype_momentum`` 0.999,
    ``symmetric_weight`` 0.5 and ``denoise``: its exact losses are not known, so these three are inferred.

    Attributes:
        weight: of L_u.
        contrast_weight: of L_c; 0.1 is the authors' advice.
        unreliable_share: alpha_0, share of the unannotated rows of highest entropy that is unreliable at first.
        rescale: multiply L_u by the number of rows over the number kept, as released.
        teacher_momentum: of the teacher's weights.
        own_statistics: the teacher forwards in training mode; else in evaluation mode with averaged statistics.
        warmup: share of the training that is supervised only, the teacher being the student. Published: about 0.01
            or none; few labels need it longer, since the entropies of a young network mean nothing.
        rep_dim: E, width of the embeddings.
        anchors: M, drawn for each class.
        negatives: N, drawn for each anchor.
        temperature: tau.
        low_rank: r_l, where the ranks of classes that an unreliable row is not of begin; at most K - 1 is used, so two
            classes get 1 as the authors advise.
        high_rank: r_h, where they end; None = K. Published: 20.
        min_probability: delta_p, what the teacher must give the class of an anchor.
        anchor_rows: ``percentile``: the alpha_t share of lowest entropy, as released; ``reliable``: all rows that are
            not unreliable, as the paper's text suggests. Positives are the mean of the same rows.
        bank_size: keys kept per class. Published: 30 000.
        large_classes: ids of classes that keep ``large_bank_size`` instead (background; floor and wall).
        large_bank_size: published: 50 000.
        keys_per_class: keys that enter a queue in a step at most, of all processes; neighbouring rows are near
            duplicates.
        bank_dtype: ``fp16`` or ``fp32``.
        prototype_momentum: 0: the positive of a class is its centroid in this batch; above, a moving average of these.
        symmetric_weight: xi_2, of the reverse cross-entropy beside the cross-entropy of L_u.
        denoise: weigh the teacher's probabilities by the similarity to the prototypes before taking the pseudo-label.
    """

    weight: float = 1.0
    contrast_weight: float = 0.1
    unreliable_share: float = 0.2
    rescale: bool = True
    teacher_momentum: float = 0.99
    own_statistics: bool = True
    warmup: float = 0.05
    rep_dim: int = 256
    anchors: int = 256
    negatives: int = 50
    temperature: float = 0.5
    low_rank: int = 3
    high_rank: int | None = None
    min_probability: float = 0.3
    anchor_rows: str = "percentile"
    bank_size: int = 4096
    large_classes: tuple[int, ...] = ()
    large_bank_size: int = 8192
    keys_per_class: int = 256
    bank_dtype: str = "fp16"
    prototype_momentum: float = 0.0
    symmetric_weight: float = 0.0
    denoise: bool = False

    def __post_init__(self) -> None:
        check = SettingChecks("U2PL", self)
        check.at_least(0, "weight", "contrast_weight", "symmetric_weight", "low_rank")
        check.at_least(1, "rep_dim", "anchors", "negatives", "bank_size", "large_bank_size", "keys_per_class")
        check.below_one("teacher_momentum", "prototype_momentum", "warmup", "min_probability")
        check.that("unreliable_share", 0 <= self.unreliable_share <= 0.5, "at least 0 and at most 0.5")
        check.above_zero("temperature")
        check.that("high_rank", self.high_rank is None or self.high_rank > self.low_rank, "above low_rank, or null")
        check.one_of(("percentile", "reliable"), "anchor_rows")
        check.one_of(BANK_DTYPES, "bank_dtype")
