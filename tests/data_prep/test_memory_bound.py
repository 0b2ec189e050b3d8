"""``--memory``: own clouds and tiles prepared in chunks give the same root, byte for byte, as prepared whole."""

import os
import re
import tracemalloc
from pathlib import Path

import laspy
import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from data_prep import _streaming, cloud, sensaturban
from data_prep._jobs import prepare_scenes
from data_prep._main import run_module
from data_prep._scene_job import Store
from data_prep._sensaturban_tile import read_chunks
from data_prep.synthetic.sensaturban_writer import write_sensaturban
from pointseg.data.classes import load_classes
from pointseg.data.scene import list_scenes

REAL = Path(os.environ.get("POINTSEG_TEST_DATA", "nowhere")) / "urban"


def content(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Chunks and buffers of a few hundred points, so that small clouds are cut into many."""
    monkeypatch.setattr("data_prep._scene_job.chunk_points", lambda memory: 700)


def both(jobs, classes, tmp_path):
    roots = []
    for name, memory in (("whole", None), ("bounded", _streaming.MIN_MEMORY)):
        report = prepare_scenes(jobs, Store(tmp_path / name, "mine", classes, (0.5, 2.0), memory))
        assert not report.failed, report.failed
        roots.append(tmp_path / name)
    assert content(roots[0]) == content(roots[1])
    return list_scenes(roots[1])


def write_las(path, n=5000):
    rng = np.random.default_rng(0)
    las = laspy.LasData(laspy.LasHeader(point_format=7, version="1.4"))
    las.header.scales, las.header.offsets = [0.001] * 3, [700_000, 6_000_000, 0]
    las.x, las.y, las.z = rng.uniform(0, 30, (3, n)) + np.array([[770_500], [6_277_550], [40]])
    las.red, las.green, las.blue = rng.integers(0, 65536, (3, n))
    las.intensity = rng.integers(0, 4000, n)
    las.classification = rng.choice([1, 2, 5, 6], n)
    las.write(str(path))


def test_a_coloured_las_cloud(tmp_path):
    write_las(tmp_path / "a.las")
    classes = load_classes("asprs")
    (scene,) = both(cloud.jobs([tmp_path / "a.las"], classes), classes, tmp_path)
    assert scene.num_points == 5000
    assert scene.meta["repairs"][-1]["what"].startswith("ignored, by the class file: 1 (")
    assert scene.meta["facts"]["label_field"] == "classification"


def test_generated_tiles(tmp_path):
    write_sensaturban(tmp_path / "raw", tiles=2, seed=0, density=3)
    classes = load_classes("sensaturban")
    scenes = both(sensaturban.jobs(tmp_path / "raw", classes), classes, tmp_path)
    assert len(scenes) == 2
    assert min(scene.num_points for scene in scenes) > 2000


def resident_file_pages():
    return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux to count a process's pages")
def test_a_tile_read_in_chunks_is_never_held_whole(tmp_path):
    row = [*((axis, "<f8") for axis in "xyz"), *((name, "u1") for name in ("red", "green", "blue", "class"))]
    vertices = np.zeros(1_000_000, row)
    vertices["x"], vertices["class"] = np.linspace(400_000, 400_500, len(vertices)), 3
    path = tmp_path / "birmingham_block_0.ply"
    PlyData([PlyElement.describe(vertices, "vertex")]).write(str(path))
    size, most, before = path.stat().st_size, 0, resident_file_pages()
    tracemalloc.start()
    chunks = read_chunks((path,), 50_000, labels={3: 5}, labelled=True)
    for number, chunk in enumerate(chunks):
        assert (chunk.segment is None) == (number == 20)
        most = max(most, resident_file_pages() - before)
    assert chunk.facts["coordinate_step_metres"] == 2.0**-34
    assert tracemalloc.get_traced_memory()[1] < size / 4
    tracemalloc.stop()
    assert most < size / 4


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real scenes: set POINTSEG_TEST_DATA")
def test_a_real_tile(tmp_path):
    classes = load_classes("asprs")
    (scene,) = both(cloud.jobs([REAL / "test_data_77055_627760_LA93_IGN69.laz"], classes), classes, tmp_path)
    assert scene.num_points == 60_653


def test_ids_without_a_class_are_listed_with_all_their_points(tmp_path):
    write_las(tmp_path / "a.las")
    (tmp_path / "mine.yaml").write_text("dataset: mine\nclasses: [{name: ground, color: [1, 2, 3], source: [2]}]\n")
    classes = load_classes(tmp_path / "mine.yaml")
    jobs = cloud.jobs([tmp_path / "a.las"], classes)
    errors = [
        prepare_scenes(jobs, Store(tmp_path / "out", "mine", classes, (1.0,), memory)).failed[0].error
        for memory in (None, _streaming.MIN_MEMORY)
    ]
    counts = {i: int((laspy.read(tmp_path / "a.las").classification == i).sum()) for i in (1, 5, 6)}
    assert errors[0] == errors[1]
    assert all(f"{i} ({n:,} points)" in errors[0] for i, n in counts.items())
    assert list((tmp_path / "out" / "all").iterdir()) == []


@pytest.mark.parametrize(
    ("memory", "workers", "message"),
    [("12", 1, "the memory bound is '12'"), ("1MB", 1, "1 MB; it must be at least"), ("200MB", 2, "2 workers share")],
)
def test_bounds_that_cannot_be_kept(tmp_path, capsys, memory, workers, message):
    files = [tmp_path / "a.las", tmp_path / "b.las"]
    for file in files:
        write_las(file, 50)
    arguments = [*map(str, files), "--out", str(tmp_path / "out"), "--classes", "asprs"]
    code = run_module(
        cloud.HELP, cloud.add_arguments, cloud.run, [*arguments, "--memory", memory, "--workers", str(workers)]
    )
    assert code == 2
    assert message in capsys.readouterr().err
