"""Several clouds joined into one batch."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.packing import to_int32

logger = logging.getLogger(__name__)


def batched_coordinates(
    coords: Sequence[Any], dtype: torch.dtype = torch.int32, device: torch.device | str | None = None
) -> Tensor:
    """Rows of all clouds below each other with the cloud's number in front.

    Args:
        coords: for each cloud (N_b, D), tensor or array.
        dtype: int32 floors real coordinates (-0.5 becomes -1), float32 keeps them.
        device: of the result; the first cloud's by default.

    Returns:
        (sum of N_b, 1+D).

    Raises:
        InputError: nothing given, shapes differ, some clouds but not all are empty, a value is not finite or too large,
            or another dtype.
    """
    if dtype not in (torch.int32, torch.float32):
        raise InputError(f"dtype is {dtype}, but coordinates are torch.int32 or torch.float32.")
    if not isinstance(coords, Sequence) or len(coords) == 0:
        raise InputError("coords is empty or not a list, but it must be a list of (N, D) tensors or arrays.")
    clouds = [torch.as_tensor(cloud) for cloud in coords]
    if any(cloud.ndim != 2 or cloud.shape[1] != clouds[0].shape[1] for cloud in clouds):
        raise InputError(f"coords have shapes {[tuple(cloud.shape) for cloud in clouds]}, but all must be (N, D).")
    empty = [number for number, cloud in enumerate(clouds) if len(cloud) == 0]
    if 0 < len(empty) < len(clouds):
        raise InputError(
            f"clouds {empty} of {len(clouds)} have no points, so those batch entries would be missing from every "
            f"result: leave the clouds out."
        )
    parts = []
    for number, cloud in enumerate(clouds):
        rows = to_int32(cloud) if dtype == torch.int32 else cloud.to(dtype)
        parts.append(torch.cat((rows.new_full((len(rows), 1), number), rows), dim=1))
    return torch.cat(parts).to(clouds[0].device if device is None else device)


def sparse_collate(
    coords: Sequence[Any],
    feats: Sequence[Any],
    labels: Sequence[Any] | None = None,
    dtype: torch.dtype = torch.int32,
    device: torch.device | str | None = None,
) -> tuple[Tensor, ...]:
    """Batched coordinates, features and, where given, labels of several clouds.

    Args:
        coords: for each cloud (N_b, D).
        feats: for each cloud (N_b, C).
        labels: for each cloud (N_b, ...), any tensors or arrays.
        dtype: of the coordinates.
        device: of the results.

    Raises:
        InputError: as :func:`batched_coordinates`; lists of different lengths or clouds of different row counts.
    """
    lists = [coords, feats] if labels is None else [coords, feats, labels]
    if len({len(each) for each in lists}) != 1:
        raise InputError(f"the lists have {[len(each) for each in lists]} entries, but must have one for each cloud.")
    for number, rows in enumerate(zip(*lists, strict=True)):
        if len({len(each) for each in rows}) != 1:
            raise InputError(
                f"cloud {number} has {[len(each) for each in rows]} rows (coords, feats, labels), but must have equal."
            )
    batched = batched_coordinates(coords, dtype=dtype, device=device)
    return batched, *(torch.cat([torch.as_tensor(each) for each in x]).to(batched.device) for x in lists[1:])


def batch_sparse_collate(
    data: Sequence[tuple[Any, ...]], dtype: torch.dtype = torch.int32, device: torch.device | str | None = None
) -> tuple[Tensor, ...]:
    """:func:`sparse_collate` of a list of (coords, feats) or (coords, feats, labels), as a DataLoader passes them."""
    coords, feats, *labels = (list(column) for column in zip(*data, strict=True))
    return sparse_collate(coords, feats, labels[0] if labels else None, dtype=dtype, device=device)


class SparseCollation:
    """Collate function for (coords, feats, labels) that can stop at a number of points.

    Args:
        limit_numpoints: drops the clouds that would pass this many points; 0 or less keeps all.
        dtype: of the coordinates.
        device: of the results.
    """

    def __init__(
        self,
        limit_numpoints: int = -1,
        dtype: torch.dtype = torch.int32,
        device: torch.device | str | None = None,
    ) -> None:
        self.limit_numpoints = limit_numpoints
        self.dtype = dtype
        self.device = device

    def __call__(self, list_data: Sequence[tuple[Any, ...]]) -> tuple[Tensor, ...]:
        kept = list(list_data)
        if self.limit_numpoints > 0:
            points = np.cumsum([len(cloud[0]) for cloud in kept])
            kept = kept[: max(int((points <= self.limit_numpoints).sum()), 1)]
            if len(kept) < len(list_data):
                logger.warning(
                    "%d of %d clouds kept: the batch has %d points, the limit is %d",
                    len(kept),
                    len(list_data),
                    points[-1],
                    self.limit_numpoints,
                )
        return batch_sparse_collate(kept, dtype=self.dtype, device=self.device)
