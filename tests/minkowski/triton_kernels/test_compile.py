"""The interpreter takes more than the compiler does: the kernels compile for GPUs, through the functions users call."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pointseg.minkowski.triton import available

SCRIPT = Path(__file__).with_name("compile_for_gpu.py")
# Shared memory a block may have: Ampere's gaming GPUs have the least of those whose tensor cores Triton uses.
SHARED = 99 * 1024


@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for(capability: int, tmp_path: Path) -> None:
    if not available():
        pytest.skip("triton is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(capability)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {entry["kernel"] for entry in made} == {"_implicit_gemm", "_multiply_pieces", "_add_pieces"}
    for entry in made:
        assert entry["binary"] > 0
        assert entry["shared"] <= SHARED
        if entry["kernel"] != "_add_pieces":
            assert entry["loads_ahead"] > 0, f"{entry} waits for every load"
            assert (entry["tensor_core_products"] > 0) == (entry["dtype"] != "float32")
