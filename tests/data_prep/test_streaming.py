"""Scenes made in bounded memory: the same bytes as in one piece, within the bound, and nothing left when they fail."""

import errno
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import laspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import _streaming
from data_prep._jobs import RawScene
from data_prep._streaming import MIN_MEMORY, check_memory, chunk_points, write_scene_streaming
from pointseg.data import voxel_external, voxel_files
from pointseg.data.scene import open_scene, write_scene
from pointseg.errors import InputError
from pointseg.memory_size import parse_memory

ARRAYS = ("coord", "color", "intensity", "normal", "segment", "instance")
WHAT = {"dataset": "mine", "sources": [{"name": "a.las", "bytes": 3}], "settings": {"label": "class"}}


def cloud(seed, n, *, pile=0.0, left_out=()):
    """Points over a few hundred voxels, a share of them on one spot, far from the origin."""
    rng = np.random.default_rng(seed)
    coord = rng.integers(-300, 300, (n, 3)) * [0.1, 0.07, 0.01] + [400_000.2, -5_000_000.7, 12.0]
    coord[rng.random(n) < pile] = coord[0]
    arrays = {
        "color": rng.integers(0, 256, (n, 3)).astype(np.uint8),
        "intensity": rng.normal(100, 40, n).astype(np.float32),
        "normal": rng.normal(size=(n, 3)).astype(np.float32),
        "segment": rng.integers(-1, 4, n),
        "instance": rng.integers(-1, 50, n),
    }
    return RawScene(coord, **{key: value for key, value in arrays.items() if key not in left_out})


def cut(raw, lengths):
    """The cloud in chunks of these lengths, then the rest."""
    edges = np.minimum(np.cumsum([0, *lengths, len(raw.coord)]), len(raw.coord))
    for start, end in pairwise(edges):
        given = {key: getattr(raw, key) for key in ARRAYS if getattr(raw, key) is not None}
        yield RawScene(**{key: value[start:end] for key, value in given.items()})


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def streamed(root, chunks, capacity, voxel_sizes, piece=None):
    """Files of a scene made with memory for so many points at once, read and sorted by pieces of a few."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(_streaming, "MIN_MEMORY", 0))
        for module in (_streaming, voxel_external) if piece else ():
            stack.enter_context(patch.object(module, "PIECE", piece))
        memory = voxel_external.WORKING_BYTES + capacity * 53  # 25 bytes a record and 28 for sorting it
        write_scene_streaming(root, "train", "x", chunks, memory=memory, voxel_sizes=voxel_sizes, **WHAT)
    return files(root)


@given(st.data())
@settings(max_examples=40)
def test_same_bytes_as_in_one_piece(tmp_path_factory, data):
    tmp_path = tmp_path_factory.mktemp("scene")
    n = data.draw(st.integers(1, 400))
    absent = data.draw(st.sets(st.sampled_from(ARRAYS[1:])))
    pile = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    raw = cloud(data.draw(st.integers(0, 999)), n, pile=pile, left_out=absent)
    sizes = data.draw(st.sampled_from([[0.5], [3.0, 0.02], [100.0], []]))
    lengths = data.draw(st.lists(st.integers(0, 150), max_size=4))
    capacity, piece = data.draw(st.integers(1, 200)), data.draw(st.sampled_from([1, 5, 64, 1 << 15]))
    write_scene(tmp_path / "whole", "train", "x", **vars(raw), voxel_sizes=sizes, **WHAT)
    made = streamed(tmp_path / "stream", cut(raw, lengths), capacity, sizes, piece)
    assert made == files(tmp_path / "whole")


def test_more_files_than_are_made_at_once(tmp_path):
    """With room for two points a file is distributed again, and again."""
    raw = cloud(3, 1500)
    write_scene(tmp_path / "whole", "train", "x", **vars(raw), voxel_sizes=[0.01], **WHAT)
    assert streamed(tmp_path / "stream", [raw], 2, [0.01]) == files(tmp_path / "whole")


def test_a_million_identical_points_with_room_for_a_thousand(tmp_path):
    n = 1_000_000
    raw = RawScene(np.full((n, 3), 1.23), segment=np.arange(n) % 3, intensity=np.arange(n, dtype=np.float32))
    assert "train/x/grid_0.05/inverse.npy" in streamed(tmp_path, [raw], 1000, [0.05])
    grid = open_scene(tmp_path / "train" / "x").grid(0.05)
    assert (grid.point.tolist(), grid.segment.tolist(), grid.intensity.tolist()) == ([0], [0], [499_999.5])
    assert not grid.inverse.any()


def test_repairs_and_facts_are_those_of_all_chunks(tmp_path):
    empty = np.empty((0, 3))
    parts = [
        RawScene(np.zeros((1, 3)), facts={"crs": "a", "n": 1}, repairs=({"file": "f", "what": "one"},)),
        RawScene(empty, facts={"n": 2}, repairs=({"file": "f", "what": "two"},)),
    ]
    write_scene_streaming(tmp_path, "train", "x", parts, memory=MIN_MEMORY, voxel_sizes=[1.0], **WHAT)
    meta = json.loads((tmp_path / "train" / "x" / "meta.json").read_text())
    assert meta["facts"] == {"crs": "a", "n": 2}
    assert [repair["what"] for repair in meta["repairs"]] == ["one", "two"]


PEAK = """
import sys
from pathlib import Path

