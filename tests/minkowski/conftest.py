import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

Arrays = dict[str, np.ndarray]


@pytest.fixture
def oracle() -> Callable[[str], Arrays]:
    """Loads a recording of MinkowskiEngine 0.5.4 by name."""
    folder = os.environ.get("POINTSEG_ORACLE")
    if not folder:
        pytest.skip("POINTSEG_ORACLE is not set: recordings of MinkowskiEngine 0.5.4 are not at hand")

    def load(name: str) -> Arrays:
        single = Path(folder) / f"{name}.npy"
        if single.exists():
            return {"offsets": np.load(single)}
        with np.load(Path(folder) / f"{name}.npz") as arrays:
            return {key: arrays[key] for key in arrays.files}

    return load


@pytest.fixture
def cloud() -> Callable[..., Tensor]:
    """Distinct random int32 rows (V, 1+D), both signs, two batch entries, in random order."""

    def make(count: int = 200, dimension: int = 3, size: int = 5, batches: int = 2, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        space = torch.randint(-size, size + 1, (count, dimension), generator=generator)
        batch = torch.randint(0, batches, (count, 1), generator=generator)
        rows = torch.unique(torch.cat((batch, space), dim=1), dim=0)
        return rows[torch.randperm(len(rows), generator=generator)].int()

    return make
