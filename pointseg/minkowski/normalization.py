"""Batch and instance normalisation over rows."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pointseg.errors import InputError
from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.enums import PoolingMode
from pointseg.minkowski.global_pooling import entry_rows, origin_key
from pointseg.minkowski.keys import keyed, settle
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.nonlinearity import Rows
from pointseg.minkowski.products import sum_dtype
from pointseg.minkowski.sparse_tensor import SparseTensor


class MinkowskiBatchNorm(MinkowskiModuleBase):
    """torch's batch norm over all rows; the torch module is ``bn`` (published weights are named so).

    A single row has no variance, so that in training too it is normalised by the running statistics, and leaves them as
    they are.

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
        self.bn: Any = nn.BatchNorm1d(
            num_features, eps=eps, momentum=momentum, affine=affine, track_running_stats=track_running_stats
        )

    def forward(self, input: Rows) -> Rows:
        # torch refuses to train on fewer than two rows, which have no statistics to learn from.
        if len(input) == 0:
            return input.with_features(self._scaled(input.F))
        alone = len(input) == 1 and (self.bn.training or self.bn.running_mean is None)
        return input.with_features(self._by_running_statistics(input.F) if alone else self.bn(input.F))

    def _scaled(self, features: Tensor) -> Tensor:
        scaled = features * self.bn.weight + self.bn.bias if self.bn.affine else features
        return scaled.to(features.dtype)

    def _by_running_statistics(self, features: Tensor) -> Tensor:
        bn = self.bn
        if bn.running_mean is None:
            raise InputError(
                "batch norm without running statistics was given a single row, but needs at least 2; give it more rows "
                "or set track_running_stats"
            )
        return functional.batch_norm(features, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)


class MinkowskiSyncBatchNorm(MinkowskiBatchNorm):
    """Batch norm with statistics over the rows of all processes: torch's SyncBatchNorm, as ``bn``.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
        affine: learn a scale and a shift.
        track_running_stats: keep running statistics for evaluation.
        process_group: processes that share statistics; all by default.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
    ) -> None:
        MinkowskiModuleBase.__init__(self)
        self.bn = nn.SyncBatchNorm(num_features, eps, momentum, affine, track_running_stats, process_group)

    def forward(self, input: Rows) -> Rows:
        # A process without rows must still meet the others.
        alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
        return super().forward(input) if alone else input.with_features(self.bn(input.F))

    @classmethod
    def convert_sync_batchnorm(cls, module: nn.Module, process_group: Any = None) -> nn.Module:
        """``module`` with every :class:`MinkowskiBatchNorm` replaced, parameters and statistics kept."""
        converted = module
        if isinstance(module, MinkowskiBatchNorm):
            bn = module.bn
            converted = cls(
                bn.num_features, bn.eps, bn.momentum, bn.affine, bn.track_running_stats, process_group
            ).train(module.training)
            if bn.affine:
                converted.bn.weight, converted.bn.bias = bn.weight, bn.bias
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(converted.bn, name, getattr(bn, name))
            return converted
        for name, child in module.named_children():
            converted.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return converted


class MinkowskiInstanceNormFunction:
    @staticmethod
    def apply(
        in_feat: Tensor,
        in_coords_key: CoordinateMapKey,
        glob_coords_key: CoordinateMapKey | None = None,
        coords_manager: CoordinateManager | None = None,
        gpooling_mode: PoolingMode = PoolingMode.GLOBAL_AVG_POOLING_KERNEL,
    ) -> Tensor:
        """(V, C) normalised, not scaled."""
        x = keyed(in_feat, in_coords_key, coords_manager)
        settle(glob_coords_key, origin_key(x))
        return instance_normalised(x, MinkowskiInstanceNorm.eps).to(in_feat.dtype)


class MinkowskiInstanceNorm(MinkowskiModuleBase):
    """Normalises each channel within each batch entry (biased variance, eps 1e-8), then scales and shifts.

    Computed in fp32 (fp64 for fp64) and returned in the input's dtype.

    Args:
        num_features: C; ``weight`` and ``bias`` are (1, C).
    """

    eps = 1e-8

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.inst_norm = MinkowskiInstanceNormFunction()
        self.weight = nn.Parameter(torch.empty(1, num_features))
        self.bias = nn.Parameter(torch.empty(1, num_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: SparseTensor) -> SparseTensor:
        if input.shape[1] != self.num_features:
            raise InputError(f"the input has {input.shape[1]} channels, but this layer takes {self.num_features}.")
        normalised = instance_normalised(input, self.eps)
        return input.with_features((normalised * self.weight + self.bias).to(input.dtype))

    def extra_repr(self) -> str:
        return f"nchannels={self.num_features}"


class MinkowskiStableInstanceNorm(MinkowskiInstanceNorm):
    """:class:`MinkowskiInstanceNorm` with eps 1e-6."""

    eps = 1e-6

    def forward(self, x: SparseTensor) -> SparseTensor:
        return super().forward(x)


def instance_normalised(x: SparseTensor, eps: float) -> Tensor:
    """(V, C) features less their mean over the rows of the batch entry, by their standard deviation there."""
    features = x.F.to(sum_dtype(x.dtype))
    if len(x) == 0:
        return features
    normalised = torch.empty_like(features)
    for entry in entry_rows(x):
        own = features[entry]
        variance, mean = torch.var_mean(own, dim=0, correction=0)
        normalised = normalised.index_copy(0, entry, (own - mean) * torch.rsqrt(variance + eps))
    return normalised
