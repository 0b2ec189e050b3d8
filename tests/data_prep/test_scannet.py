"""ScanNet's command on files written here: each scene's split, settings and folders that are refused, second runs."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from scannet_files import LABELS, SCENE, ply_bytes, prepared, run, write_meta, write_scene

from data_prep import scannet
from pointseg.data.classes import load_classes
from pointseg.errors import InputError


@pytest.fixture
def raw(tmp_path):
    return write_meta(tmp_path / "raw", train=[SCENE])


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
