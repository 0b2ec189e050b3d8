"""The base class that networks for MinkowskiEngine derive from."""

from abc import ABC, abstractmethod
from typing import Any

from torch import nn


class MinkowskiNetwork(nn.Module, ABC):
    """A network over D axes; subclasses define ``forward``.

    Args:
        D: number of spatial axes.
    """

    def __init__(self, D: int) -> None:
        super().__init__()
        self.D = D

    @abstractmethod
    def forward(self, x: Any) -> Any: ...
