"""Which errors mean too little memory."""

import numpy as np
import pytest
import torch

from pointseg.out_of_memory import is_out_of_memory, out_of_memory_reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_mean_too_little_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_real_allocation_that_fails_is_recognised():
    with pytest.raises((RuntimeError, MemoryError)) as error:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(error.value)
    with pytest.raises(MemoryError) as error:
        np.empty(2**61, np.uint8)
    assert is_out_of_memory(error.value)


def test_the_reason_is_one_line():
    assert out_of_memory_reason(RuntimeError("no room\nException raised from alloc_cpu")) == "out of memory (no room)"
    assert out_of_memory_reason(MemoryError()) == "out of memory (no more memory)"
