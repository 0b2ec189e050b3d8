"""Telling a lack of memory, on the CPU or on a GPU, from other errors.

torch is not imported here, so that commands start without it.
"""

from __future__ import annotations

import re

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|cannot allocate memory|std::bad_alloc", re.I
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was too little memory.

    CPUs and Apple's GPUs say it in a plain ``RuntimeError`` of torch's, CUDA in ``torch.OutOfMemoryError``.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def out_of_memory_reason(error: BaseException) -> str:
    """What such an error says, in one line."""
    return f"out of memory ({(str(error).splitlines() or ['no more memory'])[0].strip()})"
