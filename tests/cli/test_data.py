"""``pointseg data``: what a person reads, what a machine reads, and the exit codes."""

import json

import numpy as np
import pytest

from pointseg.cli import data
from pointseg.commandline import Parser, guarded
from pointseg.data.classes import load_classes
from pointseg.data.scene import prepare_root, write_scene
from pointseg.data.sparse_labels import draw


@pytest.fixture
def root(tmp_path):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    rng = np.random.default_rng(0)
    for split, name, classes in [("Area_1", "office_1", 2), ("Area_2", "office_1", 1)]:
        write_scene(
            root,
            split,
            name,
            coord=rng.uniform(0, 1, (5000, 3)) + np.array([652_000, 6_862_000, 30]),
            color=np.zeros((5000, 3), np.uint8),
            segment=np.arange(5000) % classes,
            dataset="toy",
            sources=[],
            voxel_sizes=[0.05, 0.5],
            facts={"crs": "EPSG:2154"},
        )
    draw(root, "2pt", seed=0, voxel_size=0.05, splits=["Area_1"])
    return root


def run(*arguments):
    parser = Parser(prog="pointseg data")
    data.add_arguments(parser)
    return guarded("pointseg data", lambda: data.run(parser.parse_args([str(a) for a in arguments])))


def test_info_is_readable_at_80_columns_without_colour(root, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert run("info", root) == 0
    printed = capsys.readouterr().out
    # The root's own path may be longer than any line of ours.
    lines = [line.rstrip() for line in printed.replace(str(root), "ROOT").splitlines()]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in printed
    assert "…" not in printed
    assert "2 scenes, 10,000 points" in lines[0]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert rows["Area_1"][:2] == ["1", "5,000"]
    assert rows["all"][:2] == ["2", "10,000"]
    assert rows["ceiling"][:2] == ["7,500", "75.0"]
    assert rows["floor"][:2] == ["2,500", "25.0"]
    assert rows["ceiling"][2] == "█" * 24
    assert rows["floor"][2] == "█" * 8
    assert rows["wall"] == ["0", "-"]
    assert rows["2pt_seed0"] == ["2pt", "1", "4", "0.08"]
    assert "offset, m: (652,000, 6,862,000, 30)" in lines
    assert "reference system: EPSG:2154 (2 of 2 scenes)" in lines
    assert "arrays: coord, color, segment; no instance, normal, intensity" in lines
    assert "repairs: none" in lines
    # 5000 points in 8 voxels of half a metre: 625 on a quarter of a square metre.
    assert "density: about 2,500 points per m2 of surface (2 cm apart)" in lines


def test_info_as_json_is_all_that_is_printed(root, capsys):
    assert run("info", root, "--json") == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["scenes"], info["points"], info["root"]) == (2, 10_000, str(root))
    assert info["classes"]["ceiling"] == 7500
    assert info["splits"][0]["name"] == "Area_1"
    assert info["draws"][0]["labels"] == 4


def test_names_are_printed_as_they_are(root, capsys):
    write_scene(root, "[red]:dog:", "x", coord=np.eye(3), dataset="toy", sources=[], voxel_sizes=[])
    assert run("info", root) == 0
    assert "[red]:dog: " in capsys.readouterr().out


def test_info_says_what_is_damaged(root, capsys):
    (root / "Area_2" / "office_1" / "coord.npy").write_bytes(b"")
    assert run("info", root) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 scenes, 5,000 points" in printed
    assert "damaged: " in printed


def test_info_of_scenes_without_labels_draws_no_histogram(tmp_path, capsys):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    write_scene(root, "a", "b", coord=np.eye(3), dataset="toy", sources=[], voxel_sizes=[])
    assert run("info", root) == 0
    printed = capsys.readouterr().out
    assert "ceiling" not in printed
    assert "density" not in printed


def test_check(root, capsys):
    assert run("check", root) == 0
    captured = capsys.readouterr()
    assert "2 scenes, 10,000 points, 1 draws checked; everything is as it should be" in captured.out
    assert "problem" not in captured.err
    (root / "Area_2" / ".office_1.x.tmp").mkdir()
    meta = root / "Area_1" / "office_1" / "meta.json"
    meta.write_text(json.dumps({k: v for k, v in json.loads(meta.read_text()).items() if k != "sha256"}))
    assert run("check", root) == 1
    captured = capsys.readouterr()
    assert captured.err.count("problem: ") == 1
    assert "1 problems" in captured.out
    assert "note: no hashes stored for all files of 1 scenes (Area_1/office_1)" in captured.out


def test_export(root, tmp_path, capsys):
    assert run("export-pointcept", root, "--out", tmp_path / "pc", "--segment-name", "segment20") == 0
    printed = capsys.readouterr().out
    assert "2 scenes, 6 files" in printed
    assert "note: 2 scenes lack color or normal" in printed
    assert sorted(p.name for p in (tmp_path / "pc" / "Area_1" / "office_1").iterdir()) == [
        "color.npy",
        "coord.npy",
        "segment20.npy",
    ]


@pytest.mark.parametrize("command", ["info", "check"])
def test_bad_input_is_one_line_and_exit_code_2(command, tmp_path, capsys):
    assert run(command, tmp_path / "nowhere") == 2
    errors = capsys.readouterr().err
    assert "there is no folder" in errors
    assert errors.count("\n") == 1


def test_bad_usage_is_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        run("inspect")
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
