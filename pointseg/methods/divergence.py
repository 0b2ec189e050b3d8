"""ERDA's loss between a pseudo-label distribution and a prediction, in all the forms that are compared.

With s the pseudo-logits, p = softmax(s), z the logits and q = softmax(z),

    L_p = lambda H(p) + D(p, q)

=============  ======================================  ==========================================================
``form``       D(p, q)                                 remarks
=============  ======================================  ==========================================================
``kl``         KL(p || q)                              at lambda = 1 L_p is the cross-entropy H(p, q)
``kl_reverse`` KL(q || p)                              over the classes p does not exclude, see ``_kl_reverse``
``js``         KL(p || m) + KL(q || m), m = (p+q)/2    twice the usual value, as the released code has it
``mse``        1/2 ||p - q||^2                         as the released code has it
``none``       0                                       entropy regularisation alone: q takes no part
=============  ======================================  ==========================================================

Distribution alignment alone is any form at lambda = 0. Source of the forms: Tang et al., "All Points Matter:
Entropy-Regularized Distribution Alignment for Weakly-supervised 3D Segmentation", NeurIPS 2023, and its released code.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pointseg.methods.base import full_precision

EXCLUDED = -1e4
"""Stands for minus infinity: exp of it is exactly 0, and 0 times it is still 0 where an entropy is formed."""


def erda_loss(pseudo_logits: Tensor, logits: Tensor, entropy_weight: float = 1.0, form: str = "kl") -> Tensor:
    """L_p of each row, in fp32; whoever wants to stop a gradient detaches that argument.

    Gradients, with H = H(p) and lambda the entropy weight; lambda H(p) adds ``-lambda p_i (log p_i + H)`` to dL/ds_i:

        kl          ds_i = p_i (log(p_i / q_i) - KL(p||q))            dz_i = q_i - p_i
        kl_reverse  ds_i = p_i - q_i                                  dz_i = q_i (log(q_i / p_i) - KL(q||p))
        js          ds_i = p_i (log(p_i / m_i) - KL(p||m))            dz_i = q_i (log(q_i / m_i) - KL(q||m))
        mse         ds_i = p_i (p_i - q_i - sum_j p_j (p_j - q_j))    dz_i = q_i (q_i - p_i - sum_j q_j (q_j - p_j))

    Args:
        pseudo_logits: s, (M, K), finite; ``EXCLUDED`` for a class that p must not hold.
        logits: z, (M, K).
        entropy_weight: lambda.
        form: a key of ``DIVERGENCES``.

    Returns:
        (M,) fp32 (fp64 for fp64 input).
    """
    with torch.autocast(logits.device.type, enabled=False):
        log_p, log_q = _log_softmax(full_precision(pseudo_logits)), _log_softmax(full_precision(logits))
        p = log_p.exp()
        if form == "kl" and entropy_weight == 1.0:
            return -(p * log_q).sum(1)
        entropy = -(p * log_p).sum(1)
        return entropy_weight * entropy + DIVERGENCES[form](p, log_p, log_q)


def _log_softmax(x: Tensor) -> Tensor:
    """``x.log_softmax(1)``, whose CPU kernel takes several times as long where rows are as short as K."""
    return x - x.logsumexp(1, keepdim=True)


def kl_divergence(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, (M, K) to (M,), nats."""
    return (p * (log_p - log_q)).sum(1)


def _kl_reverse(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(q || p) is infinite where p excludes a class, so q is renormalised over the classes that p holds."""
    log_q = _log_softmax(log_q.masked_fill(p == 0, EXCLUDED))
    return (log_q.exp() * (log_q - log_p)).sum(1)


def js_divergence(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || m) + KL(q || m) with m = (p + q) / 2 of each row, (M, K) to (M,): twice the Jensen-Shannon divergence."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (p * (log_p - log_m)).sum(1) + (log_q.exp() * (log_q - log_m)).sum(1)


def _mse(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    return 0.5 * (p - log_q.exp()).square().sum(1)


def _none(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    return p.new_zeros(len(p))


DIVERGENCES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "kl": kl_divergence,
    "kl_reverse": _kl_reverse,
    "js": js_divergence,
    "mse": _mse,
    "none": _none,
}
"""D of (p, log p, log q), each (M, K), to (M,)."""
