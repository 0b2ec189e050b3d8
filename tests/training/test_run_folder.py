"""Making a run: what its data must be, and which points it was trained on."""

import shutil
from pathlib import Path

import pytest

from pointseg.data.scene import open_scene
from pointseg.data.sparse_labels import draw, open_labels
from pointseg.errors import InputError
from pointseg.training import Run, load_recipe
from pointseg.training.data_record import FILE


def recipe(root, method="erda", *extra):
    data = [f"data.root={root}", "data.labels=1pct_seed0", "data.voxel_size=0.1"]
    return load_recipe(f"synthetic_{method}", [*data, *extra])


def test_missing_data_is_found_before_a_run_folder_exists(rooms_root, tmp_path):
    for setting, message in [
        ("data.labels=nothing", "nothing"),
        ("data.eval_splits=[Area_9]", "Area_9"),
        ("data.train_splits=[Area_7]", "Area_7"),
        ("data.voxel_size=0.3", r"no voxel grid of 0\.3 m"),
        ("data.train_splits=[Area_5]", "Area_5"),
    ]:
        with pytest.raises(InputError, match=message):
            Run.create(tmp_path / "run", recipe(rooms_root, "erda", setting))
        assert not (tmp_path / "run").exists()


def test_erda_with_every_label_says_what_to_set(rooms_root, tmp_path):
    with pytest.raises(InputError, match="all_points"):
        Run.create(tmp_path / "run", recipe(rooms_root, "erda", "data.labels=full"))
    Run.create(tmp_path / "run", recipe(rooms_root, "erda", "data.labels=full", "method.all_points=true"))


def test_a_split_is_trained_on_and_scored_only_with_sparse_labels(rooms_root, tmp_path):
    root = shutil.copytree(rooms_root, tmp_path / "root")
    draw(root, "2pt", seed=0, voxel_size=0.1, splits=["Area_1", "Area_5"])
    both = ["data.train_splits=[Area_1, Area_5]", "data.labels=2pt_seed0"]
    with pytest.raises(InputError, match=r"Area_5.*scored"):
        Run.create(tmp_path / "a", recipe(root, "supervised", *both, "data.labels=full"))
    run = Run.create(tmp_path / "b", recipe(root, "erda", *both))
    scenes = run.training_scenes()
    assert [scene.split for scene in scenes] == ["Area_1", "Area_5"]
    labels = open_labels(root, "2pt_seed0")
    for scene in scenes:
        assert run.annotated_points(scene).tolist() == labels.for_scene(scene)[0].tolist() != []
    assert len(run.annotated_points(open_scene(root / "Area_2" / "office_1"))) == 0


@pytest.mark.parametrize("recorded", [True, False])
def test_points_trained_on_are_known_wherever_the_scene_lies(rooms_root, tmp_path, caplog, recorded):
    home, copy = (shutil.copytree(rooms_root, tmp_path / name) for name in ("home", "copy"))
    run = Run.create(tmp_path / "run", recipe(home))
    if not recorded:
        (run.path / FILE).unlink()
        run = Run.open(run.path)
    annotated = run.annotated_points(open_scene(home / "Area_1" / "office_1")).tolist()
    there = open_scene(copy / "Area_1" / "office_1")
    assert run.annotated_points(there).tolist() == annotated != []
    # Another scene of the same name.
    shutil.rmtree(copy / "Area_2")
    other = shutil.move(shutil.copytree(copy / "Area_1", copy / "new"), copy / "Area_2")
    assert len(run.annotated_points(open_scene(Path(other) / "office_1"))) == 0
    assert not caplog.records
    shutil.rmtree(home)
    run = Run.open(run.path)
    assert run.annotated_points(there).tolist() == run.annotated_points(there).tolist() == annotated
    # What was recorded needs no trust.
    assert [message.split(" is not there")[1] for message in caplog.messages] == [
        f" any more; the points of the draw '1pct_seed0' in {copy} are taken for those it was trained on"
    ] * (not recorded)
    assert len(run.annotated_points(open_scene(copy / "Area_5" / "office_1"))) == 0
    shutil.rmtree(copy / "sparse_labels")
    assert len(Run.open(run.path).annotated_points(there)) == 0
    assert "cannot be told" in caplog.messages[-1]


def test_an_evaluation_reads_the_draw_once(rooms_root, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", recipe(rooms_root))
    scenes, seen, open_one = [*run.training_scenes(), *run.scenes()], [], Path.open

    def opened(path, *args, **kwargs):
        seen.append(path.name)
        return open_one(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr(Path, "iterdir", lambda path: seen.append(path.name) or iter(()))
    counts = [len(run.annotated_points(scene)) for scene in scenes * 3]
    assert counts[:3] == counts[3:6]
    assert [count > 0 for count in counts[:3]] == [True, True, False]
    assert sorted(name for name in seen if not name.endswith(".npy")) == ["data.json", "spec.json"]
    # The labels of each scene are hashed once, and mapped whenever they are asked for.
    assert sum(name.endswith(".npy") for name in seen) <= 2 + 2 * 2 * 3
