"""Small things that MinkowskiEngine's modules share and code written for it imports."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointseg.minkowski.kernel import int_tuple

StrideType = int | Sequence | np.ndarray | Tensor


class MinkowskiModuleBase(nn.Module):
    """Base of the engine's layers."""


def convert_to_int_list(arg: Any, dimension: int) -> list[int]:
    """``arg`` as D ints: a scalar is repeated, a sequence, array or tensor must have D entries."""
    return list(int_tuple(arg, dimension, "arg"))


def convert_to_int_tensor(arg: Any, dimension: int) -> Tensor:
    """As :func:`convert_to_int_list`, an int32 tensor (D,)."""
    return torch.tensor(int_tuple(arg, dimension, "arg"), dtype=torch.int32)


def get_postfix(tensor: Tensor) -> str:
    """ "GPU" or "CPU", as in the names of MinkowskiEngine's compiled functions."""
    return "GPU" if tensor.is_cuda else "CPU"
