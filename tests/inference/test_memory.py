"""``--memory`` is held by a whole process, and what is estimated is what is taken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pointseg.errors import InputError
from pointseg.inference import memory

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_predict.py"


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from Linux's /proc")
def test_a_cloud_that_would_not_fit_is_predicted_within_the_bound(tmp_path):
    bound = 900_000_000
    size = ["--points", "1800000", "--side", "540", "--width", "8", "--memory", "900MB", "--device", "cpu"]
    settings = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *size, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=settings)
    facts = json.loads(done.stdout)
    # In one piece: the program and the buffers, and of each of these voxels 525 measured bytes.
    assert facts["voxels"] * 525 + 450_000_000 > bound
    assert facts["tiles"] > 2
    assert 0.5 * facts["estimate"] < facts["peak"] < bound
    assert facts["estimate"] <= bound
    assert all(value > 0 for value in facts["seconds"].values())


def test_what_is_left_of_a_bound():
    held = memory.resident_bytes()
    assert held > 50 * 10**6
    assert 10**9 - 2**26 < memory.free_for_work(held + 10**9, 10**8) <= 10**9 + 10**7
    with pytest.raises(InputError, match=r"give at least \d+\.\d\dGB with --memory"):
        memory.free_for_work(held // 2, 10**8)
