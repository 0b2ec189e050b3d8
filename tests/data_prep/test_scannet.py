"""ScanNet's scenes from files written here: classes, objects, splits, alignment, and everything that can be wrong."""

import argparse
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from data_prep import scannet
from data_prep._scannet_scene import Reading, read_scene
from pointseg.data.classes import load_classes
from pointseg.data.label_clicks import import_clicks
from pointseg.data.scene import open_scene
from pointseg.errors import InputError

SCENE = "scene0270_00"
# One vertex for every NYU40 id, then two unknown ids, twice each.
LABELS = [*range(41), 50, 149, 50, 149]
SEGMENTS = [7] * 10 + [20] * 10 + [3] * 10 + [99] * 15
GROUPS = [
    {"id": 0, "objectId": 0, "label": "desk", "segments": [7]},
    {"id": 1, "objectId": 5, "label": "office chair", "segments": [3, 20]},
]
TABLE = [("wall", 1, 1), ("chair", 2, 5), ("office chair", 10, 5), ("desk", 9, 14), ("globe", 269, 40)]
IDS20 = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]
TURN = [0, -1, 0, 10, 1, 0, 0, 20, 0, 0, 1, 30, 0, 0, 0, 1]


def coord_of(n):
    """Points on a strip of triangles, millimetres as whole numbers so that float32 is exact."""
    k = np.arange(n)
    return np.stack([k * 0.125, (k % 2) * 0.5, k % 3 * 0.25], axis=1)


def ply_bytes(n, labels=None):
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property uchar {channel}" for channel in ("red", "green", "blue", "alpha")]
    lines += ["property ushort label"] if labels else []
    lines += [f"element face {n - 2}", "property list uchar int vertex_indices", "end_header", ""]
    body = "\n".join(lines).encode()
    for k, point in enumerate(coord_of(n)):
        body += struct.pack("<3f4B", *point, k, 2 * k, 255 - k, 255)
        body += struct.pack("<H", labels[k]) if labels else b""
    return body + b"".join(struct.pack("<B3i", 3, k, k + 1, k + 2) for k in range(n - 2))


def write_scene(raw, scene=SCENE, *, folder="scans", without=(), **changed):
    """Write a scene's files, less those in ``without``, some of them with other content."""
    content = {
        "_vh_clean_2.ply": ply_bytes(len(LABELS)),
        "_vh_clean_2.labels.ply": ply_bytes(len(LABELS), LABELS),
        "_vh_clean_2.0.010000.segs.json": json.dumps({"segIndices": changed.get("segments", SEGMENTS)}).encode(),
        ".aggregation.json": json.dumps({"segGroups": changed.get("groups", GROUPS)}).encode(),
        ".txt": f"axisAlignment = {' '.join(map(str, TURN))} \nnumDepthFrames = 3\n".encode(),
    } | changed.get("files", {})
    target = raw / folder / scene
    target.mkdir(parents=True)
    for kind, data in content.items():
        if kind not in without:
            (target / f"{scene}{kind}").write_bytes(data)
    return target


def write_meta(folder, table=TABLE, **lists):
    folder.mkdir(parents=True, exist_ok=True)
    for split, scenes in lists.items():
        (folder / f"scannetv2_{split}.txt").write_text("".join(f"{scene}\n" for scene in scenes))
    rows = ["id\traw_category\tcategory\tnyu40id\n", *(f"{i}\t{word}\t{word}\t{nyu}\n" for word, i, nyu in table)]
    (folder / "scannetv2-labels.combined.tsv").write_text("".join(rows))


@pytest.fixture
def raw(tmp_path):
    write_meta(tmp_path / "raw", train=[SCENE])
    return tmp_path / "raw"


def run(raw, out, *flags):
    parser = argparse.ArgumentParser()
    scannet.add_arguments(parser)
    return scannet.run(parser.parse_args(["--raw", str(raw), "--out", str(out), "--workers", "1", *map(str, flags)]))


def prepared(raw, out, *flags):
    assert run(raw, out, *flags) == 0
    return open_scene(next(out.glob("*/*/meta.json")).parent)


def read(folder, *, benchmark=20, truth="ply", axis_align=False, table=None):
    files = sorted(folder.iterdir())
    mesh = next(p for p in files if p.name.endswith("_vh_clean_2.ply"))
    labels = load_classes(f"scannet{benchmark}").labels_by_source()
    sources = (mesh, *(p for p in files if p != mesh), *([table] if table else []))
    return read_scene(sources, Reading(labels, scannet.COLUMNS[benchmark], truth, axis_align))


