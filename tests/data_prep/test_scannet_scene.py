"""ScanNet's scenes from files written here: points, classes, objects, axes, and files that do not go together."""

from pathlib import Path

import numpy as np
import pytest
from scannet_files import (
    GROUPS,
    LABELS,
    SCENE,
    SEGMENTS,
    TURN,
    coord_of,
    ply_bytes,
    prepared,
    run,
    write_meta,
    write_scene,
)

from data_prep import scannet
from data_prep._scannet_scene import Reading, read_scene
from pointseg.data.classes import load_classes
from pointseg.data.label_clicks import import_clicks
from pointseg.errors import InputError

IDS20 = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]


@pytest.fixture
def raw(tmp_path):
    return write_meta(tmp_path / "raw", train=[SCENE])


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
