"""``pointseg label`` through the program's own entry."""

import numpy as np
import pytest

from pointseg.cli import main as cli
from pointseg.data.classes import load_classes
from pointseg.data.scene import prepare_root, write_scene
from pointseg.data.sparse_labels import open_labels


@pytest.fixture
def root(tmp_path):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    rng = np.random.default_rng(0)
    for split in ("Area_1", "Area_2", "Area_5"):
        write_scene(
            root,
            split,
            "office_1",
            coord=rng.uniform(0, 3, (4000, 3)),
            color=np.zeros((4000, 3), np.uint8),
            segment=rng.integers(0, 2, 4000),
            dataset="toy",
            sources=[],
            repairs=[],
            voxel_sizes=[0.05, 0.2],
        )
    return root


def label(root, *arguments):
    return cli.main(["label", "--data", str(root), *arguments])


def test_draws_all_but_area_5_and_prints_the_counts(root, capsys):
    assert label(root, "--rule", "1%") == 0
    labels = open_labels(root, "1pct_seed0")
    assert (labels.spec["rule"], labels.spec["seed"], labels.spec["voxel_size"]) == ("1%", 0, 0.05)
    assert labels.spec["splits"] == ["Area_1", "Area_2"]
    printed = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line for line in printed.splitlines() if line.count("│") == 6}
    assert f" {labels.counts[0]} " in rows["ceiling"]
    assert f" {labels.counts.sum()} " in rows["all"]
    share = 100 * labels.counts.sum() / 8000
    assert f"{share:.3g} %" in rows["all"]
    assert f"{100 * labels.spec['share_of_voxels']:.3g} %" in rows["all"]
    assert " 0 " in rows["clutter"]
    assert f"stored: {labels.path}" in printed


def test_every_setting_can_be_given(root):
    given = ["--rule", "3pt", "--seed", "7", "--voxel-size", "0.2", "--name", "mine", "--splits", "Area_5", "Area_1"]
    assert label(root, *given) == 0
    labels = open_labels(root, "mine")
    assert labels.spec["splits"] == ["Area_1", "Area_5"]
    assert (labels.spec["rule"], labels.spec["seed"], labels.spec["voxel_size"]) == ("3pt", 7, 0.2)
    assert labels.counts.tolist() == [6, 6] + [0] * 11


def test_the_same_command_again_says_so(root, capsys):
    label(root, "--rule", "1pt")
    assert label(root, "--rule", "1pt") == 0
    assert "already there and unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "5"], "the rule '5' is neither"),
        (["--rule", "200%"], "out of range"),
        (["--rule", "1%", "--voxel-size", "0.07"], "has no voxel grid of 0.07 m (stored: 0.05, 0.2)"),
        (["--rule", "1%", "--splits", "Area_6"], "has no split 'Area_6'"),
        (["--rule", "1%", "--seed", "-1"], "the seed is -1"),
        (["--rule", "2%", "--name", "taken"], "exists with other settings (rule 1% there, 2% now)"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(root, capsys, arguments, message):
    label(root, "--rule", "1%", "--name", "taken")
    capsys.readouterr()
    assert label(root, *arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("pointseg label: error: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_a_folder_without_scenes_is_refused(tmp_path, root, capsys):
    assert label(tmp_path / "nowhere", "--rule", "1%") == 2
    for split in ("Area_1", "Area_2"):
        (root / split / "office_1" / "meta.json").unlink()
    assert label(root, "--rule", "1%") == 2
    assert "holds no scenes outside Area_5" in capsys.readouterr().err