def test_the_20_ids_become_the_20_classes_and_the_others_are_ignored(raw, tmp_path):
    write_scene(raw)
    scene = prepared(raw, tmp_path / "out")
    expected = [IDS20.index(i) if i in IDS20 else -1 for i in LABELS]
    np.testing.assert_array_equal(scene.segment, expected)
    names = load_classes("scannet20").names
    by_id = {i: names[k] for i, k in zip(LABELS, scene.segment, strict=True) if k >= 0}
    assert (by_id[7], by_id[14], by_id[24], by_id[39]) == ("table", "desk", "refrigerator", "otherfurniture")
    repairs = [(r["file"], r["what"]) for r in scene.meta["repairs"] if "labels.ply" in r["file"]]
    name = f"{SCENE}/{SCENE}_vh_clean_2.labels.ply"
    assert repairs == [(name, f"label {i}, which is no NYU40 class: 2 vertices ignored") for i in (50, 149)]


def test_points_are_the_vertices_in_their_order(raw, tmp_path):
    write_scene(raw)
    scene = prepared(raw, tmp_path / "out")
    n = len(LABELS)
    np.testing.assert_array_equal(scene.coord + scene.offset, coord_of(n))
    np.testing.assert_array_equal(scene.color, np.stack([np.arange(n), 2 * np.arange(n), 255 - np.arange(n)], axis=1))
    np.testing.assert_allclose(np.linalg.norm(scene.normal, axis=1), 1, atol=1e-6)
    assert scene.meta["facts"] == {}


def test_objects_become_instances(raw, tmp_path):
    write_scene(raw)
    scene = prepared(raw, tmp_path / "out")
    np.testing.assert_array_equal(scene.instance, [0] * 10 + [5] * 20 + [-1] * 15)


@pytest.mark.parametrize(("benchmark", "desk", "chair"), [(20, "desk", "chair"), (200, "desk", "office chair")])
def test_classes_from_the_objects(raw, tmp_path, benchmark, desk, chair):
    write_scene(raw)
    scene = prepared(raw, tmp_path / "out", "--benchmark", benchmark, "--labels-from", "aggregation")
    classes = load_classes(f"scannet{benchmark}")
    np.testing.assert_array_equal(scene.segment, [classes.index(desk)] * 10 + [classes.index(chair)] * 20 + [-1] * 15)
    assert scene.meta["dataset"] == ("scannet" if benchmark == 20 else "scannet200")
    assert scene.meta["repairs"] == []


def test_unknown_words_are_ignored_and_counted_known_ones_outside_the_benchmark_are_not(raw, tmp_path):
    groups = [
        {"objectId": 0, "label": "trashcan", "segments": [7]},
        {"objectId": 1, "label": "globe", "segments": [20]},
        {"objectId": 2, "label": "trashcan", "segments": [3]},
        {"objectId": 3, "label": "wall", "segments": [99]},
    ]
    write_scene(raw, groups=groups)
    scene = prepared(raw, tmp_path / "out", "--benchmark", 200)
    np.testing.assert_array_equal(scene.segment, [-1] * 30 + [0] * 15)
    assert [r["what"] for r in scene.meta["repairs"]] == [
        "'trashcan' of 2 objects is not in the label table: 20 vertices ignored"
    ]


def test_a_segment_of_several_objects_goes_to_the_last_and_is_counted(raw):
    groups = [*GROUPS, {"objectId": 8, "label": "wall", "segments": [20, 20, 4711]}]
    scene = read(write_scene(raw, groups=groups), truth="aggregation", table=raw / "scannetv2-labels.combined.tsv")
    np.testing.assert_array_equal(scene.instance, [0] * 10 + [8] * 10 + [5] * 10 + [-1] * 15)
    np.testing.assert_array_equal(scene.segment, [12] * 10 + [0] * 10 + [4] * 10 + [-1] * 15)
    whats = [repair["what"] for repair in scene.repairs]
    assert whats[0] == "1 segments belong to several objects; the last one got each"
    assert whats[1].startswith("1 segments of objects are not in")


