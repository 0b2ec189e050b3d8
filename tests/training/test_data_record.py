"""A run stays with the scenes and labels it was begun with, and knows them when others have come to lie beside them."""

import json
import shutil

import numpy as np
import pytest

from pointseg.data.label_clicks import import_clicks
from pointseg.data.label_import import import_segment
from pointseg.data.scene import open_scene, write_scene
from pointseg.data.sparse_labels import draw
from pointseg.errors import InputError
from pointseg.training import Run, load_recipe
from pointseg.training.data_record import FILE, DataRecord


def recipe(root, *extra):
    data = [f"data.root={root}", "data.labels=1pct_seed0", "data.voxel_size=0.1"]
    return load_recipe("synthetic_supervised", [*data, *extra])


@pytest.fixture
def home(rooms_root, tmp_path):
    return shutil.copytree(rooms_root, tmp_path / "home")


def rewrite(root, split, name, like, keep=None, **changed):
    """Prepare a scene from the arrays of another, some of them ``changed``."""
    arrays = {key: np.array(getattr(like, key))[:keep] for key in ("coord", "color", "segment")} | changed
    facts = {"dataset": "s3dis", "sources": [], "repairs": [], "voxel_sizes": [0.1]}
    write_scene(root, split, name, **arrays, **facts)


def new_trained_scene(root, like):
    rewrite(root, "Area_2", "another", like)


def new_scored_scene(root, like):
    rewrite(root, "Area_5", "another", like)


def scene_gone(root, like):
    shutil.rmtree(root / "Area_1")


def other_points(root, like):
    rewrite(root, "Area_1", "office_1", like, coord=np.array(like.coord) + np.float32(0.02))


def other_truth(root, like):
    held_out = open_scene(root / "Area_5" / "office_1")
    truth = np.array(held_out.segment)
    truth[0] = -1
    rewrite(root, "Area_5", "office_1", held_out, segment=truth)


def draw_again(root, like, seed=1, splits=("Area_1", "Area_2")):
    shutil.rmtree(root / "sparse_labels" / "1pct_seed0")
    draw(root, "1%", seed=seed, voxel_size=0.1, splits=list(splits), name="1pct_seed0")


def draw_of_more_splits(root, like):
    draw_again(root, like, seed=0, splits=("Area_1", "Area_2", "Area_5"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (new_trained_scene, "scene Area_2/another of .*home was not yet among those trained on by this run; continue"),
        (new_scored_scene, "scene Area_5/another of .* was not yet among those scored by this run"),
        (scene_gone, "scene Area_1/office_1 of .* is no longer among those trained on"),
        (other_points, "scene Area_1/office_1 of .* has other coordinates than when the run was begun"),
        (other_truth, "scene Area_5/office_1 of .* has another ground truth than"),
        (draw_again, "scene Area_1/office_1 of .* has other annotated points than"),
        (draw_of_more_splits, r"the draw in .* has \[.*\] labels of the classes, but \["),
    ],
)
def test_a_run_is_not_resumed_on_other_data(home, tmp_path, change, message):
    run = Run.create(tmp_path / "run", recipe(home, "data.train_splits=[]"))
    assert Run.create(run.path, recipe(home, "data.train_splits=[]"), resume=True).config == run.config
    change(home, open_scene(home / "Area_1" / "office_1"))
    with pytest.raises(InputError, match=message):
        Run.create(run.path, recipe(home, "data.train_splits=[]"), resume=True)


def test_a_run_without_a_record_goes_on_and_a_damaged_record_is_told(home, tmp_path):
    run = Run.create(tmp_path / "run", recipe(home))
    draw_again(home, None)
    for text in ("{", '{"trained": {}}', '{"trained": {"a/b": 3}, "scored": {}, "counts": null}'):
        (run.path / FILE).write_text(text)
        with pytest.raises(InputError, match=r"data\.json .*; delete it to go on without comparing"):
            Run.create(run.path, recipe(home), resume=True)
    (run.path / FILE).unlink()
    Run.create(run.path, recipe(home), resume=True)


