"""A run whose data lies elsewhere by the time it is resumed: the same data is taken, other data is refused."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pointseg.cli.main import main
from pointseg.data.sparse_labels import draw
from pointseg.errors import InputError
from pointseg.training import Run, load_recipe, train
from pointseg.training.data_record import FILE

SMALL = [
    "data.voxel_size=0.1",
    "data.labels=1pct_seed0",
    "data.train_splits=[Area_1, Area_2]",
    "data.eval_splits=[]",
    "model.planes=[4, 4, 4, 4, 4, 4, 4, 4]",
    "model.init_dim=4",
    "steps=4",
    "batch_size=1",
    "checkpoint_every=2",
    "optimizer.warmup_steps=0",
]


def recipe(root, *extra):
    return load_recipe("synthetic_supervised", [*SMALL, f"data.root={root}", *extra])


def weights(run):
    return load_file(run.checkpoints / "final" / "model.safetensors")


@pytest.fixture
def home(rooms_root, tmp_path):
    return shutil.copytree(rooms_root, tmp_path / "home")


def interrupted(path, root):
    def stop(done, scalars):
        if done == 3:
            raise KeyboardInterrupt

    run = Run.create(path, recipe(root))
    with pytest.raises(KeyboardInterrupt):
        train(run, device=torch.device("cpu"), workers=0, on_step=stop)
    return run


@pytest.mark.parametrize(("move", "recorded"), [(shutil.move, True), (shutil.move, False), (shutil.copytree, True)])
def test_a_run_goes_on_where_its_data_is_now(home, rooms_root, tmp_path, caplog, move, recorded):
    straight = Run.create(tmp_path / "straight", recipe(rooms_root))
    train(straight, device=torch.device("cpu"), workers=0)
    run, there = interrupted(tmp_path / "run", home), move(home, tmp_path / "there")
    if not recorded:
        (run.path / FILE).unlink()
    moved = Run.create(run.path, recipe(there), resume=True)
    assert moved.config.data.root == Run.open(run.path).config.data.root == str(there)
    warned = [text for text in caplog.messages if "nothing is left to compare with" in text]
    assert len(warned) == (not recorded)
    assert all(str(home) in text and str(there) in text for text in warned)
    train(moved, device=torch.device("cpu"), workers=0)
    one, other = weights(straight), weights(moved)
    assert all(torch.equal(one[name], other[name]) for name in one)
    # A finished run may follow its data too, and still takes no other settings.
    assert Run.create(run.path, recipe(rooms_root), resume=True).finished
    assert Run.open(run.path).config.data.root == str(rooms_root)
    with pytest.raises(InputError, match=r"other settings \(steps: 4 there, 5 now\)"):
        Run.create(run.path, recipe(there, "steps=5"), resume=True)


def other_points(root):
    file = root / "Area_1" / "office_1" / "coord.npy"
    np.save(file, np.load(file) + np.float32(0.001))


def other_colours(root):
    file = root / "Area_2" / "office_1" / "color.npy"
    np.save(file, 255 - np.load(file))


def other_draw(root):
    shutil.rmtree(root / "sparse_labels" / "1pct_seed0")
    draw(root, "1%", seed=1, voxel_size=0.1, splits=["Area_1", "Area_2"], name="1pct_seed0")


def another_scene(root):
    shutil.copytree(root / "Area_1" / "office_1", root / "Area_1" / "office_2")


def other_classes(root):
    file = root / "classes.yaml"
    file.write_text(file.read_text().replace("board", "screen"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_points, r"there/Area_1/office_1 is another scene than .*home/Area_1/office_1; continue with the data"),
        (other_colours, r"there/Area_2/office_1 is another scene than"),
        (other_draw, r"the draw '1pct_seed0' annotates other points of .*there/Area_1/office_1 than of"),
        (another_scene, r"scene Area_1/office_2 is not in both .*home and the data given now"),
        (other_classes, r"there has the classes .*screen"),
    ],
)
def test_other_data_is_refused_and_nothing_is_changed(home, tmp_path, change, message):
    run = Run.create(tmp_path / "run", recipe(home))
    before = (run.path / "config.yaml").read_bytes()
    there = shutil.copytree(home, tmp_path / "there")
    change(there)
    with pytest.raises(InputError, match=message):
        Run.create(run.path, recipe(there), resume=True)
    assert (run.path / "config.yaml").read_bytes() == before


def test_data_that_is_gone_leaves_what_lies_elsewhere_to_its_checks(home, tmp_path):
    run, there = Run.create(tmp_path / "run", recipe(home)), tmp_path / "there"
    shutil.move(home, there)
    shutil.rmtree(there / "sparse_labels" / "1pct_seed0")
    with pytest.raises(InputError, match="has no sparse labels named '1pct_seed0'"):
        Run.create(run.path, recipe(there), resume=True)


@pytest.mark.parametrize("way", ["--data", "--set", "file"])
def test_the_root_of_a_run_does_not_depend_on_where_it_is_looked_at_from(rooms_root, tmp_path, monkeypatch, way):
    monkeypatch.chdir(rooms_root.parent)
    root, settings = rooms_root.name, [*SMALL, "steps=1"]
    given = {"--data": ["--data", root], "--set": [], "file": []}[way]
    if way == "--set":
        settings.append(f"data.root={root}")
    (tmp_path / "mine.yaml").write_text("base: synthetic_supervised\n" + f"data: {{root: {root}}}\n" * (way == "file"))
    command = ["train", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu", *given]
    assert main([*command, "--workers", "0", "--set", *settings]) == 0
    assert Run.open(tmp_path / "run").config.data.root == str(rooms_root)
