"""The benchmarks of preparing data run at small sizes, also where a peer cannot be imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(script, *arguments, path):
    """The script's process, with a folder in front of the import path."""
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / script, *arguments],
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def without_peers(tmp_path):
    for peer in ("open3d", "pandas"):
        (tmp_path / f"{peer}.py").write_text("raise ImportError('no such library')\n")
    return tmp_path


def test_voxels_without_open3d(without_peers):
    done = run("bench_voxels.py", "--points", "4000", path=without_peers)
    assert done.returncode == 0, done.stderr
    lines = {line[:16].strip(): line[16:].strip() for line in done.stdout.splitlines()}
    assert lines["Open3D"] == "left out: open3d cannot be imported (no such library)"
    voxels = {re.split(r" +", lines[name])[3] for name in ("ours", "ours, bare", "sparse_quantize", "numpy.unique")}
    assert len(voxels) == 1, done.stdout
    assert re.split(r" +", lines["ours"])[2] == "1.00"


def test_a_contestant_that_fails_is_named_and_the_exit_code_says_so(tmp_path):
    (tmp_path / "open3d.py").write_text("geometry = None\n")
    done = run("bench_voxels.py", "--points", "1000", path=tmp_path)
    assert done.returncode == 1
    assert re.search(r"^Open3D +failed: AttributeError", done.stdout, re.MULTILINE)
    assert re.search(r"^numpy.unique +[0-9]", done.stdout, re.MULTILINE)


def test_text_without_pandas(without_peers):
    done = run("bench_s3dis_text.py", "--points", "500", path=without_peers)
    assert done.returncode == 0, done.stderr
    assert "pandas is left out: it cannot be imported (no such library)" in done.stdout
    assert re.search(r"^ours .* 1\.00 times ours$", done.stdout, re.MULTILINE)
    assert re.search(r"^numpy\.loadtxt .* times ours$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("script", "said"), [("bench_voxels.py", "at least 1000"), ("bench_s3dis_text.py", "at least 1")]
)
def test_too_few_points_are_one_line(script, said, tmp_path):
    done = run(script, "--points", "0", path=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
