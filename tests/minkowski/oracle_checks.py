"""Recordings of MinkowskiEngine 0.5.4 (CPU, float64) made into inputs, and compared; rows are matched by coordinate."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pointseg.minkowski as ME

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])


def by_row(coordinates, values) -> np.ndarray:
    """Values ordered by their coordinates."""
    rows = np.asarray(coordinates)
    assert len(np.unique(rows, axis=0)) == len(rows)
    return np.asarray(values)[np.lexsort(rows.T[::-1])]


def close(actual, expected, dtype: torch.dtype, floor: float = 0.0) -> None:
    actual = np.asarray(actual.detach() if isinstance(actual, Tensor) else actual, dtype=np.float64)
    tolerance = max(TOLERANCE[dtype], floor)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def source(data: dict, dtype: torch.dtype, prefix: str = "in") -> tuple[ME.SparseTensor, Tensor]:
    features = torch.tensor(data[f"{prefix}_feats"], dtype=dtype, requires_grad=True)
    return ME.SparseTensor(features, torch.tensor(data[f"{prefix}_coords"])), features


def load_parameters(layer: nn.Module, data: dict, dtype: torch.dtype, prefix: str = "param_") -> None:
    layer.to(dtype)
    state = {key.removeprefix(prefix): torch.tensor(data[key]) for key in data if key.startswith(prefix)}
    layer.load_state_dict(state, strict=prefix == "param_" and not isinstance(layer, ME.MinkowskiBatchNorm))


def check(
    out: ME.SparseTensor, features: Tensor, layer: nn.Module | None, data: dict, dtype: torch.dtype, floor=0.0
) -> None:
    """Output rows, values and every recorded gradient."""
    np.testing.assert_array_equal(by_row(out.C, out.C), by_row(data["out_coords"], data["out_coords"]))
    close(by_row(out.C, out.F.detach()), by_row(data["out_coords"], data["out_feats"]), dtype, floor)
    if out.tensor_stride != [0] * out.D and "out_tensor_stride" in data and data["out_tensor_stride"].any():
        assert out.tensor_stride == data["out_tensor_stride"].tolist()
    if "grad_out" not in data:
        return
    recorded = {tuple(row): grad for row, grad in zip(data["out_coords"].tolist(), data["grad_out"], strict=True)}
    out.F.backward(torch.tensor(np.array([recorded[tuple(row)] for row in out.C.tolist()]), dtype=dtype))
    close(features.grad, data["grad_in"], dtype, floor)
    for name, parameter in layer.named_parameters() if layer is not None else ():
        close(parameter.grad, data[f"gradparam_{name}"], dtype)
