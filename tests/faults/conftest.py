"""A small run, its exported model and a coloured scan, and ways to call commands and to make them fail."""

import os
import shutil
import subprocess
import sys

import laspy
import numpy as np
import pytest

from pointseg.cli.main import main

TRAINING = [
    "data.voxel_size=0.1",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=2",
    "batch_size=1",
    "optimizer.warmup_steps=0",
]


@pytest.fixture(scope="session")
def trained_once(rooms_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("once")
    recipe = ["synthetic_supervised", "--data", str(rooms_root), "--labels", "1pct_seed0", "--out", str(out / "run")]
    assert main(["train", *recipe, "--workers", "0", "--device", "cpu", "--set", *TRAINING]) == 0
    assert main(["predict", str(out / "run"), "--export", str(out / "model")]) == 0
    return out


@pytest.fixture
def root(rooms_root, tmp_path):
    """A prepared root of one's own."""
    return shutil.copytree(rooms_root, tmp_path / "root")


@pytest.fixture
def run(trained_once, tmp_path):
    """A run folder of one's own."""
    return shutil.copytree(trained_once / "run", tmp_path / "run")


@pytest.fixture
def model(trained_once, tmp_path):
    """A model folder of one's own."""
    return shutil.copytree(trained_once / "model", tmp_path / "model")


@pytest.fixture
def scan(tmp_path):
    """A coloured LAS file of 2000 points."""
    rng = np.random.default_rng(0)
    las = laspy.LasData(laspy.LasHeader(point_format=2, version="1.2"))
    las.header.scales = [0.001] * 3
    las.x, las.y, las.z = rng.uniform(0, 4, (3, 2000))
    las.red, las.green, las.blue = rng.integers(0, 65536, (3, 2000))
    las.classification = rng.choice([2, 6], 2000)
    las.write(str(tmp_path / "scan.las"))
    return tmp_path / "scan.las"


@pytest.fixture
def disk(tmp_path):
    """``disk(kib, "rw" or "ro")``: a file system of so many KiB; called again, it is as it is told then."""
    place = tmp_path / "out"
    place.mkdir()

    def size(kib, may="rw"):
        option = f"{'remount,' if os.path.ismount(place) else ''}{may},size={kib}k"
        return subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", place], capture_output=True, check=False)

    if not sys.platform.startswith("linux") or os.geteuid() != 0 or size(8).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    yield size
    subprocess.run(["umount", place], check=False)


@pytest.fixture
def command(capsys):
    """``command(*arguments)``: the exit code, and what was said on stderr besides progress."""

    def call(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        lines = capsys.readouterr().err.splitlines()
        said = [line for line in lines if any(word in line for word in ("error:", "failed", "interrupted", "problem:"))]
        assert not any("Traceback" in line for line in lines)
        return code, said

    return call


class _AtWriting:
    """Calls ``act`` at the n-th opening of a file for writing below ``place``; 0 = never."""

    def __init__(self):
        self.place, self.left, self.act = "", 0, None

    def __call__(self, event, args):
        if event != "open" or not self.left or not isinstance(args[1], str) or not set(args[1]) & set("wxa+"):
            return
        if str(args[0]).startswith(self.place):
            self.left -= 1
            if self.left == 0:
                self.act()


_HOOK = _AtWriting()


@pytest.fixture
def at_writing():
    """``at_writing(place, n, act)``: have something happen when the n-th file below a place is opened for writing."""
    if not getattr(_HOOK, "installed", False):
        sys.addaudithook(_HOOK)
        _HOOK.installed = True

    def plan(place, number, act):
        _HOOK.place, _HOOK.left, _HOOK.act = os.fspath(place), number, act

    yield plan
    _HOOK.left = 0


def content(folder):
    """Every file below a folder and what it holds."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def content_of():
    return content
