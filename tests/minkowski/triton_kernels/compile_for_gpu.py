"""Compiles the kernels for a GPU that need not be there: run by test_compile.py, in a process without the interpreter.

    python compile_for_gpu.py CAPABILITY

Calls the public functions on CPU tensors with launches replaced by compiling, for every dtype, and prints a JSON list
of what the compiler made: kernel, dtype, bytes of shared memory, and counts of instructions.
"""

import json
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget

from pointseg.minkowski import triton as fast
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.triton import implicit_gemm, weight_gradient


class AbsentGPU:
    """As much of a driver as compiling asks for."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return self.target


def main(capability: int) -> None:
    triton.runtime.driver.set_active(AbsentGPU(capability))
    made: list[dict[str, object]] = []
    launch = triton.JITFunction.run

    def compile_only(self: triton.JITFunction, *args: object, **kwargs: object) -> None:
        kernel = launch(self, *args, **{**kwargs, "warmup": True})
        code = kernel.asm["ptx"]
        products = sum(code.count(name) for name in ("mma.sync", "wgmma.mma_async", "tcgen05.mma"))
        made.append(
            {
                "kernel": kernel.name,
                "dtype": dtype,
                "shared": kernel.metadata.shared,
                "tensor_core_products": products,
                "loads_ahead": code.count("cp.async.c"),
                "binary": len(kernel.asm["cubin"]),
            }
        )

    triton.JITFunction.run = compile_only
    rows = torch.arange(6000)
    pairs = ((rows, rows.flip(0)), (rows, rows), (rows.flip(0), rows))
    own = KernelMap.of_pairs(6000, 6000, pairs, mirror=(2, 1, 0))
    other = KernelMap.of_pairs(40, 30, ((rows[:20], rows[:20]),) * 125)
    cases = [("float16", own, 64, 96), ("tf32", own, 32, 32), ("bfloat16", other, 3, 32), ("float32", other, 3, 32)]
    for dtype, kernel_map, c_in, c_out in cases:
        kind = torch.float32 if dtype == "tf32" else getattr(torch, dtype)
        for module in (implicit_gemm, weight_gradient):
            module.uses_tf32 = lambda features: dtype == "tf32"  # noqa: B023
        x = torch.ones(kernel_map.n_in, c_in, dtype=kind)
        w = torch.ones(kernel_map.volume, c_in, c_out, dtype=kind)
        g = torch.ones(kernel_map.n_out, c_out, dtype=kind)
        fast.scatter_products(x, w, kernel_map)
        fast.scatter_products(g, w.transpose(1, 2), kernel_map, transposed=True)
        fast.gather_products(x, g, kernel_map)
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))
