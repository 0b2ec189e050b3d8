"""What makes a step a function of the seed and its number alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from pointseg.methods.distributed import rank


def seed_step(seed: int, step: int) -> None:
    """Seed torch's own generators, of the CPU and of every GPU, for one step (0-based), so that a method or a layer
    that draws from them (dropout, say) goes on exactly after a resume. Of several processes each draws numbers of its
    own, for rows of its own.
    """
    place = (rank(),) if rank() else ()
    torch.manual_seed(int(np.random.SeedSequence((seed, step, 2, *place)).generate_state(1, np.uint64)[0] >> 1))


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Have torch use deterministic algorithms while the block runs, or leave it as it is where not ``wanted``.

    Enter it before anything has run on a GPU: cuBLAS reads its setting when it starts.
    """
    if not wanted:
        yield
        return
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark = torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
