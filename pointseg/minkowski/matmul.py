"""Dense fp32 products by the faster of the two libraries inside torch, and shapes that repeat.

On CPUs that are not Intel's, ``torch.mm`` in fp32 runs MKL at half of what the processor can do; oneDNN reaches twice
the speed with the same accuracy. torch sends fp32 products to oneDNN where its reduced precision is allowed. On a
processor with AMX that really rounds to bf16, so it is asked for only where a trial shows that nothing is rounded.

oneDNN compiles a kernel for every new shape, about a millisecond and 0.6 MB each, and forgets none. The number of pairs
changes with every cloud, so products are cut into pieces of few sizes; the last piece is padded.
"""

import platform
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

SIZES = tuple(64 << i for i in range(8))
"""Rows that products run on."""

_CALL = 3e6
"""Multiplications that could be done in the time one call takes."""


@lru_cache(maxsize=2**16)
def pieces(rows: int, work: int, device_type: str) -> tuple[int, ...]:
    """The sizes, together at least ``rows``, of the products that a product of ``rows`` rows is made of.

    Args:
        rows: at least 1.
        work: multiplications a row.
        device_type: other devices than "cpu" take any size.
    """
    if device_type != "cpu":
        return (rows,)
    whole = max((size for size in SIZES if size <= rows), default=0)
    padded = next((size for size in SIZES if size >= rows), None)
    if whole == rows or not whole:
        return (SIZES[0],) if not whole else (rows,)
    cut = (whole, *pieces(rows - whole, work, device_type))
    if padded is not None and padded * work + _CALL <= sum(cut) * work + _CALL * len(cut):
        return (padded,)
    return cut


def fast_products(like: Tensor) -> AbstractContextManager[None]:
    """Inside, ``torch.mm`` of tensors of this dtype and device is as fast as it gets at full accuracy."""
    if like.device.type == "cpu" and like.dtype == torch.float32 and _onednn_is_exact():
        return _onednn()
    return nullcontext()


class _Users:
    """Who runs on oneDNN now: the setting is the whole process's, and threads enter and leave in any order."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.before = ""


_USERS = _Users()


@contextmanager
def _onednn() -> Iterator[None]:
    settings: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    with _USERS.lock:
        if _USERS.count == 0:
            _USERS.before = settings.fp32_precision
            settings.fp32_precision = "bf16"
        _USERS.count += 1
    try:
        yield
    finally:
        with _USERS.lock:
            _USERS.count -= 1
            # Whatever else it is by now, another thread chose.
            if _USERS.count == 0 and settings.fp32_precision == "bf16":
                settings.fp32_precision = _USERS.before


@cache
def _onednn_is_exact() -> bool:
    """Whether oneDNN, told that it may round fp32 products to bf16, does not."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    for rows in (SIZES[0], 1024):
        left, right = (torch.rand(rows, 128, generator=generator) + 0.5 for _ in range(2))
        with _onednn():
            products = torch.mm(left, right[:128].T), torch.mm(left.T, right)
        exact = left.double() @ right[:128].double().T, left.double().T @ right.double()
        # Rounding to bf16 costs 1e-3.
        if any(float((a - b).abs().max() / b.max()) > 1e-5 for a, b in zip(products, exact, strict=True)):
            return False
    return True
