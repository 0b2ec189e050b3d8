"""The command line as a person meets it: the whole job on tiny rooms, and mistakes answered in one line."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from plyfile import PlyData

from pointseg import __version__
from pointseg.cli.main import COMMANDS, main
from pointseg.paths import configs_dir

TINY = [
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "data.voxel_size=0.2",
    "optimizer.warmup_steps=1",
    "steps=4",
]


def command(*arguments):
    return [sys.executable, "-m", "pointseg.cli.main", *map(str, arguments)]


def test_the_main_job_from_raw_rooms_to_a_page(tmp_path, capsys):
    raw, data, runs = tmp_path / "raw", tmp_path / "data", tmp_path / "runs"
    size = ["--areas", 5, "--rooms", 1, "--density", 60, "--workers", 1]
    steps = [
        ["prepare", "synthetic", "--raw", raw, "--out", data, "--voxel-size", 0.2, *size],
        ["label", "--data", data, "--rule", "0.1%", "--voxel-size", 0.2],
    ]
    for method in ("supervised", "erda"):
        train = ["train", f"synthetic_{method}", "--data", data, "--labels", "0.1pct_seed0", "--out", runs / method]
        steps.append([*train, "--workers", 0, "--set", *TINY])
    steps += [["evaluate", runs / "supervised", runs / "erda"], ["predict", runs / "erda"]]
    steps.append(["view", runs / "erda" / "predictions" / "Area_5", "--out", tmp_path / "views"])
    for step in steps:
        assert main([str(part) for part in step]) == 0, step
    printed = capsys.readouterr().out
    for word in ("ceiling", "miou_voxel", "supervised", "erda"):
        assert word in printed

    scene = next((data / "Area_5").iterdir())
    truth = np.load(scene / "segment.npy")
    vertex = PlyData.read(next((runs / "erda" / "predictions" / "Area_5").glob("*.ply")))["vertex"]
    assert np.array_equal(vertex["scalar_gt"], truth)
    wrong = (vertex["scalar_pred"] != truth)[truth >= 0]
    assert np.array_equal(vertex["scalar_error"][truth >= 0] == 1, wrong)
    scores = json.loads((runs / "erda" / "evaluation" / "final_Area_5.json").read_text())
    assert scores["oacc"] == pytest.approx(1 - wrong.mean())
    assert list((tmp_path / "views").rglob("*.html"))
    assert list((tmp_path / "views").rglob("*.png"))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert "usage: pointseg" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"pointseg {__version__}"


def test_doctor_says_what_is_there(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in (__version__, "torch", "numpy", "device chosen", "engine", "laspy"):
        assert word in printed


TRAIN = ["train", "synthetic_erda", "--data", "{root}", "--labels", "1pt_seed0", "--out", "{tmp}/run"]
MISTAKES = [
    ["frob"],
    ["train"],
    ["train", "synthetic_erda", "--out", "{tmp}/run"],
    ["train", "no_such_recipe", "--out", "{tmp}/run"],
    ["train", "s3dis_erda_1pct"],
    ["train", "synthetic_erda", "--data", "{tmp}/nothing", "--out", "{tmp}/run"],
    [*TRAIN, "--labels", "nothing", "--set", "data.voxel_size=0.1"],
    [*TRAIN, "--device", "tpu9"],
    [*TRAIN, "--set", "stepz=3"],
    [*TRAIN, "--workers", "-1"],
    [*TRAIN, "--wrong"],
    [*TRAIN, "--out", "/dev/null/run", "--set", "data.voxel_size=0.1"],
    ["evaluate", "{tmp}/nothing"],
    ["predict", "{tmp}/nothing"],
    ["predict"],
    ["view", "{tmp}/nothing.ply"],
    ["prepare", "s3dis", "--raw", "{tmp}/nothing", "--out", "{tmp}/out"],
    ["prepare", "nyu", "--raw", "{tmp}", "--out", "{tmp}/out"],
    ["label", "--data", "{root}", "--rule", "many"],
    ["label", "--data", "{tmp}/nothing", "--rule", "1%"],
]


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_mistakes_get_one_line_and_exit_code_two(arguments, rooms_root, tmp_path, capfd):
    arguments = [a.format(tmp=tmp_path, root=rooms_root) for a in arguments]
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    shown = capfd.readouterr().err
    assert code == 2
    assert "error: " in shown
    assert len(shown.strip().splitlines()) == 1, shown
    assert "Traceback" not in shown


def test_ctrl_c_in_training_says_how_to_go_on(rooms_root, tmp_path):
    run = tmp_path / "run"
    arguments = ["train", "synthetic_erda", "--data", rooms_root, "--labels", "1pt_seed0", "--out", run]
    settings = [s for s in TINY if not s.startswith(("steps", "data"))]
    settings += ["steps=2000", "data.voxel_size=0.1", "eval_every=2000", "checkpoint_every=5"]
    process = subprocess.Popen(command(*arguments, "--set", *settings), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "checkpoints").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in shown
    assert "--resume" in shown.strip().splitlines()[-1]


def test_recipes_are_listed_with_what_they_are(capsys):
    assert main(["train", "--recipes"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(list(configs_dir().glob("*.yaml")))
    (line,) = [line for line in printed if line.startswith("scannet_erda_20pts ")]
    assert "ERDA on ScanNet, the official 20 points a scene" in line