def test_files_of_different_releases_are_noticed(raw, tmp_path, capsys):
    labels = [1] * len(LABELS)
    write_scene(raw, files={"_vh_clean_2.labels.ply": ply_bytes(len(LABELS), labels)})
    run(raw, tmp_path / "out")
    assert "its objects give 0% of the vertices the class they have in" in capsys.readouterr().out


def test_a_scene_without_labels_ply_takes_its_objects_classes_and_says_so(raw, tmp_path, capsys):
    write_scene(raw, without=["_vh_clean_2.labels.ply"])
    scene = prepared(raw, tmp_path / "out")
    np.testing.assert_array_equal(scene.segment, [12] * 10 + [4] * 20 + [-1] * 15)
    assert f"note: 1 scenes have no labels.ply; their classes are their objects': {SCENE}" in capsys.readouterr().out


@pytest.mark.parametrize("missing", [".aggregation.json", "_vh_clean_2.0.010000.segs.json"])
def test_a_scene_without_objects_has_no_instances_and_says_so(raw, tmp_path, capsys, missing):
    write_scene(raw, without=[missing])
    assert prepared(raw, tmp_path / "out").instance is None
    assert f"note: 1 scenes have no annotated objects, so no instances: {SCENE}" in capsys.readouterr().out
    assert run(raw, tmp_path / "out200", "--benchmark", 200) == 1
    assert f"failed: train/{SCENE}: " in capsys.readouterr().err


