"""Sparse tensors as dense or torch.sparse tensors, and back."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pointseg.errors import InputError

if TYPE_CHECKING:
    from pointseg.minkowski.sparse_tensor import SparseTensor


def to_dense(
    x: "SparseTensor", shape: torch.Size | None, min_coordinate: Tensor | int | None, contract_stride: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """A dense tensor (B, C, X1, .., XD), zero where ``x`` has no row; differentiable.

    Args:
        x: sparse tensor.
        shape: (B, any, X1, .., XD); by default just large enough. The channels are always those of ``x``.
        min_coordinate: (D,) ints, the coordinate of the first cell, a multiple of the tensor stride; the origin by
            default.
        contract_stride: neighbouring rows become neighbouring cells; else cells are finest voxels.

    Returns:
        The dense tensor, the coordinate of its first cell (1, D) int32 and the tensor stride (D,) int32.

    Raises:
        InputError: a row lies outside, or ``min_coordinate`` does not lie on the grid.
    """
    low = _origin(x) if min_coordinate is None else torch.as_tensor(min_coordinate, device=x.device)
    low = low.to(torch.int32).expand(x.D) if low.ndim == 0 else low.to(torch.int32).reshape(-1)
    cells = _cells(x, low, contract_stride)
    batches = _batches(x)
    if shape is None:
        shape = torch.Size((batches, x.shape[1], *_extent(cells)))
    elif len(shape) != x.D + 2:
        raise InputError(f"shape has {len(shape)} entries, but it must have {x.D + 2}: batch, channels, {x.D} axes.")
    size = torch.tensor(shape[2:], device=cells.device)
    if len(cells) and (bool((cells < 0).any()) or bool((cells >= size).any()) or batches > shape[0]):
        reach = [cells.amin(dim=0).tolist(), cells.amax(dim=0).tolist()]
        raise InputError(
            f"cells lie between {reach[0]} and {reach[1]} in {batches} batch entries, outside the shape "
            f"{tuple(shape)}: pass min_coordinate= or a larger shape."
        )
    image = x.F.new_zeros((shape[0], *shape[2:], x.shape[1]))
    index = (x.C[:, 0].long(), *cells.unbind(1))
    return image.index_put(index, x.F).movedim(-1, 1), low[None], _stride(x)


def to_torch_sparse(
    x: "SparseTensor", min_coords: Tensor | None, max_coords: Tensor | None, contract_coords: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """A torch.sparse tensor (B, X1, .., XD, C), channels dense.

    Args:
        x: sparse tensor.
        min_coords: (D,) ints, the coordinate of the first cell, a multiple of the tensor stride; the smallest present
            by default.
        max_coords: (D,) ints, the coordinate of the last cell; the largest present by default.
        contract_coords: neighbouring rows become neighbouring cells; else cells are finest voxels.

    Returns:
        The tensor, the first cell's coordinate (1, D) int32, divided by the stride when contracted, and the tensor
        stride (D,) int32.

    Raises:
        InputError: a row lies outside, or a bound does not lie on the grid.
    """
    low = (_lowest(x) if min_coords is None else min_coords).to(x.device, torch.int32).reshape(-1)
    cells = _cells(x, low, contract_coords)
    size = _extent(cells)
    if max_coords is not None:
        span = (max_coords.to(low.device).reshape(-1) - low)[None]
        size = _extent(_on_grid(x, span, "max_coords") if contract_coords else span)
    if len(cells) and (bool((cells < 0).any()) or bool((cells >= torch.tensor(size, device=cells.device)).any())):
        raise InputError(f"rows lie outside the {size} cells between min_coords and max_coords: widen them.")
    indices = torch.cat((x.C[:, :1].long(), cells), dim=1).T
    tensor = torch.sparse_coo_tensor(indices, x.F, (_batches(x), *size, x.shape[1]), check_invariants=True)
    first = low.div(_stride(x).to(low.device), rounding_mode="floor") if contract_coords else low
    return tensor, first[None], _stride(x)


def _cells(x: "SparseTensor", low: Tensor, contract: bool) -> Tensor:
    """(V, D) int64 cell of each row when the first cell is at ``low``."""
    if low.shape != (x.D,):
        raise InputError(f"the smallest coordinate has shape {tuple(low.shape)}, but it must be {x.D} ints.")
    _on_grid(x, low[None], "the smallest coordinate")
    cells = (x.C[:, 1:] - low).long()
    return cells.div(_stride(x).to(cells.device), rounding_mode="floor") if contract else cells


def _on_grid(x: "SparseTensor", rows: Tensor, name: str) -> Tensor:
    """``rows`` divided by the tensor stride."""
    stride = _stride(x).to(rows.device)
    if bool((rows % stride).any()):
        raise InputError(f"{name} is {rows[0].tolist()} off the grid: it must be a multiple of {x.tensor_stride}.")
    return rows.div(stride, rounding_mode="floor")


def _stride(x: "SparseTensor") -> Tensor:
    # A global tensor's stride is 0; its rows all lie at the origin.
    return torch.tensor([max(step, 1) for step in x.tensor_stride], dtype=torch.int32)


def _origin(x: "SparseTensor") -> Tensor:
    low = _lowest(x)
    if bool((low < 0).any()):
        raise InputError(f"the smallest coordinate is {low.tolist()}, negative: pass min_coordinate=.")
    return torch.zeros_like(low)


def _lowest(x: "SparseTensor") -> Tensor:
    return x.C[:, 1:].amin(dim=0) if len(x) else x.C.new_zeros(x.D)


def _extent(cells: Tensor) -> tuple[int, ...]:
    return tuple((cells.amax(dim=0) + 1).tolist()) if len(cells) else (0,) * cells.shape[1]


def _batches(x: "SparseTensor") -> int:
    return int(x.C[:, 0].max()) + 1 if len(x) else 0
