"""Weight initialisation for kernels (K, C_in, C_out)."""

import math

import torch
from torch import Tensor, nn


@torch.no_grad()
def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """He's normal initialisation, fans counted as MinkowskiEngine counts them.

    A (K, C_in, C_out) kernel has fan_in ``C_in * K`` and fan_out ``C_out * K``. A (C_in, C_out) kernel of a 1x1
    convolution is read like torch's (out, in) linear weight, so its fans are exchanged; kept, because published
    recipes were tuned with it.

    Args:
        tensor: filled in place and returned.
        a: negative slope for leaky_relu.
        mode: "fan_in" or "fan_out".
        nonlinearity: a name ``torch.nn.init.calculate_gain`` knows.

    Raises:
        ValueError: mode or nonlinearity is unknown.
    """
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode is {mode!r}, but it must be 'fan_in' or 'fan_out'.")
    if tensor.ndim == 2:
        fan = tensor.shape[1] if mode == "fan_in" else tensor.shape[0]
    else:
        fan = tensor.shape[0] * (tensor.shape[1] if mode == "fan_in" else tensor.shape[2])
    gain = nn.init.calculate_gain(nonlinearity, a)  # type: ignore[arg-type]
    return tensor.normal_(0, gain / math.sqrt(fan))