def test_moved_data_is_compared_with_the_record_where_the_old_place_is_gone(home, tmp_path):
    run = Run.create(tmp_path / "run", recipe(home))
    there = shutil.move(home, tmp_path / "there")
    assert Run.create(run.path, recipe(there), resume=True).config.data.root == str(there)
    further = shutil.move(there, tmp_path / "further")
    draw_again(further, None)
    with pytest.raises(InputError, match=r"scene Area_1/office_1 of .*further has other annotated points"):
        Run.create(run.path, recipe(further), resume=True)
    assert Run.open(run.path).config.data.root == str(there)


def test_scenes_prepared_without_hashes_are_compared_by_what_is_known(home, tmp_path):
    for file in home.glob("Area_*/*/meta.json"):
        meta = json.loads(file.read_text())
        del meta["sha256"]
        file.write_text(json.dumps(meta))
    run = Run.create(tmp_path / "run", recipe(home))
    assert set(DataRecord.read(run.path).trained["Area_1/office_1"]) == {"points", "labels"}
    Run.create(run.path, recipe(home), resume=True)
    rewrite(home, "Area_1", "office_1", open_scene(home / "Area_1" / "office_1"), keep=-1)
    with pytest.raises(InputError, match=r"Area_1/office_1 of .* has another number of points"):
        Run.create(run.path, recipe(home), resume=True)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_scene_prepared_after_the_training_was_not_trained_on(home, tmp_path, recorded):
    sparse, full = (
        Run.create(tmp_path / labels, recipe(home, f"data.labels={labels}")) for labels in ("1pct_seed0", "full")
    )
    like = open_scene(home / "Area_1" / "office_1")
    rewrite(home, "Area_1", "another", like)
    rewrite(home, "Area_9", "another", like)
    if not recorded:
        for run in (sparse, full):
            (run.path / FILE).unlink()
    sparse, full = Run.open(sparse.path), Run.open(full.path)
    for split in ("Area_1", "Area_9"):
        new = open_scene(home / split / "another")
        assert sparse.annotation(new) is None
        # Without a record the name of the split is all there is to go by.
        assert full.trained_whole(new) == (not recorded)
    assert len(sparse.annotated_points(like)) > 0
    assert full.trained_whole(like)
    assert not full.trained_whole(open_scene(home / "Area_5" / "office_1"))
    assert not sparse.trained_whole(like)
    copy = shutil.copytree(home, tmp_path / "copy")
    shutil.rmtree(home)
    if recorded:
        full = Run.open(full.path)
        assert full.trained_whole(open_scene(copy / "Area_1" / "office_1"))
        other_points(copy, like=open_scene(copy / "Area_1" / "office_1"))
        assert not full.trained_whole(open_scene(copy / "Area_1" / "office_1"))


def test_what_was_recorded_is_known_elsewhere_though_its_own_place_has_changed(home, tmp_path):
    sparse, full = (
        Run.create(tmp_path / labels, recipe(home, f"data.labels={labels}")) for labels in ("1pct_seed0", "full")
    )
    copy = shutil.copytree(home, tmp_path / "copy")
    scene = open_scene(copy / "Area_1" / "office_1")
    annotated = sparse.annotated_points(scene).tolist()
    shutil.rmtree(home / "Area_1" / "office_1")
    draw_again(home, None, splits=["Area_2"])
    sparse, full = Run.open(sparse.path), Run.open(full.path)
    assert sparse.annotated_points(scene).tolist() == annotated != []
    assert full.trained_whole(scene)
    # Resumed there, the copy is compared with what was recorded, not with what the old place has become.
    assert Run.create(sparse.path, recipe(copy), resume=True).config.data.root == str(copy)


