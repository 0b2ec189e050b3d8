"""Batch and instance normalisation over rows."""

import torch
from torch import nn

from pointseg.minkowski.convolve import sum_dtype
from pointseg.minkowski.nonlinearity import Rows
from pointseg.minkowski.sparse_tensor import SparseTensor


class MinkowskiBatchNorm(nn.Module):
    """torch's batch norm over all rows; the torch module is ``bn`` (published weights are named so).

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
        affine: learn a scale and a shift.
        track_running_stats: keep running statistics for evaluation.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(
            num_features, eps=eps, momentum=momentum, affine=affine, track_running_stats=track_running_stats
        )

    def forward(self, input: Rows) -> Rows:
        return input.with_features(self.bn(input.F))


class MinkowskiInstanceNorm(nn.Module):
    """Normalises each channel within each batch entry (biased variance, eps 1e-8), then scales and shifts.

    Computed in fp32 (fp64 for fp64) and returned in the input's dtype.

    Args:
        num_features: C; ``weight`` and ``bias`` are (1, C).
    """

    eps = 1e-8

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.weight = nn.Parameter(torch.ones(1, num_features))
        self.bias = nn.Parameter(torch.zeros(1, num_features))

    def forward(self, input: SparseTensor) -> SparseTensor:
        _, rows = input.coordinate_manager.batch_entries(input.coordinate_map_key)
        features = input.F.to(sum_dtype(input.dtype))
        normalised = torch.empty_like(features)
        for entry in rows:
            x = features[entry]
            variance, mean = torch.var_mean(x, dim=0, correction=0)
            normalised = normalised.index_copy(0, entry, (x - mean) * torch.rsqrt(variance + self.eps))
        return input.with_features((normalised * self.weight + self.bias).to(input.dtype))
