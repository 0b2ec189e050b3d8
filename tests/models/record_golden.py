"""Records what other engines compute, for the tests of weight import: ``record_golden.py spconv`` or ``minkowski``.

Inputs and weights follow from formulas, so that only outputs are stored. ``spconv`` needs spconv 2.3.8 (its CPU wheel
will do); ``minkowski`` needs MinkowskiEngine 0.5.4 and POINTSEG_ENGINE=minkowski.
"""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_CELLS = "0000 0001 0010 0102 0111 0123 0210 0333 0323 0232 1031 1131 1130"
CELLS = torch.tensor([[int(digit) for digit in cell] for cell in _CELLS.split()], dtype=torch.int32)
"""Voxels in spconv's order: batch, z, y, x, each below 4."""

SPCONV_SHAPES = {
    "stem.weight": (3, 3, 3, 3, 2),
    "down.weight": (4, 2, 2, 2, 3),
    "up.weight": (2, 2, 2, 2, 4),
    "head.weight": (3, 1, 1, 1, 2),
}


def wave(shape: tuple[int, ...], phase: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers in [-1, 1] without symmetry, from their index."""
    return (
        torch.sin(1.7 * torch.arange(torch.Size(shape).numel(), dtype=torch.float64) + phase).reshape(shape).to(dtype)
    )


def spconv_weights() -> dict[str, Tensor]:
    return {name: wave(shape, float(phase)) for phase, (name, shape) in enumerate(SPCONV_SHAPES.items())}


def minkowski_weights(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """fp64 entries of a MinkUNet that keep its features near 1; variances are positive."""
    weights = {}
    for phase, (name, shape) in enumerate(sorted(shapes.items())):
        noise = wave(tuple(shape), float(phase), torch.float64)
        scale = (noise.numel() / shape[-1]) ** -0.5 if name.endswith("kernel") else 0.3
        offset = 1.0 if name.endswith(("bn.weight", "running_var")) else 0.0
        weights[name] = noise * scale + offset
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
    return weights


def fill(network: nn.Module) -> nn.Module:
    """The network in fp64 and evaluation mode, with the formula's weights."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    network.load_state_dict(minkowski_weights(shapes))
    return network.double().eval()


def small_unet() -> nn.Module:
    from pointseg.models.minkunet import MinkUNet14

    return MinkUNet14(2, 3, planes=(4, 4, 8, 8, 8, 4, 4, 4), init_dim=4).double().eval()


def networks_of_others(package: str) -> ModuleType:
    """``minkowski_models.py`` with MinkowskiEngine's imports from another package."""
    source = Path(__file__).with_name("minkowski_models.py").read_text().replace("MinkowskiEngine", package)
    module = ModuleType("minkowski_models")
    exec(source, module.__dict__)
    return module


NETWORKS_OF_OTHERS = {"ResNet": 3, "ResNetBottleneck": 2, "Res16UNet34C": 3, "STRes16UNet": 4}
"""Class names, and the number of axes each is tried with.

Without crosses: MinkowskiEngine 0.5.4 as released takes the first offsets of the cube for them, its later source not.
"""


def unet_input(engine: Any, dimension: int = 3) -> Any:
    """``CELLS`` moved so that negative coordinates occur, with as many axes as asked for."""
    moved = CELLS - torch.tensor([0, 2, 2, 2], dtype=torch.int32)
    time = torch.arange(len(CELLS), dtype=torch.int32)[:, None] % 3
    rows = torch.cat((moved, time), dim=1)[:, [*range(dimension), 4 if dimension != 3 else 3]].contiguous()
    return engine.SparseTensor(wave((len(CELLS), 2), 0.3, torch.float64), rows)


def sorted_rows(x: Any) -> list[list[float]]:
    """Coordinates and features of a sparse tensor, row by row, in the order of the coordinates."""
    return sorted(torch.cat((x.C.double(), x.F.detach()), dim=1).tolist())


def record_spconv() -> dict[str, list[list[float]]]:
    import spconv.pytorch as spconv

    weights = spconv_weights()
    layers = {
        "stem": spconv.SubMConv3d(2, 3, 3, padding=1, bias=False),
        "down": spconv.SparseConv3d(3, 4, 2, stride=2, bias=False, indice_key="down"),
        "up": spconv.SparseInverseConv3d(4, 2, 2, bias=False, indice_key="down"),
        "head": spconv.SubMConv3d(2, 3, 1, bias=False),
    }
    x = spconv.SparseConvTensor(wave((len(CELLS), 2), 0.3), CELLS, [4, 4, 4], 2)
    recorded: dict[str, list[list[float]]] = {}
    with torch.no_grad():
        for name, layer in layers.items():
            layer.load_state_dict({"weight": weights[f"{name}.weight"]})
            x = layer(x)
            rows = torch.cat((x.indices.double(), x.features.double()), dim=1)
            recorded[name] = sorted([round(value, 6) for value in row] for row in rows.tolist())
    return recorded


def record_minkowski() -> dict[str, list[list[float]]]:
    import MinkowskiEngine as ME  # noqa: N817

    others = networks_of_others("MinkowskiEngine")
    recorded = {"MinkUNet14": sorted_rows(fill(small_unet())(unet_input(ME)))}
    for name, dimension in NETWORKS_OF_OTHERS.items():
        network = fill(getattr(others, name)(2, 3, D=dimension))
        recorded[name] = sorted_rows(network(unet_input(ME, dimension)))
    return recorded


if __name__ == "__main__":
    engine = sys.argv[1]
    recorded = {"spconv": record_spconv, "minkowski": record_minkowski}[engine]()
    text = json.dumps(recorded).replace("]], ", "]],\n").replace("], [", "],\n [")
    Path(__file__).with_name(f"golden_{engine}.json").write_text(text + "\n")