@pytest.mark.parametrize("truth", ["missing", "corrected"])
def test_annotated_points_are_known_whatever_ground_truth_a_copy_has(home, tmp_path, truth):
    run = Run.create(tmp_path / "run", recipe(home))
    copy = shutil.copytree(home, tmp_path / "copy")
    scene = open_scene(copy / "Area_1" / "office_1")
    annotated = run.annotated_points(scene).tolist()
    other = None if truth == "missing" else np.zeros_like(scene.segment)
    rewrite(copy, "Area_1", "office_1", scene, segment=other)
    again = open_scene(copy / "Area_1" / "office_1")
    assert Run.open(run.path).annotated_points(again).tolist() == annotated != []


def test_a_draw_that_was_deleted_is_an_error_where_the_data_still_is(home, tmp_path):
    run = Run.create(tmp_path / "run", recipe(home))
    shutil.rmtree(home / "sparse_labels" / "1pct_seed0")
    with pytest.raises(InputError, match="has no sparse labels named '1pct_seed0'"):
        run.annotated_points(open_scene(home / "Area_1" / "office_1"))


def test_what_a_failed_start_left_is_no_record(home, tmp_path, monkeypatch):
    def full(run):
        raise OSError("No space left on device")

    monkeypatch.setattr(Run, "_write_config", full)
    with pytest.raises(OSError, match="No space"):
        Run.create(tmp_path / "run", recipe(home))
    monkeypatch.undo()
    import_segment(home, splits=["Area_1"])
    both = ["data.labels=segment", "data.train_splits=[Area_1]", "data.eval_splits=[Area_1]"]
    with pytest.raises(InputError, match="every point of split Area_1 that has a class is annotated in 'segment'"):
        Run.create(tmp_path / "run", recipe(home, *both))


def test_a_kill_while_the_data_is_recorded_leaves_no_run(home, tmp_path, monkeypatch):
    def killed(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(DataRecord, "of", killed)
    with pytest.raises(KeyboardInterrupt):
        Run.create(tmp_path / "run", recipe(home))
    monkeypatch.undo()
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert (Run.create(tmp_path / "run", recipe(home)).path / FILE).is_file()


def test_a_draw_made_again_after_the_training_is_not_taken_for_its_own(home, tmp_path, caplog):
    run = Run.create(tmp_path / "run", recipe(home))
    scenes = [open_scene(home / split / "office_1") for split in ("Area_1", "Area_2")]
    draw_again(home, None)
    assert [run.annotation(scene) for scene in scenes * 2] == [None] * 4
    assert [text.split(", so")[1] for text in caplog.messages] == [
        " the points it was trained on cannot be told from others"
    ]


def test_scenes_without_a_click_are_left_out_of_the_training_with_a_notice(home, tmp_path, caplog):
    scene = open_scene(home / "Area_1" / "office_1")
    rows = [[*(np.array(scene.coord[i]) + scene.offset), scene.segment[i], "Area_1/office_1"] for i in (0, 2000)]
    lines = ["x,y,z,class,scene", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "clicks.csv").write_text("\n".join(lines) + "\n")
    import_clicks(home, tmp_path / "clicks.csv", splits=["Area_1", "Area_2"])
    run = Run.create(tmp_path / "run", recipe(home, "data.labels=clicks"))
    assert [(scene.split, scene.name) for scene in run.training_scenes()] == [("Area_1", "office_1")]
    assert caplog.messages == ["left out of the training, for want of a label in 'clicks': Area_2/office_1"]
    with pytest.raises(
        InputError, match=r"split Area_2 has no labelled point in 'clicks'; leave it out of data\.train_sp"
    ):
        Run.create(tmp_path / "none", recipe(home, "data.labels=clicks", "data.train_splits=[Area_1, Area_2]"))
    with pytest.raises(InputError, match="no scene of Area_2 has a label in 'clicks'; annotate"):
        Run.create(tmp_path / "none", recipe(home, "data.labels=clicks", "data.train_splits=[Area_2]"))
    assert not (tmp_path / "none").exists()
