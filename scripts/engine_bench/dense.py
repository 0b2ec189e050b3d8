"""What the machine reaches with ``torch.mm`` alone, and how long the network's multiplications take at that rate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine_bench.clock import seconds
from engine_bench.work import Layer, flops

ROWS = 100_000
REPEATS = 2
# fp32 products of this many terms are off by less than 1e-6; rounding to bf16 or tf32 costs 1e-4 and more.
FP32_ERROR = 1e-5

HIGHEST, MEDIUM, BF16 = "fp32 'highest'", "fp32 'medium'", "bf16"
PRECISIONS = {HIGHEST: ("highest", torch.float32), MEDIUM: ("medium", torch.float32), BF16: ("highest", torch.bfloat16)}


class DenseRates:
    """The best rates so far, of every pair of channels that the layers have.

    Attributes:
        shapes: (C_in, C_out) of the layers.
        forward: FLOP/s of (100k, C_in) @ (C_in, C_out), by precision and shape.
        weight: FLOP/s of (C_in, 100k) @ (100k, C_out).
        medium_is_fp32: whether 'medium' computes in full fp32 on this machine.
    """

    def __init__(self, layers: list[Layer], device: str) -> None:
        self.shapes = sorted({(layer.inputs, layer.outputs) for layer in layers})
        self.device = device
        self.forward = {precision: dict.fromkeys(self.shapes, 0.0) for precision in PRECISIONS}
        self.weight = {precision: dict.fromkeys(self.shapes, 0.0) for precision in PRECISIONS}
        self.medium_is_fp32 = _medium_error(device) < FP32_ERROR

    def measure(self) -> None:
        """One more trial of everything; each rate keeps its best."""
        widest = max(max(shape) for shape in self.shapes)
        for precision, (matmul, dtype) in PRECISIONS.items():
            left, right, out = (torch.ones(ROWS * widest, dtype=dtype, device=self.device) for _ in range(3))
            with _matmul_precision(matmul):
                for a, b in self.shapes:
                    x, y = left[: ROWS * a].view(ROWS, a), right[: ROWS * b].view(ROWS, b)
                    weight, result = right[: a * b].view(a, b), out[: ROWS * b].view(ROWS, b)
                    forward = self._rate(x, weight, result)
                    self.forward[precision][a, b] = max(self.forward[precision][a, b], forward)
                    gradient = self._rate(x.T, y, out[: a * b].view(a, b))
                    self.weight[precision][a, b] = max(self.weight[precision][a, b], gradient)

    def _rate(self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> float:
        def multiply() -> None:
            torch.mm(left, right, out=out)

        work = 2 * left.shape[0] * left.shape[1] * right.shape[1]
        return work / min(seconds(multiply, device=self.device) for _ in range(REPEATS))

    def floor(self, layers: list[Layer], counts: dict[tuple[str, int], int], bf16: bool) -> dict[str, float]:
        """Seconds of the layers' multiplications at the best rates: of a forward pass, and of a training step.

        The gradient to the input counts as much as the forward pass; the first layer needs none.
        """
        used = [BF16] if bf16 else [HIGHEST, MEDIUM] if self.medium_is_fp32 else [HIGHEST]
        forward = weight = 0.0
        for layer in layers:
            shape, work = (layer.inputs, layer.outputs), flops(layer, counts)
            forward += work / max(self.forward[precision][shape] for precision in used)
            weight += work / max(self.weight[precision][shape] for precision in used)
        first = layers[0]
        shape = (first.inputs, first.outputs)
        unneeded = flops(first, counts) / max(self.forward[precision][shape] for precision in used)
        return {"forward": forward, "step": 2 * forward - unneeded + weight}

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """GFLOP/s by precision, then "C_in C_out", for the JSON file."""
        return {
            precision: {
                f"{a} {b}": {"forward": forward / 1e9, "weight": self.weight[precision][a, b] / 1e9}
                for (a, b), forward in self.forward[precision].items()
            }
            for precision in PRECISIONS
        }


def _medium_error(device: str) -> float:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.rand(1024, 128, generator=generator) + 0.5 for _ in range(2))
    exact = left.double() @ right.T.double()
    with _matmul_precision("medium"):
        product = (left.to(device) @ right.T.to(device)).cpu()
    return float((product - exact).abs().max() / exact.max())


@contextmanager
def _matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