import numpy as np

from data_prep._jobs import RawScene
from data_prep._streaming import MIN_MEMORY, write_scene_streaming
from pointseg.data.scene import write_scene

out, how, points, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), 50_000

def memory(name):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))

def chunks(count):
    rng = np.random.default_rng(0)
    for _ in range(0, count, step):
        segment = rng.integers(0, 13, step, dtype=np.int16)
        color = rng.integers(0, 256, (step, 3), np.uint8)
        yield RawScene(rng.random((step, 3)) * [900, 900, 90], color, segment=segment)

def write(name, count):
    what = {"dataset": "d", "sources": [], "voxel_sizes": [0.1]}
    if how == "stream":
        write_scene_streaming(out, "s", name, chunks(count), memory=MIN_MEMORY, **what)
    else:
        parts = [(part.coord, part.color, part.segment) for part in chunks(count)]
        coord, color, segment = (np.concatenate(arrays) for arrays in zip(*parts))
        del parts
        write_scene(out, "s", name, coord=coord, color=color, segment=segment, **what)

write("small", step)
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = memory("VmRSS")
write("large", points)
print((memory("VmHWM") - before) / MIN_MEMORY)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_the_bound_holds_where_one_piece_needs_more(tmp_path):
    peak = {}
    for how in ("stream", "whole"):
        command = [sys.executable, "-c", PEAK, str(tmp_path / how), how, "3000000"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        peak[how] = float(run.stdout)
    assert peak["stream"] < 1
    assert peak["whole"] > 1.5
    assert files(tmp_path / "stream" / "s" / "large") == files(tmp_path / "whole" / "s" / "large")


@pytest.mark.parametrize("after", [0, 4, 40])
def test_a_full_disk_leaves_nothing_and_says_how_much_is_needed(tmp_path, after):
    old = cloud(1, 10)
    write_scene(tmp_path, "train", "x", **vars(old), voxel_sizes=[0.5], **WHAT)
    before = files(tmp_path)
    calls = iter(range(10**6))
    write_array = voxel_files.write_array

    def full(file, array):
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_array(file, array)

    with ExitStack() as stack:
        for module in (_streaming, voxel_files, voxel_external):
            stack.enter_context(patch.object(module, "write_array", full))
        with pytest.raises(InputError, match=r"no space left .* scene train/x with the \d+ points .* GB are free"):
            streamed(tmp_path, [cloud(2, 3000)], 100, [0.5])
    assert files(tmp_path) == before
    assert [path.name for path in (tmp_path / "train").iterdir()] == ["x"]


def test_other_system_errors_stay_what_they_are(tmp_path):
    def denied(file, array):
        raise PermissionError(errno.EACCES, "Permission denied")

    with patch.object(_streaming, "write_array", denied), pytest.raises(PermissionError):
        streamed(tmp_path, [cloud(2, 10)], 100, [0.5])
    assert list((tmp_path / "train").iterdir()) == []


def test_the_space_said_to_be_needed_is_enough(tmp_path):
    """All files at every write, against the estimate."""
    most = 0
    write_array = voxel_files.write_array

    def watched(file, array):
        nonlocal most
        write_array(file, array)
        file.flush()
        most = max(most, sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()))

    raw = cloud(5, 20_000)
    with ExitStack() as stack:
        for module in (_streaming, voxel_files, voxel_external):
            stack.enter_context(patch.object(module, "write_array", watched))
        streamed(tmp_path, [raw], 2000, [0.3, 0.01])
    said = _streaming._Cloud("x", len(raw.coord), ARRAYS).disk_bytes([0.3, 0.01])
    assert said / 2 < most < said


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([], "scene train/x has no points"),
        ([RawScene(np.empty((0, 3)))], "scene train/x has no points"),
        ([RawScene(np.zeros((2, 2)))], r"coordinates of shape \(2, 2\)"),
        ([RawScene(np.zeros((3, 3))), RawScene(np.array([[0, 0, 0], [0, np.nan, 0.0]]))], "point 4 is at .*nan"),
        ([RawScene(np.zeros((3, 3))), RawScene(np.array([[np.inf, 0, 0]]))], "point 3 is at .*inf"),
        ([cloud(1, 5), cloud(1, 5, left_out=["color"])], "up to point 5, then coord, segment"),
        ([RawScene(np.zeros((3, 3)), segment=np.zeros(2, int))], "3 points and 2 rows of segment"),
        ([RawScene(np.zeros((3, 3)), color=np.zeros((3, 4), int))], r"color has shape \(3, 4\)"),
        ([RawScene(np.zeros((3, 3)), segment=np.full(3, -2))], r"must be whole numbers in -1\.\.32767"),
        ([RawScene(np.zeros((3, 3)), segment=np.zeros(3))], "segment is float64"),
        ([RawScene(np.array([[0, 0, 0], [1e9, 0, 0]]))], "spans .* voxels"),
    ],
)
def test_bad_clouds_are_refused_and_leave_nothing(tmp_path, chunks, message):
    with pytest.raises(InputError, match=message):
        streamed(tmp_path, chunks, 100, [0.5])
    assert list((tmp_path / "train").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"split": "sparse_labels"}, "cannot name a split"),
        ({"name": "../x"}, "cannot name a split"),
        ({"voxel_sizes": [0.0]}, "voxel size is 0.0"),
        ({"memory": MIN_MEMORY - 1}, "memory bound is 134 MB; it must be at least 135 MB"),
    ],
)
def test_bad_settings_are_refused_before_the_source_is_read(tmp_path, more, message):
    def unread():
        raise AssertionError("the source was read")
        yield

    given = {"split": "train", "name": "x", "voxel_sizes": [0.5], "memory": MIN_MEMORY} | more
    with pytest.raises(InputError, match=message):
        write_scene_streaming(tmp_path, chunks=unread(), **given, **WHAT)
    assert list(tmp_path.iterdir()) == []