def test_a_scene_without_any_classes_fails_by_name(raw, tmp_path, capsys):
    write_scene(raw, without=["_vh_clean_2.labels.ply", ".aggregation.json"])
    assert run(raw, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert f"failed: train/{SCENE}: " in error
    assert "neither labels.ply nor both of aggregation.json and segs.json" in error


@pytest.mark.parametrize("flags", [[], ["--split", "test"]])
def test_test_scenes_have_no_labels_even_where_files_of_labels_lie(raw, tmp_path, flags):
    if not flags:
        write_meta(raw, test=[SCENE])
        (raw / "scannetv2_train.txt").unlink()
    write_scene(raw, folder="scans" if flags else "scans_test")
    scene = prepared(raw, tmp_path / "out", *flags)
    assert scene.path.parent.name == "test"
    assert [Path(source["name"]).name for source in scene.meta["sources"]] == [f"{SCENE}_vh_clean_2.ply"]
    assert scene.segment is None
    assert scene.instance is None
    assert scene.normal is not None


def test_different_numbers_of_vertices_are_an_error_naming_both_files(raw):
    n = len(LABELS)
    folder = write_scene(raw, "scene0001_00", files={"_vh_clean_2.labels.ply": ply_bytes(n - 1, LABELS[:-1])})
    with pytest.raises(InputError, match=rf"scene0001_00_vh_clean_2.ply has {n} .*_vh_clean_2.labels.ply has {n - 1}"):
        read(folder)
    folder = write_scene(raw, "scene0002_00", segments=[*SEGMENTS, 7])
    with pytest.raises(InputError, match=rf"scene0002_00_vh_clean_2.ply has {n} .*segs.json has {n + 1}"):
        read(folder)


def test_vertices_without_faces_are_counted(raw):
    lonely = ply_bytes(len(LABELS)).replace(b"element face 43", b"element face 40")[: -3 * 13]
    scene = read(write_scene(raw, files={"_vh_clean_2.ply": lonely}))
    assert not scene.normal[-3:].any()
    assert scene.normal[:-3].any(axis=1).all()
    assert scene.repairs[0]["what"] == "3 vertices are on no face with an area; their normals are zero"


def test_axes_turn_only_when_asked(raw, tmp_path):
    folder = write_scene(raw)
    plain, turned = read(folder), read(folder, axis_align=True)
    x, y, z = plain.coord.T
    np.testing.assert_allclose(turned.coord, np.stack([10 - y, 20 + x, 30 + z], axis=1), atol=1e-12)
    nx, ny, nz = plain.normal.T
    np.testing.assert_allclose(turned.normal, np.stack([-ny, nx, nz], axis=1), atol=1e-6)
    np.testing.assert_array_equal(plain.coord, coord_of(len(LABELS)))
    scene = prepared(raw, tmp_path / "out", "--axis-align")
    assert scene.meta["facts"] == {"axis_alignment": np.reshape(TURN, (4, 4)).tolist()}
    assert scene.meta["settings"]["axis_align"] is True
    (tmp_path / "clicks.csv").write_text("x,y,z,class\n0.375,0.5,0,1\n2.125,0.5,0.5,4\n")
    labels = import_clicks(tmp_path / "out", tmp_path / "clicks.csv", splits=["train"], max_distance=1e-4)
    assert labels.for_scene(scene)[0].tolist() == [3, 17], "clicks are of the source, which was not turned"


@pytest.mark.parametrize("place", ["raw", "raw/meta", ".", "elsewhere"])
def test_where_the_lists_are_found(tmp_path, place):
    write_meta(tmp_path / place, train=["scene0001_00"], val=[SCENE])
    write_scene(tmp_path / "raw", without=["_vh_clean_2.labels.ply"])
    flags = ["--splits-from", tmp_path / "elsewhere"] if place == "elsewhere" else []
    assert prepared(tmp_path / "raw", tmp_path / "out", *flags).path.parent.name == "val"


def test_relative_folders_are_those_of_the_caller(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_meta(Path("meta"), train=[SCENE])
    for raw in ("raw", "other"):
        write_scene(Path(raw))
    write_meta(Path("other"))
    flags = ["--splits-from", "meta"]
    scene = prepared(Path("raw"), Path("out"), *flags)
    sources = {source["name"]: source["path"] for source in scene.meta["sources"]}
    assert all(Path(path).is_absolute() for path in sources.values())
    assert f"scans/{SCENE}/{SCENE}_vh_clean_2.ply" in sources
    jobs = scannet.scene_jobs(
        scannet.plan(Path("raw"), splits_from=Path("meta")),
        Path("raw"),
        load_classes("scannet20"),
        benchmark=20,
        labels_from="ply",
        axis_align=False,
    )
    assert all(path.is_absolute() for job in jobs for path in (*job.sources, job.base)), "workers may start elsewhere"
    assert run(tmp_path / "raw", Path("out"), "--splits-from", tmp_path / "meta") == 0
    assert "0 scenes written, 1 up to date" in capsys.readouterr().out
    mesh = Path(f"other/scans/{SCENE}/{SCENE}_vh_clean_2.ply")
    mesh.write_bytes(mesh.read_bytes().replace(b"\xff", b"\xfe"))
    assert run(Path("other"), Path("out"), *flags) == 1
    assert "which is still there, and would be replaced by" in capsys.readouterr().err


def test_no_lists_is_an_error_that_says_where_they_are(tmp_path):
    write_scene(tmp_path / "raw")
    for flags in ([], ["--splits-from", tmp_path]):
        with pytest.raises(InputError, match=r"scannetv2_train\.txt.*Tasks/Benchmark.*--splits-from, or --split NAME"):
            run(tmp_path / "raw", tmp_path / "out", *flags)
    assert prepared(tmp_path / "raw", tmp_path / "out", "--split", "mine").path.parent.name == "mine"


def test_notes_tell_what_is_absent_and_what_is_in_no_list(tmp_path, capsys):
    raw = tmp_path / "raw"
    write_meta(raw, train=[SCENE, *(f"scene{k:04d}_00" for k in range(5))], test=["scene0707_00"])
    write_scene(raw)
    write_scene(raw, "scene0999_00")
    run(raw, tmp_path / "out")
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: 5 of the 6 scenes of scannetv2_train.txt are not there: scene0000_00, scene0001_00, scene0002_00, ...",
        f"note: {raw} has no scannetv2_val.txt, so no scene is in the split val",
        "note: 1 of the 1 scenes of scannetv2_test.txt are not there: scene0707_00",
        "note: 1 scenes are in none of the lists and left out: scene0999_00",
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--benchmark", "200", "--labels-from", "ply"], "--labels-from ply is for --benchmark 20"),
        (["--benchmark", "200", "--classes", "scannet20"], "--classes is scannet20, but --benchmark is 200"),
        (["--classes", "scannet200"], "--classes is scannet200, but --benchmark is 20"),
        (["--classes", "s3dis"], "source id 'ceiling'; ScanNet's are numbers"),
    ],
)
def test_settings_that_do_not_go_together(raw, tmp_path, flags, said):
    write_scene(raw)
    with pytest.raises(InputError, match=said):
        run(raw, tmp_path / "out", *flags)


