"""``pointseg prepare`` through the program's own entry."""

import sys

import pytest

from pointseg.cli import main as cli
from pointseg.cli.prepare import DATASETS
from pointseg.data.scene import list_scenes


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw" / "Area_1" / "office_1" / "Annotations"
    folder.mkdir(parents=True)
    (folder / "floor_1.txt").write_text("0.1 0.1 0.1 1 2 3\n0.2 0.1 0.1 1 2 3\n")
    return tmp_path / "raw"


def test_prepares_and_prepares_again(raw, tmp_path, capsys):
    arguments = ["prepare", "s3dis", "--raw", str(raw), "--out", str(tmp_path / "out"), "--workers", "1"]
    sizes = ["--voxel-size", "0.05", "--voxel-size", "1"]
    assert cli.main(arguments + sizes) == 0
    assert [scene.voxel_sizes for scene in list_scenes(tmp_path / "out")] == [(0.05, 1.0)]
    assert "1 scenes written, 0 up to date, 0 failed; 2 points" in capsys.readouterr().out
    assert cli.main(arguments) == 0
    assert "0 scenes written, 1 up to date" in capsys.readouterr().out


def test_a_failed_room_is_exit_code_1(raw, tmp_path, capsys):
    (raw / "Area_1" / "office_2").mkdir()
    assert cli.main(["prepare", "s3dis", "--raw", str(raw), "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
    assert "failed: Area_1/office_2: there is no folder" in capsys.readouterr().err


def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert cli.main(["prepare", "s3dis", "--raw", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("pointseg prepare: error: there is no folder")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["s3dis"], ["s3dis", "--raw", "x", "--out", "y", "--sigma", "1"]]
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["prepare", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_names_every_data_set(capsys):
    with pytest.raises(SystemExit):
        cli.main(["prepare", "--help"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_help_of_its_own(name, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["prepare", name, "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: pointseg prepare {name}" in printed
    assert all(flag in printed for flag in ("--out", "--voxel-size", "--workers", "--check"))


def test_a_data_set_is_imported_only_when_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setitem(DATASETS, "broken", ("data_prep.there_is_no_such_module", "not to be imported"))
    for module, _ in DATASETS.values():
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit):
        cli.main(["prepare", "s3dis", "--help"])
    assert "data_prep.s3dis" in sys.modules
    assert "data_prep._s3dis_synthetic" not in sys.modules
