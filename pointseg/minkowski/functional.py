"""Functions of torch.nn.functional on sparse tensors and tensor fields, under MinkowskiEngine's names.

Arguments after the first (losses: the first two) are those of torch's function of the same name.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from pointseg.minkowski.nonlinearity import Rows


def _on_rows(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """``function`` of the features (N, C) as a function of a sparse tensor or field that keeps its coordinates."""

    def on_rows(input: Rows, *args: Any, **kwargs: Any) -> Rows:
        return input.with_features(function(input.F, *args, **kwargs))

    return _named(on_rows, function)


def _loss(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function`` of features (N, C) and a target as a function of a sparse tensor or field and a target."""

    def loss(input: Any, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return function(input.F, target, *args, **kwargs)

    return _named(loss, function)


def _named(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    wrapper.__name__ = wrapper.__qualname__ = function.__name__
    wrapper.__doc__ = f"torch.nn.functional.{function.__name__} of the features."
    return wrapper


threshold = _on_rows(functional.threshold)
relu = _on_rows(functional.relu)
hardtanh = _on_rows(functional.hardtanh)
hardswish = _on_rows(functional.hardswish)
relu6 = _on_rows(functional.relu6)
elu = _on_rows(functional.elu)
selu = _on_rows(functional.selu)
celu = _on_rows(functional.celu)
leaky_relu = _on_rows(functional.leaky_relu)
prelu = _on_rows(functional.prelu)
rrelu = _on_rows(functional.rrelu)
glu = _on_rows(functional.glu)
gelu = _on_rows(functional.gelu)
logsigmoid = _on_rows(functional.logsigmoid)
hardshrink = _on_rows(functional.hardshrink)
tanhshrink = _on_rows(functional.tanhshrink)
softsign = _on_rows(functional.softsign)
softplus = _on_rows(functional.softplus)
softmin = _on_rows(functional.softmin)
softmax = _on_rows(functional.softmax)
softshrink = _on_rows(functional.softshrink)
gumbel_softmax = _on_rows(functional.gumbel_softmax)
log_softmax = _on_rows(functional.log_softmax)
tanh = _on_rows(functional.tanh)
sigmoid = _on_rows(functional.sigmoid)
hardsigmoid = _on_rows(functional.hardsigmoid)
silu = _on_rows(functional.silu)
batch_norm = _on_rows(functional.batch_norm)
normalize = _on_rows(functional.normalize)
linear = _on_rows(functional.linear)
dropout = _on_rows(functional.dropout)
alpha_dropout = _on_rows(functional.alpha_dropout)

binary_cross_entropy = _loss(functional.binary_cross_entropy)
binary_cross_entropy_with_logits = _loss(functional.binary_cross_entropy_with_logits)
poisson_nll_loss = _loss(functional.poisson_nll_loss)
cross_entropy = _loss(functional.cross_entropy)
hinge_embedding_loss = _loss(functional.hinge_embedding_loss)
kl_div = _loss(functional.kl_div)
l1_loss = _loss(functional.l1_loss)
mse_loss = _loss(functional.mse_loss)
multilabel_margin_loss = _loss(functional.multilabel_margin_loss)
multilabel_soft_margin_loss = _loss(functional.multilabel_soft_margin_loss)
multi_margin_loss = _loss(functional.multi_margin_loss)
nll_loss = _loss(functional.nll_loss)
smooth_l1_loss = _loss(functional.smooth_l1_loss)
soft_margin_loss = _loss(functional.soft_margin_loss)
