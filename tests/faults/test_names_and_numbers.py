"""Odd names, symbolic links, places that cannot be written to, many classes and many scenes."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from pointseg.cli.main import main
from pointseg.data.scene import list_scenes, open_scene, write_scene


def test_spaces_and_letters_of_every_kind(root, run, scan, tmp_path, command):
    place = tmp_path / "größer [x] 点群 %d {a}"
    shutil.copytree(root, place / "кора")
    shutil.copytree(run, place / "ru n")
    shutil.copy(scan, place / "скан 1.las")
    data = ["--data", place / "кора"]
    for arguments in (
        ["label", *data, "--rule", "2pt"],
        ["evaluate", place / "ru n", *data, "--scenes"],
        ["predict", place / "ru n", *data],
        ["predict", place / "ru n", "--export", place / "мо дель"],
        ["predict", place / "скан 1.las", "--model", place / "мо дель", "-o", place / "aus gabe.las"],
        ["prepare", "cloud", place / "скан 1.las", "--classes", "asprs", "--out", place / "p", "--workers", 1],
        ["data", "check", place / "p"],
    ):
        assert command(*arguments) == (0, []), arguments
    assert (place / "ru n" / "predictions" / "Area_5" / "office_1.ply").is_file()
    assert open_scene(place / "p" / "all" / "скан 1").num_points == 2000


def test_a_name_that_is_no_text_is_refused_before_anything_is_done(scan, tmp_path, command):
    shutil.copy(scan, tmp_path / "good.las")
    shutil.copy(scan, os.fsencode(tmp_path) + b"/sc\xffn.las")
    code, (line,) = command("prepare", "cloud", tmp_path, "--classes", "asprs", "--out", tmp_path / "p", "--workers", 1)
    assert code == 2
    assert r"the name 'sc\udcffn' is not UTF-8" in line
    assert not (tmp_path / "p").exists()


def test_linked_scenes_go_by_the_names_of_their_links(root, run, tmp_path, command):
    """Two links to scenes of one name are two scenes: neither a score nor a file of one replaces the other's."""
    linked = tmp_path / "linked"
    (linked / "Area_5").mkdir(parents=True)
    shutil.copy(root / "classes.yaml", linked)
    (linked / "Area_5" / "first").symlink_to(root / "Area_1" / "office_1")
    (linked / "Area_5" / "second").symlink_to(root / "Area_2" / "office_1")
    (linked / "Area_5" / "dangling").symlink_to(tmp_path / "nowhere")
    (linked / "Area_5" / "loop").symlink_to(linked / "Area_5" / "loop")
    (linked / "upwards").symlink_to(linked)
    (tmp_path / "short").symlink_to(linked)
    assert [scene.name for scene in list_scenes(tmp_path / "short")] == ["first", "second"]
    assert command("predict", run, "--data", tmp_path / "short", "--out", tmp_path / "out") == (0, [])
    assert sorted(path.name for path in tmp_path.glob("out/*/*.ply")) == ["first.ply", "second.ply"]
    assert command("data", "check", linked) == (0, [])


def test_links_among_cloud_files(model, scan, tmp_path, command):
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "good.las").symlink_to(scan)
    (scans / "gone.las").symlink_to(tmp_path / "nowhere.las")
    (scans / "loop.las").symlink_to(scans / "loop.las")
    code, said = command("predict", scans, "--model", model, "-o", tmp_path / "out")
    assert code == 1
    assert [line.split(":")[0].rsplit("/", 1)[1] for line in said] == ["gone.las failed", "loop.las failed"]
    assert (tmp_path / "out" / "good.las").is_file()
    code, said = command("prepare", "cloud", scans, "--classes", "asprs", "--out", tmp_path / "p", "--workers", 1)
    assert code == 1
    assert len([line for line in said if line.startswith("failed: all/")]) == 2
    assert [scene.name for scene in list_scenes(tmp_path / "p")] == ["good"]
    (tmp_path / "same.las").symlink_to(scan)
    before = scan.read_bytes()
    code, (line,) = command("predict", scan, "--model", model, "-o", tmp_path / "same.las")
    assert (code, "is the source itself" in line) == (2, True)
    assert scan.read_bytes() == before


