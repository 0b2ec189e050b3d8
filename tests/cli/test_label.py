"""``pointseg label`` through the program's own entry."""

import numpy as np
import pytest

from pointseg.cli import main as cli
from pointseg.data.classes import Classes, load_classes
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


def write(root, split, name, segment, voxel_sizes=(0.05,)):
    """Five points on a line, 0.1 m apart."""
    coord = np.zeros((5, 3))
    coord[:, 0] = np.arange(5) * 0.1
    write_scene(root, split, name, coord=coord, segment=segment, dataset="toy", sources=[], voxel_sizes=voxel_sizes)


def table(printed):
    """First column -> line."""
    return {line.split("│")[1].strip(): line for line in printed.splitlines() if line.count("│") == 6}


def test_draws_all_but_area_5_and_prints_the_counts(root, capsys):
    assert label(root, "--rule", "1%") == 0
    labels = open_labels(root, "1pct_seed0")
    assert (labels.spec["rule"], labels.spec["seed"], labels.spec["voxel_size"]) == ("1%", 0, 0.05)
    assert labels.spec["splits"] == ["Area_1", "Area_2"]
    printed = capsys.readouterr().out
    rows = table(printed)
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


def test_rules_over_the_scene(root):
    assert label(root, "--rule", "30pt/scene") == 0
    labels = open_labels(root, "30pt_scene_seed0")
    assert [entry["labels"] for entry in labels.spec["scenes"].values()] == [30, 30]


def test_an_official_list(tmp_path, capsys):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    write(root, "train", "scene0000_00", np.array([0, -1, 3, 3, 3]), voxel_sizes=[0.3])
    write(root, "val", "scene0001_00", np.zeros(5, int), voxel_sizes=[0.3])
    source = tmp_path / "points4.txt"
    source.write_text("scene0000_00 4 1 0 0\nscene0002_00 7\n")
    assert label(root, "--from-list", str(source), "--splits", "train", "val") == 2
    assert "points4.txt lists no points for 1 of 2 scenes (val/scene0001_00)" in capsys.readouterr().err
    assert label(root, "--from-list", str(source)) == 0, "what is held out is not annotated unless it is named"
    labels = open_labels(root, "points4")
    assert np.load(labels.path / "train" / "scene0000_00.npy").tolist() == [[0, 0], [4, 3]]
    printed = capsys.readouterr().out
    assert "points4: from points4.txt, voxels of 0.3 m" in printed
    assert "1 listed points left out: their ground truth is ignored" in printed
    assert "1 listed points left out: listed twice" in printed
    assert "1 scenes of the list are not among those annotated" in printed
    rows = table(printed)
    assert "40 %" in rows["all"]
    assert "33.3 %" in rows["beam"]


def test_clicks_and_those_near_no_point(tmp_path, capsys):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    write(root, "all", "a", None)
    write(root, "all", "b", None)
    clicks = tmp_path / "mine.csv"
    far = "".join(f"{i};0;{i + 1};wall;a\n" for i in range(25))
    clicks.write_text("x;y;z;class;scene\n0;0;0.01;door;a\n0.01;0;0;6;a\n" + far)
    assert label(root, "--clicks", str(clicks)) == 1
    labels = open_labels(root, "mine")
    assert labels.counts[6] == labels.counts.sum() == 1
    printed = capsys.readouterr().out
    assert "line 4: the nearest point of all/a is 1 m away; left out" in printed
    assert printed.count("left out\n") == 20
    assert "5 more clicks are near no point; spec.json lists them all" in printed
    assert "1 clicks left out: on a point that has the same class from another click" in printed
    assert "without clicks, so not covered: all/b" in printed
    assert label(root, "--clicks", str(clicks)) == 1
    assert "already there and unchanged" in capsys.readouterr().out
    assert label(root, "--clicks", str(clicks), "--max-distance", "50", "--name", "wide") == 2
    assert "two classes" in capsys.readouterr().err
    clicks.write_text("x,y,z,class,scene\n0,0,0,door,a\n")
    assert label(root, "--clicks", str(clicks), "--name", "good") == 0


def test_class_names_are_printed_as_they_are(tmp_path, capsys):
    names = ("[bold]", "[/x]", ":smile:")
    root = prepare_root(tmp_path / "root", Classes("toy", names, np.zeros((3, 3), np.uint8), (("a",), ("b",), ("c",))))
    write(root, "all", "a", np.array([0, 1, 2, -1, 0]))
    assert label(root, "--from-segment") == 0
    assert set(names) <= set(table(capsys.readouterr().out))


def test_the_classes_of_the_scenes_themselves(tmp_path, capsys):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    write(root, "all", "a", np.array([-1, 2, -1, -1, 5]))
    assert label(root, "--from-segment", "--name", "given") == 0
    labels = open_labels(root, "given")
    assert np.load(labels.path / "all" / "a.npy").tolist() == [[1, 2], [4, 5]]
    printed = capsys.readouterr().out
    assert "given: from segment, voxels of 0.05 m" in printed
    assert " - " in table(printed)["wall"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --rule --from-list --clicks --from-segment is required"),
        (["--rule", "1%", "--from-segment"], "not allowed with argument"),
        (["--clicks", "a.csv", "--from-list", "b"], "not allowed with argument"),
    ],
)
def test_exactly_one_way_to_get_labels(root, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        label(root, *arguments)
    assert message in capsys.readouterr().err


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
        (["--from-segment", "--seed", "1"], "--seed is 1, but nothing here depends on it"),
        (["--rule", "1%", "--max-distance", "1"], "--max-distance is 1.0, but nothing here depends on it"),
        (["--from-list", "nowhere"], "there is no file or folder nowhere"),
        (["--clicks", "nowhere.csv"], "there is no file nowhere.csv"),
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
    assert "holds no scenes outside Area_5, val, test; name" in capsys.readouterr().err
