"""Recipes that come with pointseg: complete, differing in the method alone, running on their data set's format."""

import dataclasses
import json

import pytest
import torch

from data_prep import synthetic
from data_prep._main import run_module
from pointseg.cli.main import main
from pointseg.methods import METHODS
from pointseg.paths import configs_dir
from pointseg.training import Run, load_recipe, train
from pointseg.training.recipe import list_recipes

LABELS = {
    "s3dis": {"1pct": "1pct_seed0", "0.1pct": "0.1pct_seed0", "1pt": "1pt_seed0"},
    "scannet": {f"{n}pts": f"points{n}" for n in (20, 50, 100, 200)},
    "sensaturban": {"0.1pct": "0.1pct_seed0"},
}
ROWS = sorted(path.stem for path in (configs_dir() / "methods").glob("*.yaml"))
RECIPES = [f"synthetic_{row}" for row in ROWS] + [
    f"{data}_{row}_{suffix}" for data in LABELS for row in ROWS for suffix in LABELS[data]
]
TINY = [
    "model.name=MinkUNet14",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "data.max_voxels=1200",
    "data.eval_splits=[]",
    "steps=2",
    "batch_size=2",
    "optimizer.warmup_steps=1",
    "precision=fp32",
]


def texts(*arguments):
    return [str(argument) for argument in arguments]


@pytest.fixture(scope="session")
def roots(tmp_path_factory):
    """Generated data in the native format of each data set, prepared and labelled as the recipes want it."""
    base = tmp_path_factory.mktemp("formats")
    layouts = {
        "s3dis": ["--areas", 2, "--rooms", 1, "--density", 150],
        "scannet": ["--scenes", 3, "--density", 150],
        "sensaturban": ["--scenes", 3, "--density", 20],
    }
    for name, size in {"s3dis": 0.05, "scannet": 0.02, "sensaturban": 0.2}.items():
        raw = base / f"{name}_raw"
        drawn = texts("--layout", name, "--out", raw, *layouts[name], "--workers", 1)
        assert run_module(synthetic.HELP, synthetic.add_arguments, synthetic.run, drawn) == 0
        sizes = texts("--voxel-size", size, "--voxel-size", 0.08, "--workers", 1)
        assert main(texts("prepare", name, "--raw", raw, "--out", base / name, *sizes)) == 0
        for rule in {"s3dis": ("1%", "0.1%", "1pt"), "sensaturban": ("0.1%",)}.get(name, ()):
            assert main(texts("label", "--data", base / name, "--rule", rule, "--voxel-size", size)) == 0
    for count in (20, 50, 100, 200):
        lists = base / f"points{count}.txt"
        lists.write_text("".join(_annotated(scene, count) for scene in (base / "scannet" / "train").iterdir()))
        imported = texts("--from-list", lists, "--splits", "train", "--name", lists.stem)
        assert main(texts("label", "--data", base / "scannet", *imported)) == 0
    return {**{name: base / name for name in LABELS}, "synthetic": base / "s3dis"}


def _annotated(scene, count):
    points = json.loads((scene / "meta.json").read_text())["num_points"]
    chosen = torch.randperm(points, generator=torch.Generator().manual_seed(count))[:count]
    return f"{scene.name} {' '.join(str(int(i)) for i in chosen.sort().values)}\n"


def test_every_data_set_and_label_setting_has_every_method():
    assert sorted(list_recipes()) == sorted(RECIPES)
    assert {load_recipe(f"synthetic_{row}").method_name for row in ROWS} == set(METHODS)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_differ_from_supervised_only_in_the_method_alone(name):
    config = load_recipe(name)
    data, rest = name.split("_", 1)
    suffix = "" if data == "synthetic" else f"_{rest.rsplit('_', 1)[1]}"
    baseline = load_recipe(f"{data}_supervised{suffix}")
    same = dataclasses.replace(config, method=baseline.method, strong=baseline.strong, loss=baseline.loss)
    assert same == baseline
    assert (config.loss == baseline.loss) == ("weighted" not in name)
    if data != "synthetic":
        assert config.data.labels == LABELS[data][suffix[1:]]
    assert (configs_dir() / f"{name}.yaml").read_text().startswith(f"# pointseg train {name} ")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_train_on_the_format_of_their_data_set(name, roots, tmp_path, request):
    data = name.split("_", 1)[0]
    if data != "synthetic":  # Every method draws its pictures once.
        request.getfixturevalue("no_pictures")
    labels = ["data.labels=1pct_seed0"] if data == "synthetic" else []
    config = load_recipe(name, [*TINY, *labels, f"data.root={roots[data]}"])
    run = Run.create(tmp_path / "run", config)
    losses = []
    train(run, device=torch.device("cpu"), workers=0, on_step=lambda done, scalars: losses.append(scalars["loss"]))
    assert len(losses) == 2
    assert run.finished