def test_memory_in_words():
    assert parse_memory("4GB") == 4 * 10**9
    assert parse_memory(" 1.5 gb ") == 1_500_000_000
    assert parse_memory("512MiB") == 512 * 2**20
    assert parse_memory("200000kB") == 200_000_000
    for text in ("4", "4G", "GB", "-4GB", "4 apples", "1e3GB", "nanGB", ""):
        with pytest.raises(InputError, match=r"number and a unit .* such as 4GB"):
            parse_memory(text)
    with pytest.raises(InputError, match="is 64 MB; it must be at least 135 MB"):
        check_memory(parse_memory("64MB"))


def test_chunks_grow_with_the_bound_and_never_vanish():
    assert 0 < chunk_points(MIN_MEMORY) < chunk_points(10**9) < chunk_points(10**10)
    assert chunk_points(10**9) * 100 < 10**9


DATA = os.environ.get("POINTSEG_TEST_DATA")
TILE = Path(DATA or ".") / "urban" / "brighton_small.laz"


@pytest.mark.skipif(not DATA or not TILE.is_file(), reason="POINTSEG_TEST_DATA does not hold the aerial tile")
def test_a_real_tile_is_the_same_as_in_one_piece(tmp_path):
    tile = laspy.read(TILE)
    classes = np.asarray(tile.classification).astype(np.int16)
    raw = RawScene(np.asarray(tile.xyz), intensity=np.asarray(tile.intensity, np.float32), segment=classes)
    write_scene(tmp_path / "whole", "train", "x", **vars(raw), voxel_sizes=[0.5, 5.0], **WHAT)
    made = streamed(tmp_path / "stream", cut(raw, [100_000, 150_000]), 30_000, [0.5, 5.0])
    assert made == files(tmp_path / "whole")
    assert len(raw.coord) == 401_286