def test_folders_that_are_not_scannet(raw, tmp_path):
    (raw / "scans").mkdir()
    with pytest.raises(InputError, match="holds no scenes such as"):
        run(raw, tmp_path / "out")
    write_scene(tmp_path / "other")
    with pytest.raises(InputError, match=rf"did you mean {tmp_path / 'other'}\?"):
        run(tmp_path / "other" / "scans", tmp_path / "out")
    with pytest.raises(InputError, match="there is no folder"):
        run(tmp_path / "nowhere", tmp_path / "out")
    write_scene(raw, "scene0001_00")
    with pytest.raises(InputError, match="none of the 1 scenes"):
        run(raw, tmp_path / "out")


def test_the_label_table_is_asked_for_only_where_it_is_needed(raw, tmp_path):
    (raw / "scannetv2-labels.combined.tsv").unlink()
    write_scene(raw)
    assert prepared(raw, tmp_path / "out").instance is not None
    with pytest.raises(InputError, match=r"there is no scannetv2-labels\.combined\.tsv"):
        run(raw, tmp_path / "out200", "--benchmark", 200)


def test_one_bad_scene_does_not_stop_the_others(tmp_path, capsys):
    raw = tmp_path / "raw"
    scenes = [SCENE, "scene0001_00", "scene0002_00"]
    write_meta(raw, train=scenes)
    write_scene(raw)
    write_scene(raw, scenes[1], files={"_vh_clean_2.ply": ply_bytes(len(LABELS))[:-100]})
    write_scene(raw, scenes[2], without=["_vh_clean_2.ply"])
    assert run(raw, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "scene0001_00_vh_clean_2.ply is damaged" in error
    assert "scene0002_00_vh_clean_2.ply: No such file" in error
    assert [p.name for p in (tmp_path / "out" / "train").iterdir()] == [SCENE]


def test_a_scene_is_made_again_when_its_labels_arrive(raw, tmp_path, capsys):
    folder = write_scene(raw, without=["_vh_clean_2.labels.ply"])
    prepared(raw, tmp_path / "out")
    (folder / f"{SCENE}_vh_clean_2.labels.ply").write_bytes(ply_bytes(len(LABELS), LABELS))
    capsys.readouterr()
    assert prepared(raw, tmp_path / "out").segment[39] == 19
    assert "1 scenes written, 0 up to date" in capsys.readouterr().out
    prepared(raw, tmp_path / "out")
    assert "0 scenes written, 1 up to date" in capsys.readouterr().out


def test_jobs_travel_to_other_processes(raw):
    write_scene(raw)
    classes = load_classes("scannet20")
    jobs = scannet.scene_jobs(scannet.plan(raw), raw, classes, benchmark=20, labels_from="ply", axis_align=False)
    job = pickle.loads(pickle.dumps(jobs[0]))
    np.testing.assert_array_equal(job.read(job.sources).segment, jobs[0].read(jobs[0].sources).segment)


def test_the_class_files_are_the_benchmarks():
    twenty, two_hundred = load_classes("scannet20"), load_classes("scannet200")
    assert [ids[0] for ids in twenty.source_ids] == IDS20
    assert " ".join(twenty.names[:7]) == "wall floor cabinet bed chair sofa table"
    assert two_hundred.num_classes == 200
    sources = [ids[0] for ids in two_hundred.source_ids]
    assert sources == sorted(sources)
    assert (sources[0], sources[-1]) == (1, 1191)
    assert two_hundred.names[sources.index(1163)] == "object"
    assert two_hundred.names[sources.index(28)] == "lamp"
    for classes in (twenty, two_hundred):
        assert len(np.unique(classes.colors, axis=0)) == classes.num_classes


def test_a_train_list_leaves_the_other_splits_alone(tmp_path):
    raw = tmp_path / "raw"
    write_meta(raw, train=["scene0001_00", "scene0002_00"], val=[SCENE])
    for scene in ("scene0001_00", "scene0002_00", SCENE):
        write_scene(raw, scene)
    (tmp_path / "half.txt").write_text("scene0002_00\nscene0500_00\n")
    found = scannet.plan(raw, train_list=tmp_path / "half.txt")
    assert [(split, folder.name) for split, folder in found.scenes] == [("train", "scene0002_00"), ("val", SCENE)]
    (tmp_path / "none.txt").write_text("scene0500_00\n")
    with pytest.raises(InputError, match=r"none of the 1 scenes of .*none\.txt is in the train split"):
        scannet.plan(raw, train_list=tmp_path / "none.txt")
