"""Bit operations on presence words that run on every GPU and in the interpreter alike."""

import triton
import triton.language as tl


@triton.jit
def either(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    return a | b


@triton.jit
def count_bits(word: tl.tensor) -> tl.tensor:
    """How many bits of an unsigned 32-bit word are set, int32: sums of neighbouring bits, pairs, nibbles, bytes."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24).to(tl.int32)
