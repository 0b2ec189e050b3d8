"""What stands between two convolutions and acts on each row by itself; ``torch.compile`` may fuse it.

The rest of a network is not for ``torch.compile``: coordinate maps differ with every cloud, so that it would translate
the search for neighbours again and again, and the convolutions are kernels of this engine already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pointseg.minkowski.nonlinearity import MinkowskiReLU
from pointseg.minkowski.normalization import MinkowskiBatchNorm
from pointseg.minkowski.sparse_tensor import SparseTensor
from pointseg.minkowski.tensor import check_same_map

VARIANTS = 256
"""Of one compiled function: channels, dtypes, training or not, with and without gradients."""


@dataclass(frozen=True)
class _Compiled:
    norm_relu: Callable[[Tensor, nn.Module], Tensor]
    add_relu: Callable[[Tensor, Tensor], Tensor]


_compiled: _Compiled | None = None


def norm_relu(norm: nn.Module, relu: nn.Module, x: SparseTensor) -> SparseTensor:
    """``relu(norm(x))``."""
    # Fewer than two rows have no variance, which the layer knows and torch's batch norm does not.
    if (
        _compiled is None
        or len(x) < 2
        or not isinstance(norm, MinkowskiBatchNorm)
        or not isinstance(relu, MinkowskiReLU)
    ):
        return relu(norm(x))
    return x.with_features(_compiled.norm_relu(x.F, norm.bn))


def add_relu(relu: nn.Module, x: SparseTensor, shortcut: SparseTensor) -> SparseTensor:
    """``relu(x + shortcut)``; ``x`` is used up."""
    # A translation for any number of rows is not one for a single row or none.
    if _compiled is None or not isinstance(relu, MinkowskiReLU) or len(x) < 2:
        x += shortcut
        return relu(x)
    check_same_map(x, shortcut)
    return x.with_features(_compiled.add_relu(x.F, shortcut.F))


def _norm_relu(features: Tensor, norm: nn.Module) -> Tensor:
    return torch.relu(norm(features))


def _add_relu(features: Tensor, shortcut: Tensor) -> Tensor:
    return torch.relu(features + shortcut)


@contextmanager
def compiled_rows() -> Iterator[None]:
    """Let ``torch.compile`` translate :func:`norm_relu` and :func:`add_relu`, in this process, while the block runs.

    Their results may differ from the layers' in the order of sums.
    """
    import torch._dynamo  # a second of loading, for those who want it

    global _compiled
    before = _compiled
    _compiled = _Compiled(torch.compile(_norm_relu, dynamic=True), torch.compile(_add_relu, dynamic=True))
    try:
        with torch._dynamo.config.patch(recompile_limit=VARIANTS, fail_on_recompile_limit_hit=True):
            yield
    finally:
        _compiled = before