def test_a_file_where_a_folder_should_be(root, run, model, scan, tmp_path, command):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for arguments in (
        ["prepare", "cloud", scan, "--classes", "asprs", "--out", taken, "--workers", 1],
        ["predict", scan, "--model", model, "-o", taken / "x.las"],
        ["predict", run, "--out", taken],
        ["predict", run, "--export", taken],
        ["data", "export-pointcept", root, "--out", taken],
    ):
        code, said = command(*arguments)
        assert (code, len(said)) == (2, 1), arguments
        assert str(taken) in said[0]
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("memory", [(), ("--memory", "200MB")])
def test_a_million_classes_in_the_labels(tmp_path, command, memory):
    rows = np.empty(1_000_000, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("label", "i4")])
    rows["x"], rows["y"], rows["z"] = np.random.default_rng(0).uniform(0, 9, (3, len(rows)))
    rows["label"] = np.arange(len(rows))
    np.save(tmp_path / "a.npy", rows)
    arguments = ["prepare", "cloud", tmp_path / "a.npy", "--classes", "asprs", "--out", tmp_path / "out"]
    code, (line,) = command(*arguments, "--workers", 1, *memory)
    assert code == 1
    assert "999" in line
    assert len(line) < 2000


@pytest.mark.parametrize("arguments", [("train", "x"), ("prepare", "s3dis", "--raw", "x", "--out", "y")])
def test_an_unknown_flag_points_to_the_help_that_lists_the_others(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--colour"])
    assert stop.value.code == 2
    command = " ".join(arguments[: 2 if arguments[0] == "prepare" else 1])
    line = f"pointseg {command}: error: unrecognized arguments: --colour (see 'pointseg {command} --help')\n"
    assert capsys.readouterr().err == line


class Asked:
    """Counts what is asked of the system about files below some places, and the bytes that go in and out."""

    def __init__(self, monkeypatch, places):
        self.places, self.count, self.before = tuple(map(str, places)), 0, bytes_moved()
        for name in ("stat", "lstat", "scandir", "listdir", "open"):
            monkeypatch.setattr(os, name, self._counting(getattr(os, name)))
        monkeypatch.setattr(io, "open", self._counting(io.open))
        monkeypatch.setattr("builtins.open", io.open)

    def _counting(self, function):
        def counted(path=".", *args, **kwargs):
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.places):
                self.count += 1
            return function(path, *args, **kwargs)

        return counted

    @property
    def bytes(self):
        return bytes_moved() - self.before


def bytes_moved():
    """Read and written by this process so far; 0 where the system does not count."""
    path = Path("/proc/self/io")
    return sum(int(line.split()[1]) for line in path.read_text().splitlines()[:2]) if path.is_file() else 0


@pytest.fixture(scope="module")
def many(tmp_path_factory, rooms_root):
    """Two roots: of 20 and of 80 scenes of 20 points."""
    roots, rng = [], np.random.default_rng(0)
    for number in (20, 80):
        root = tmp_path_factory.mktemp(f"many{number}")
        shutil.copy(rooms_root / "classes.yaml", root)
        for i in range(number):
            write_scene(
                root,
                "Area_1",
                f"s{i}",
                coord=rng.uniform(0, 1, (20, 3)),
                color=rng.integers(0, 256, (20, 3)).astype(np.uint8),
                segment=rng.integers(0, 3, 20),
                dataset="s3dis",
                sources=[],
                voxel_sizes=[0.1],
            )
        roots.append(root)
    # What is imported now is not counted later.
    assert main(["data", "info", str(roots[0])]) == 0
    return roots


@pytest.mark.parametrize("what", ["info", "check", "label", "evaluate", "evaluate own", "predict own"])
def test_the_work_grows_no_faster_than_the_number_of_scenes(many, trained_once, tmp_path, command, monkeypatch, what):
    asked = []
    for number, root in enumerate(many):
        run, out = trained_once / "run", tmp_path / f"out{number}"
        if "own" in what:
            run = trained_on(root, run, tmp_path / f"run{number}")
        arguments = {
            "info": ["data", "info", root],
            "check": ["data", "check", root],
            "label": ["label", "--data", root, "--rule", "1pt", "--name", f"{what}{number}"],
            "evaluate": ["evaluate", run, "--data", root, "--splits", "Area_1"],
            "evaluate own": ["evaluate", run, "--splits", "Area_1"],
            "predict own": ["predict", run, "--splits", "Area_1", "--out", out],
        }[what]
        with monkeypatch.context() as patch:
            counted = Asked(patch, [root, out, run])
            assert command(*arguments) == (0, [])
            asked.append((counted.count, counted.bytes))
    # 4 times the scenes; a list that is gone through for each of them would make it 16.
    few, many_more = asked
    assert few[0] >= 20
    assert many_more[0] < 5 * few[0]
    assert many_more[1] <= 5 * few[1]


def trained_on(root, run, folder):
    """A copy of a run that says it was trained on a root's sparse labels."""
    if not (root / "sparse_labels" / "own").is_dir():
        assert main(["label", "--data", str(root), "--rule", "1pt", "--name", "own"]) == 0
    shutil.copytree(run, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"] |= {"root": str(root), "labels": "own", "train_splits": ["Area_1"], "eval_splits": []}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder
