"""Prediction keeps the bound it is given on a cloud far larger than that."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = 20_000_000
MEMORY = 800 * 10**6
ROW, FIELDS = 26, 10
"""Bytes of a point in the source, and of the fields that are added."""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux to measure a process's peak memory")
def test_twenty_million_points_stay_below_eight_hundred_megabytes(tmp_path):
    if shutil.disk_usage(tmp_path).free < 4 * 10**9:
        pytest.skip("needs 4 GB of free disk")
    script = Path(__file__).with_name("predict_large.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(POINTS), str(MEMORY)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)

    assert facts["tiles"] > 2
    assert facts["peak"] < MEMORY, facts
    assert facts["estimate"] <= MEMORY
    assert facts["bytes"] > POINTS * (ROW + FIELDS)
