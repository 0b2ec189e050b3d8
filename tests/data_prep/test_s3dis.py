"""S3DIS rooms in their native layout to prepared scenes: what is read, skipped, mended, kept, refused, interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep import s3dis
from data_prep._jobs import Store, prepare_scenes
from data_prep._main import run_module
from data_prep._s3dis_counts import missing
from data_prep._s3dis_defects import STRAY_BYTES
from data_prep._s3dis_room import annotation_files
from pointseg.data.classes import load_classes
from pointseg.data.scene import list_scenes, open_scene
from pointseg.errors import InputError

CLASSES = load_classes("s3dis")
REPOSITORY = Path(__file__).resolve().parents[2]


def write_object(raw, room, name, n, seed=0):
    """Write ``raw/<room>/Annotations/<name>.txt`` with n points; returns (n, 6) as written."""
    rng = np.random.default_rng([seed, n])
    rows = np.hstack([rng.uniform(-3, 3, (n, 3)).round(3), rng.integers(0, 256, (n, 3))])
    folder = raw / room / "Annotations"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{x:.3f} {y:.3f} {z:.3f} {r:.0f} {g:.0f} {b:.0f}\n" for x, y, z, r, g, b in rows]
    (folder / f"{name}.txt").write_text("".join(lines))
    return rows


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / "raw"
    for room in ("Area_1/office_1", "Area_1/hallway_2", "Area_5/office_1"):
        write_object(raw, room, "floor_1", 50)
        write_object(raw, room, "chair_1", 20, seed=1)
    return raw


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def prepare(raw, out, *, classes=CLASSES, voxel_sizes=(0.5,), areas=None, workers=1, dataset="s3dis"):
    jobs = s3dis.jobs(raw, classes, areas)
    return prepare_scenes(jobs, Store(out, dataset, classes, tuple(voxel_sizes)), workers=workers)


def statuses(report):
    return {result.name: result.status for result in report.results}


def hidden(folder):
    return [p for p in folder.rglob(".*") if p.name.startswith(".")]


def test_points_classes_and_instances(tmp_path, out):
    names = ["chair_2", "chair_10", "wall_1", "stairs_1", "floor_1"]
    rows = {name: write_object(tmp_path / "raw", "Area_2/x_1", name, 10 + i, i) for i, name in enumerate(names)}
    report = prepare(tmp_path / "raw", out)
    assert statuses(report) == {"Area_2/x_1": "written"}
    scene = open_scene(out / "Area_2" / "x_1")
    order = ["chair_2", "chair_10", "floor_1", "stairs_1", "wall_1"]
    expected = np.concatenate([rows[name] for name in order])
    np.testing.assert_allclose(scene.coord + scene.offset, expected[:, :3], atol=1e-6)
    np.testing.assert_array_equal(scene.color, expected[:, 3:])
    lengths = [len(rows[name]) for name in order]
    ids = [CLASSES.index(name) for name in ("chair", "chair", "floor", "clutter", "wall")]
    np.testing.assert_array_equal(scene.segment, np.repeat(ids, lengths))
    np.testing.assert_array_equal(scene.instance, np.repeat(range(5), lengths))
    assert scene.meta["dataset"] == "s3dis"
    assert [entry["name"] for entry in scene.meta["sources"]] == [f"Area_2/x_1/Annotations/{n}.txt" for n in order]
    assert load_classes(out / "classes.yaml") == CLASSES


def test_ignored_source_names_become_minus_one(raw, out, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "dataset: mine\nclasses: [{name: floor, color: [1, 2, 3], source: [floor]}]\nignore: [chair]\n"
    )
    prepare(raw, out, classes=load_classes(tmp_path / "mine.yaml"))
    scene = open_scene(out / "Area_1" / "office_1")
    assert scene.meta["counts"] == {"-1": 20, "0": 50}


def test_files_that_are_no_annotations_are_passed_over(raw, out):
    folder = raw / "Area_1" / "office_1" / "Annotations"
    for name in (".DS_Store", "._floor_1.txt", "Icon\r", "floor_1.txt.bak"):
        (folder / name).write_bytes(b"\x00\x01")
    (raw / ".DS_Store").write_bytes(b"\x00")
    (raw / "Area_1" / ".DS_Store").write_bytes(b"\x00")
    (raw / "Area_1" / "Area_1_alignmentAngle.txt").write_text("office_1 90\n")
    (raw / "Area_1" / "office_1" / "office_1.txt").write_text("not read\n")
    (raw / "Area_1" / ".ipynb_checkpoints").mkdir()
    report = prepare(raw, out)
    assert set(statuses(report).values()) == {"written"}
    assert len(report.results) == 3
    assert open_scene(out / "Area_1" / "office_1").num_points == 70


def test_duplicates_and_empty_files_are_skipped_on_record(raw, out):
    folder = raw / "Area_1" / "office_1" / "Annotations"
    shutil.copy(folder / "chair_1.txt", folder / "chair_1 (1).txt")
    (folder / "beam_1.txt").write_text("\n")
    write_object(raw, "Area_1/office_1", "door_4 (2)", 5)
    prepare(raw, out)
    scene = open_scene(out / "Area_1" / "office_1")
    assert scene.num_points == 75
    assert scene.meta["counts"][str(CLASSES.index("door"))] == 5, "a copy without its original is the object itself"
    assert np.unique(scene.instance).tolist() == [0, 1, 2]
    assert scene.meta["repairs"] == [
        {"file": "Area_1/office_1/Annotations/beam_1.txt", "kind": "empty", "what": "skipped, it holds no points"},
        {
            "file": "Area_1/office_1/Annotations/chair_1 (1).txt",
            "kind": "duplicate",
            "what": "skipped, a copy of chair_1.txt",
        },
    ]


def test_natural_order(tmp_path):
    for name in ("wall_10", "wall_2", "9_wall", "beam_1", "wall"):
        write_object(tmp_path, "room", name, 1)
    names = [p.stem for p in annotation_files(tmp_path / "room" / "Annotations")]
    assert names == ["9_wall", "beam_1", "wall", "wall_2", "wall_10"]


def test_the_known_defects_are_recognised_on_their_lines(tmp_path, out):
    defects = [defect for defect in STRAY_BYTES if "/Annotations/" in defect.file]
    for defect in defects:
        path = tmp_path / "raw" / defect.file
        path.parent.mkdir(parents=True)
        bad = b"22.35 6.69 3.04 " + defect.holds + (b" 190\n" if b"\x00" in defect.holds else b" 187 190\n")
        path.write_bytes(b"22.350 6.692 3.048 1 2 3\n" * (defect.line - 1) + bad + b"1.0 2.0 3.0 4 5 6\n")
    report = prepare(tmp_path / "raw", out)
    repairs = [repair for result in report.results for repair in result.repairs]
    assert {repair["file"]: repair["line"] for repair in repairs} == {d.file: d.line for d in defects}
    assert all(repair["known"] and repair["kind"] == "stray bytes" for repair in repairs)
    colors = {scene.name: scene.color[-2].tolist() for scene in list_scenes(out)}
    assert colors == {"hallway_6": [185, 187, 190], "office_19": [103, 187, 190]}
    for scene in list_scenes(out):
        assert scene.meta["repairs"] == [r for r in repairs if r["file"].startswith(f"{scene.split}/{scene.name}/")]


def test_normals_are_stored_when_asked_for_and_only_then(raw, out):
    prepare(raw, out)
    assert open_scene(out / "Area_1" / "office_1").normal is None
    store = Store(out, "s3dis", CLASSES, (0.5,))
    report = prepare_scenes(s3dis.jobs(raw, CLASSES, normals=True), store, workers=1)
    assert set(statuses(report).values()) == {"written"}
    scene = open_scene(out / "Area_1" / "office_1")
    np.testing.assert_allclose(np.linalg.norm(scene.normal, axis=1), 1, atol=1e-6)


def test_an_unknown_defect_is_mended_and_said_to_be_unknown(raw, out, capsys):
    with (raw / "Area_1/office_1/Annotations/chair_1.txt").open("ab") as file:
        file.write(b"1.5 2.5 3.5 4\x165 6\n")
    code = run_module(
        s3dis.HELP, s3dis.add_arguments, s3dis.run, ["--raw", str(raw), "--out", str(out), "--workers", "1"]
    )
    assert code == 0
    printed = capsys.readouterr().out
    assert (
        "repaired: Area_1/office_1/Annotations/chair_1.txt, line 21: unknown defect, '1.5 2.5 3.5 4\\x165 6' read as "
        "'1.5 2.5 3.5 4 5 6'"
    ) in printed
    assert "3 scenes written, 0 up to date, 0 failed; 211 points" in printed
    assert "not prepared: Area_2, Area_3, Area_4, Area_6" in printed


BAD_ROOMS = {
    "a line that cannot be repaired": (lambda f: (f / "floor_1.txt").write_text("1 2 3 4 5\n"), "floor_1.txt, line 1"),
    "an unknown class": (
        lambda f: (f / "throne_1.txt").write_text("1 2 3 4 5 6\n"),
        "no class has the source name 'throne'",
    ),
    "no annotation files": (lambda f: [p.unlink() for p in f.iterdir()], "holds no annotation files"),
    "no Annotations folder": (shutil.rmtree, "there is no folder"),
    "no points at all": (lambda f: [p.write_text("") for p in f.iterdir()], "holds no points at all"),
    "a folder in place of a file": (lambda f: (f / "wall_1.txt").mkdir(), "Is a directory"),
}


@pytest.mark.parametrize("name", BAD_ROOMS)
def test_one_bad_room_does_not_stop_the_others(raw, out, capsys, name):
    damage, message = BAD_ROOMS[name]
    damage(raw / "Area_1" / "office_1" / "Annotations")
    arguments = ["--raw", str(raw), "--out", str(out), "--workers", "1"]
    assert run_module(s3dis.HELP, s3dis.add_arguments, s3dis.run, arguments) == 1
    captured = capsys.readouterr()
    assert "2 scenes written, 0 up to date, 1 failed" in captured.out
    assert "failed: Area_1/office_1: " in captured.err
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert [(s.split, s.name) for s in list_scenes(out)] == [("Area_1", "hallway_2"), ("Area_5", "office_1")]
    assert hidden(out) == []


def test_processes_and_one_process_give_the_same_files(raw, out, tmp_path):
    prepare(raw, out, workers=2)
    prepare(raw, tmp_path / "one", workers=1)
    files = sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    for file in files:
        assert (out / file).read_bytes() == (tmp_path / "one" / file).read_bytes()


def stamps(folder):
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in folder.rglob("*.npy")}


def test_a_second_run_keeps_everything(raw, out):
    prepare(raw, out)
    before = stamps(out)
    report = prepare(raw, out)
    assert set(statuses(report).values()) == {"kept"}
    assert sum(result.points for result in report.results) == 210
    assert stamps(out) == before


CHANGES = {
    "another content of the same length": lambda f: f.write_bytes(f.read_bytes().replace(b"-", b" ")),
    "one point more": lambda f: f.write_bytes(f.read_bytes() + b"1 2 3 4 5 6\n"),
    "a file more": lambda f: shutil.copy(f, f.with_name("chair_7.txt")),
    "a file less": lambda f: f.unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_rooms_are_done_again_and_only_they(raw, out, name):
    prepare(raw, out)
    CHANGES[name](raw / "Area_1" / "office_1" / "Annotations" / "chair_1.txt")
    report = prepare(raw, out)
    assert statuses(report) == {"Area_1/hallway_2": "kept", "Area_1/office_1": "written", "Area_5/office_1": "kept"}
    fresh = prepare(raw, out.with_name("fresh"))
    assert [r.points for r in report.results] == [r.points for r in fresh.results]


def test_touched_but_equal_files_are_kept(raw, out):
    prepare(raw, out)
    os.utime(raw / "Area_1" / "office_1" / "Annotations" / "chair_1.txt", (1, 1))
    assert set(statuses(prepare(raw, out)).values()) == {"kept"}


def test_a_damaged_scene_is_done_again(raw, out):
    prepare(raw, out)
    file = out / "Area_1" / "office_1" / "coord.npy"
    file.write_bytes(file.read_bytes()[:-1])
    assert statuses(prepare(raw, out))["Area_1/office_1"] == "written"
    assert open_scene(file.parent).num_points == 70


def test_a_new_voxel_size_is_added_without_parsing_again(raw, out):
    prepare(raw, out)
    before = stamps(out)
    report = prepare(raw, out, voxel_sizes=[0.25])
    assert set(statuses(report).values()) == {"kept"}
    assert all(scene.voxel_sizes == (0.25, 0.5) for scene in list_scenes(out))
    assert {file: stamp for file, stamp in stamps(out).items() if file in before} == before


def test_only_the_areas_that_were_named(raw, out):
    report = prepare(raw, out, areas=["Area_5"])
    assert list(statuses(report)) == ["Area_5/office_1"]
    assert missing(raw)[0] == "not in the raw folder, so not prepared: Area_2, Area_3, Area_4, Area_6"


def test_what_a_killed_run_left_is_removed(raw, out):
    prepare(raw, out)
    (out / "Area_1" / ".office_9.abc.tmp").mkdir()
    prepare(raw, out)
    assert hidden(out) == []


def test_refusals(raw, out, tmp_path):
    for change, message in [
        ({"raw": tmp_path / "nowhere"}, "there is no folder .*nowhere"),
        ({"raw": tmp_path}, r"holds no areas; did you mean .*raw\?"),
        ({"raw": raw / "Area_1"}, r"holds no areas; give the folder"),
        ({"areas": ["Area_7"]}, r"no area 'Area_7'; it has Area_1, Area_5"),
        ({"voxel_sizes": [0.0]}, "voxel size is 0.0"),
        ({"workers": 0}, "--workers is 0"),
    ]:
        with pytest.raises(InputError, match=message):
            prepare(**({"raw": raw, "out": out} | change))
    assert not out.exists()
    (tmp_path / "empty" / "Area_1").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no rooms"):
        prepare(tmp_path / "empty", out)


def test_a_root_of_other_classes_or_of_another_data_set_is_refused(raw, out, tmp_path):
    prepare(raw, out, dataset="synthetic")
    report = prepare(raw, out)
    assert set(statuses(report).values()) == {"failed"}
    assert "was prepared from synthetic, not s3dis" in report.failed[0].error
    other = tmp_path / "other.yaml"
    other.write_text((out / "classes.yaml").read_text().replace("name: board", "name: poster"))
    with pytest.raises(InputError, match="was prepared with other classes"):
        prepare(raw, out, classes=load_classes(other))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_an_interrupt_leaves_whole_scenes_only_and_prints_one_line(raw, out):
    # Nobody ever writes to the pipe, so this room is in work until the interrupt.
    (raw / "Area_9" / "endless_1" / "Annotations").mkdir(parents=True)
    os.mkfifo(raw / "Area_9" / "endless_1" / "Annotations" / "wall_1.txt")
    command = [sys.executable, "-m", "data_prep.s3dis", "--raw", str(raw), "--out", str(out), "--workers", "2"]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("*/*/meta.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    (out / "Area_9").mkdir()
    (out / "Area_9" / ".endless_1.abc.tmp").mkdir()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.count("interrupted; finished scenes are kept") == 1
    assert len(list_scenes(out)) == 3
    assert hidden(out) == []


def test_meta_is_plain_json_with_the_sources_hashes(raw, out):
    prepare(raw, out)
    meta = json.loads((out / "Area_1" / "office_1" / "meta.json").read_text())
    path = raw / meta["sources"][0]["name"]
    done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("needs sha256sum")
    assert meta["sources"][0]["sha256"] == done.stdout.split()[0]
    assert meta["sources"][0]["bytes"] == path.stat().st_size
