"""Dense products of the convolution loop."""

import torch
from torch import Tensor


def product_into(rows: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """``rows @ weight`` into ``out`` and returned."""
    return torch.mm(rows, weight, out=out)
