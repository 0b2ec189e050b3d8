import pytest
import yaml

from pointseg.errors import InputError
from pointseg.training.config import TrainConfig
from pointseg.training.plain import from_dict
from pointseg.training.recipe import load_recipe, to_dict


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


def test_resolved_recipe_reads_back_the_same(recipe):
    config = load_recipe("synthetic_erda", ["data.root=/x", "augment.scale=[0.9, 1.1]", "method.momentum=0.5"])
    again = load_recipe(recipe(yaml.safe_dump(to_dict(config))))
    assert to_dict(again) == to_dict(config)
    assert again.augment.scale == (0.9, 1.1)
    assert again.method_config().momentum == 0.5


def test_base_is_merged_and_its_method_replaced(tmp_path):
    (tmp_path / "one.yaml").write_text(
        "method: {name: erda, weight: 0.7}\noptimizer: {lr: 0.1, name: sgd}\nsteps: 60\n"
    )
    (tmp_path / "two.yaml").write_text("base: one\nmethod: {name: supervised}\noptimizer: {lr: 0.2}\n")
    config = load_recipe(tmp_path / "two.yaml")
    assert (config.optimizer.lr, config.optimizer.name, config.steps) == (0.2, "sgd", 60)
    assert config.method == {"name": "supervised"}


def test_a_recipe_based_on_itself_is_refused(tmp_path):
    (tmp_path / "loop.yaml").write_text("base: loop\n")
    with pytest.raises(InputError, match="loop"):
        load_recipe(tmp_path / "loop.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 5", "no setting 'stepz'; allowed are data"),
        ("data: {voxelsize: 5}", "data has no setting 'voxelsize'"),
        ("data: {features: []}", "data.features is empty"),
        ("data: {max_voxels: 5}", "data.max_voxels is 5"),
        ("model: {init_dim: 0}", "model.init_dim is 0"),
        ("model: {planes: [8, 8, 8, 8, 0, 8, 8, 8]}", "every width must be at least 1"),
        ("optimizer: {lr: .nan}", "optimizer.lr is nan; it must be a finite number"),
        ("optimizer: {lr: .inf}", "optimizer.lr is inf; it must be a finite number"),
        ("optimizer: {clip_norm: .inf}", "optimizer.clip_norm is inf; it must be a finite number"),
        ("augment: {scale: [-.inf, 1]}", "augment.scale is -inf; it must be a finite number"),
        ("data: {voxel_size: .inf}", "data.voxel_size is inf; it must be a finite number"),
        ("data: {voxel_size: 1e-12}", "data.voxel_size is 1e-12; it must be a length from 0.0001 to 1000 metres"),
        ("seed: 99999999999999999999999", "seed is 99999999999999999999999; it must be below 2^63"),
        ("base: 3", "no recipe '3'"),
        ("steps: many", "steps is 'many'; it must be a whole number"),
        ("steps: true", "steps is True; it must be a whole number"),
        ("steps: 2.5", "steps is 2.5"),
        ("steps: 0", "steps is 0; it must be at least 1"),
        ("seed: -1", "seed is -1"),
        ("data: {voxel_size: wide}", "data.voxel_size is 'wide'; it must be a number"),
        ("data: {features: [colour]}", "'colour'; allowed are ones, color, height"),
        ("data: {eval_splits: Area_5}", "data.eval_splits is 'Area_5'; it must be a list"),
        ("data: 3", "data is 3; it must be a mapping"),
        ("augment: {scale: [1]}", "augment.scale has 1 entries; it must have 2"),
        ("augment: {color_drop: 2}", "augment.color_drop is 2.0"),
        ("model: {name: UNet}", "model.name is 'UNet'; allowed are MinkUNet14"),
        ("model: {name: MinkUNet14}", "give model.planes or add a letter"),
        ("model: {planes: [1, 2]}", "model.planes has 2 widths; give 8"),
        ("method: {name: erdaa}", "method.name is 'erdaa'; allowed are supervised, entropy_minimization"),
        ("method: {name: supervised, weight: 1}", "method has no setting 'weight'; allowed are none"),
        ("precision: fp8", "precision is 'fp8'"),
        ("accumulate: 0", "accumulate is 0; it must be at least 1"),
        ("ema_momentum: 1", "ema_momentum is 1.0; it must be at least 0"),
        ("compile: maybe", "compile is 'maybe'; it must be true or false"),
        ("loss: {label_smoothing: 1}", "loss.label_smoothing is 1.0; it must be a share"),
        ("loss: {lovasz: -1}", "loss.lovasz is -1.0; it must be 0 or more"),
        ("optimizer: {schedule: step}", "allowed are cosine, poly, onecycle"),
        ("optimizer: {warmup_steps: 20}\nsteps: 10", "more than steps"),
        ("- 1", "not a recipe"),
        ("a: [", "not valid YAML"),
    ],
)
def test_mistakes_are_named_in_one_sentence(recipe, text, message):
    with pytest.raises(InputError) as caught:
        load_recipe(recipe(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides(recipe):
    path = recipe("steps: 100")
    assert load_recipe(path, ["steps=70", "data.features=[color]"]).data.features == ("color",)
    for bad in ("steps", "=3", "steps.deep=3"):
        with pytest.raises(InputError, match="override"):
            load_recipe(path, [bad])


def test_a_binary_file_is_no_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="not a text file"):
        load_recipe(tmp_path / "recipe.yaml")


def test_numbers_as_people_write_them(recipe):
    config = load_recipe(recipe("optimizer: {lr: 1e-3, weight_decay: 0}"))
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (0.001, 0.0)


def test_a_missing_recipe_names_its_neighbours_or_examples():
    with pytest.raises(InputError, match=r"no recipe 's3dis_erda_1pc'.*s3dis_erda_1pct"):
        load_recipe("s3dis_erda_1pc")
    with pytest.raises(InputError, match=r"no recipe 'nothing'.*synthetic_erda"):
        load_recipe("nothing")


def test_from_dict_keeps_defaults():
    assert from_dict(TrainConfig, {}, "") == TrainConfig()
