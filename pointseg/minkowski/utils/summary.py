"""A table of a network's layers, output shapes and parameters."""

import sys
from typing import Any

from torch import nn

from pointseg.minkowski.tensor import Tensor

ROW = "{:<44} {:>20} {:>14}\n"


def summary(model: nn.Module, summary_input: Tensor) -> tuple[int, int]:
    """Writes :func:`minkowski_summary_string`'s table to standard output; returns its numbers."""
    table, counts = minkowski_summary_string(model, summary_input)
    sys.stdout.write(table)
    return counts


def minkowski_summary_string(model: nn.Module, summary_input: Tensor) -> tuple[str, tuple[int, int]]:
    """One line for each module without children that a forward pass calls, in that order.

    Args:
        model: the network.
        summary_input: what it is called with.

    Returns:
        The table, and the numbers of all and of trainable parameters of the network.
    """
    lines: list[str] = []

    def note(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            outputs = output if isinstance(output, (list, tuple)) else [output]
            shapes = ", ".join(str(list(each.shape)) for each in outputs)
            own = sum(p.numel() for p in module.parameters())
            lines.append(ROW.format(f"{name} ({type(module).__name__})", shapes, f"{own:,}"))

        return module.register_forward_hook(hook)

    hooks = [note(name, m) for name, m in model.named_modules() if not list(m.children())]
    try:
        model(summary_input)
    finally:
        for hook in hooks:
            hook.remove()
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    table = ROW.format("layer", "output", "parameters") + "".join(lines)
    return f"{table}parameters: {total:,}, trainable: {trainable:,}\n", (total, trainable)
