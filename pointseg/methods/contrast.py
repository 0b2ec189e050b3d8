"""Pixel-level contrast with a memory of negatives: who is an anchor, who is a negative key, and InfoNCE.

Source: U2PL (Wang et al., CVPR 2022), for rows of whatever kind. Everything is indexed by class id: the released code
indexes anchors and positives by class but queues by the i-th class present, which pairs them wrongly as soon as a
class is absent.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F

from pointseg.methods.base import full_precision
from pointseg.methods.distributed import all_reduce_sum, world_size
from pointseg.methods.memory_bank import MemoryBank


def step_generator(step: int, device: torch.device) -> torch.Generator:
    """The randomness of one step in this process: resuming needs no state, and processes draw independently."""
    rank = dist.get_rank() if world_size() > 1 else 0
    return torch.Generator(device).manual_seed(step * world_size() + rank)


@torch.no_grad()
def negative_classes(
    probability: Tensor, labels: Tensor, unreliable: Tensor, low_rank: int, high_rank: int
) -> tuple[Tensor, Tensor]:
    """The classes a row is a negative key of.

    An annotated row is one of every class among its ``low_rank`` most likely ones that is not its label: a hard
    confusion. An unreliable row without an annotation is one of the classes it ranks in ``[low_rank, high_rank)``:
    whatever it is, it is hardly one of these. That is the rule of the paper; the released code asks besides that the
    row carry the label or pseudo-label of the class, which leaves next to no keys.

    Args:
        probability: (M, K) of the teacher.
        labels: (M,) int64, -1 = not annotated.
        unreliable: (M,) bool.
        low_rank: r_l, at least 0.
        high_rank: r_h, at most K.

    Returns:
        Rows (R,) int64 that may be keys, and (R, K) bool.
    """
    rows = (unreliable | (labels >= 0)).nonzero().squeeze(1)
    rank = probability[rows].argsort(1, descending=True).argsort(1)
    label = labels[rows, None]
    confused = (rank < low_rank) & (torch.arange(probability.shape[1], device=label.device) != label)
    return rows, torch.where(label >= 0, confused, (rank >= low_rank) & (rank < high_rank))


@torch.no_grad()
def remember(bank: MemoryBank, keys: Tensor, negative: Tensor, limit: int, generator: torch.Generator) -> None:
    """Push at most ``limit`` randomly chosen keys for each class.

    Args:
        bank: where to.
        keys: (R, E).
        negative: (R, K) bool, of which classes a key is a negative.
        limit: keys per class and step, over all processes.
        generator: of the choice.
    """
    priority = torch.rand(negative.shape, generator=generator, device=negative.device).masked_fill(~negative, -1)
    priority, rows = priority.topk(min(limit, len(keys)), dim=0)
    classes = torch.arange(negative.shape[1], device=rows.device).expand_as(rows)
    chosen = priority >= 0
    bank.push(keys[rows[chosen]], classes[chosen], priority[chosen], limit)


@torch.no_grad()
def draw_members(classes: Tensor, counts: Tensor, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw rows of each class present, uniformly and with replacement.

    Args:
        classes: (M,) int64, -1 = of no class.
        counts: (K,) int64, rows of each class.
        draws: rows drawn for a class.
        generator: of the draw.

    Returns:
        The classes present, (P,), and their rows, (P, draws) int64.
    """
    present = counts.nonzero().squeeze(1)
    first = (counts.cumsum(0) - counts + (len(classes) - counts.sum()))[present, None]
    count = counts[present, None]
    uniform = torch.rand(len(present), draws, generator=generator, device=classes.device)
    return present, classes.argsort()[first + torch.minimum((uniform * count).long(), count - 1)]


def info_nce(anchors: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """``-log exp(cos(a, z+)/tau) / (exp(cos(a, z+)/tau) + sum_n exp(cos(a, z-_n)/tau))`` of each anchor.

    Args:
        anchors: (A, E).
        positive: (E,), shared by the anchors; need not have length 1.
        negatives: (A, N, E) of length 1, or 0 if there is none.
        temperature: tau.

    Returns:
        (A,) in the precision of the anchors, fp32 at least.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        unit = F.normalize(full_precision(anchors), dim=1)
        true = unit @ F.normalize(positive.to(unit.dtype), dim=0)
        false = torch.bmm(negatives.to(unit.dtype), unit[:, :, None]).squeeze(2)
        return torch.cat([true[:, None], false], 1).div(temperature).logsumexp(1) - true / temperature


def contrastive_loss(
    anchors: Tensor,
    classes: Tensor,
    positives: Tensor,
    bank: MemoryBank,
    *,
    candidates: Tensor,
    usable: Tensor,
    present: Tensor,
    negatives: int,
    temperature: float,
    generator: torch.Generator,
) -> Tensor:
    """L_c: the mean over the classes present of the mean InfoNCE of their anchors.

    A class that is present but has no anchor or no negative counts as 0, as released; with fewer than two classes
    present L_c is 0. The classes' means are over the rows of all processes: the anchors of one process stand for
    its share of the candidates, so in expectation the loss is that of a single process with the whole batch.

    Args:
        anchors: (P, A, E) embeddings of anchors drawn in this process; carries the gradient.
        classes: (P,) int64 their classes.
        positives: (K, E) constants.
        bank: where negatives are drawn.
        candidates: (K,) int64 rows of this process among which the anchors of a class were drawn.
        usable: (K,) bool, classes that have a positive and a negative.
        present: (K,) bool, classes the mean is over.
        negatives: N, drawn for each anchor.
        temperature: tau.
        generator: of the draw.
    """
    everywhere = all_reduce_sum(candidates)
    drawn = bank.draw(classes, (anchors.shape[1], negatives), generator)
    means = [
        info_nce(own, positives[k], bank.keys[rows], temperature).mean()
        for own, k, rows in zip(anchors, classes, drawn, strict=True)
    ]
    per_class = torch.stack(means) if means else anchors.sum((1, 2))
    share = (candidates / everywhere.clamp(min=1) * usable)[classes].to(per_class.dtype)
    count = present.sum()
    return world_size() * (per_class * share).sum() * (count > 1) / count.clamp(min=1)
