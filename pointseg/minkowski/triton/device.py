"""Where Triton can run, and how it multiplies there."""

import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

# The oldest GPUs that Triton compiles for, and the oldest whose tensor cores it uses (seen in what it compiles).
OLDEST = (7, 0)
OLDEST_TENSOR_CORES = (8, 0)
# Stands for the number of multiprocessors under the interpreter: only how sums are split depends on it.
INTERPRETED_PROCESSORS = 4


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on CPU tensors, for tests."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def available() -> bool:
    """Whether Triton is installed and can run here: a CUDA device of capability 7.0, or the interpreter."""
    if not _installed():
        return False
    return interpreted() or (torch.cuda.is_available() and torch.cuda.get_device_capability() >= OLDEST)


def supports(features: Tensor) -> bool:
    """Whether convolutions of these features should come here: on a CUDA device that multiplies their dtype well.

    Half precision on GPUs before Ampere is left to torch, whose products use their tensor cores. Never true for CPU
    tensors: the interpreter is far slower than torch.
    """
    if features.device.type != "cuda" or features.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return False
    oldest = OLDEST if features.dtype == torch.float32 else OLDEST_TENSOR_CORES
    return available() and torch.cuda.get_device_capability(features.device) >= oldest


def uses_tf32(features: Tensor) -> bool:
    """Whether products of these features are rounded to tf32, as torch's own switch says.

    Asked in the new way, which answers however it was set; the old one raises once the new one was used.
    """
    return (
        features.dtype == torch.float32
        and features.device.type == "cuda"
        and torch.backends.cuda.matmul.fp32_precision == "tf32"
        and torch.cuda.get_device_capability(features.device) >= OLDEST_TENSOR_CORES
    )


def processors(device: torch.device) -> int:
    """How many multiprocessors the device has."""
    if device.type != "cuda":
        return INTERPRETED_PROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count


def dot_dtype(dtype: torch.dtype) -> Any:
    """Triton's dtype that values are multiplied in: their own; the interpreter has no bf16 products, fp32 is exact."""
    import triton.language as tl

    if dtype == torch.bfloat16 and interpreted():
        return tl.float32
    return {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16, torch.float32: tl.float32}[dtype]


def current(device: torch.device) -> AbstractContextManager[object]:
    """Makes the device the current one, on which Triton launches."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None
