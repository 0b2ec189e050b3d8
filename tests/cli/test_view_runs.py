"""``pointseg view`` of runs: the live page from start to Ctrl-C, stored and fresh predictions, two targets."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData
from toy_views import run

from pointseg.cli.main import main
from pointseg.data.scene import open_scene
from pointseg.data.sparse_labels import open_labels
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.live import LiveServer
from pointseg.viewing.ply import read_ply, write_ply
from pointseg.viewing.sources import Wishes, open_target


def served(*arguments: object) -> tuple[list[str], dict, int]:
    """Start the command as a user does, fetch what its page lists, end it by Ctrl-C: its lines, headers, exit code."""
    command = [sys.executable, "-m", "pointseg.cli.main", "view", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # Ends a process that says nothing, which would hold the test up for ever.
    limit = threading.Timer(120, process.kill)
    limit.start()
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        url = re.search(r"http://127\.0\.0\.1:\d+/", lines[0])[0]
        page = urllib.request.urlopen(url, timeout=100).read().decode()
        clouds = json.loads(re.search(r'<script type="application/json" id="header">(.*?)</script>', page)[1])["clouds"]
        headers = {}
        for entry in clouds:
            answer = urllib.request.urlopen(f"{url}clouds/{entry['id']}/header.json", timeout=100)
            headers[entry["source"], entry["name"]] = json.load(answer)
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=100)
    finally:
        limit.cancel()
        process.kill()
        process.wait()
    return [*lines, *rest.splitlines(), *err.splitlines()], headers, process.returncode


@pytest.fixture(scope="module")
def trained(rooms_root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    tiny = ["data.voxel_size=0.1", "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]", "model.init_dim=8", "steps=2"]
    tiny += ["batch_size=1", "optimizer.warmup_steps=0", "data.eval_splits=[Area_5, Area_2]"]
    tiny += ["data.train_splits=[Area_1, Area_2]"]
    recipe = ["synthetic_supervised", "--data", str(rooms_root), "--labels", "1pct_seed0", "--out", str(out)]
    assert main(["train", *recipe, "--workers", "0", "--set", *tiny]) == 0
    return out


def test_a_run_is_predicted_when_a_scene_is_opened_and_ctrl_c_ends_it(trained):
    lines, headers, code = served(trained, "--device", "cpu")
    assert code == 0
    assert lines[0].startswith("2 scenes at http://127.0.0.1:")
    assert re.match(r"from another machine: ssh -L (\d+):localhost:\1 user@host", lines[1])
    assert lines.count("ended") == 1
    assert sum(line.startswith("predicting ") for line in lines) == 2
    assert {name for _, name in headers} == {"Area_2/office_1", "Area_5/office_1"}
    modes = {name: [mode["id"] for mode in header["modes"]] for (_, name), header in headers.items()}
    # Area_2 is trained on too, so it has annotated points.
    assert "annotated" in modes["Area_2/office_1"]
    assert "annotated" not in modes["Area_5/office_1"]
    assert {"rgb", "gt", "pred", "error", "confidence"} <= set(modes["Area_5/office_1"])


def test_stored_predictions_of_the_same_checkpoint_are_used(trained, rooms_root, capsys):
    from pointseg.cli.run_clouds import open_run

    (source,) = open_run(trained, Wishes(splits=("Area_5",)), "final", "cpu")
    fresh, _ = source.load()
    assert "predicting Area_5/office_1" in capsys.readouterr().err
    assert main(["predict", str(trained), "--device", "cpu"]) == 0
    capsys.readouterr()

    def stored() -> Cloud:
        return open_run(trained, Wishes(splits=("Area_5",)), "final", "cpu")[0].load()[0]

    cloud = stored()
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(cloud.pred, fresh.pred)
    np.testing.assert_allclose(cloud.confidence, fresh.confidence, atol=1e-6)
    np.testing.assert_array_equal(cloud.gt, fresh.gt)
    file = trained / "predictions" / "Area_5" / "office_1.ply"
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"office_1\.ply is the source itself"):
        run(trained, "--splits", "Area_5", "--ply", file, "--bake", "error")
    assert file.read_bytes() == before
    # Another network's file, or one that was changed since, is not taken for this checkpoint's.
    write_ply(file, fresh.take(np.arange(fresh.num_points)), None)
    stored()
    assert "predicting Area_5/office_1" in capsys.readouterr().err


def test_prediction_files_tell_what_a_run_knows(trained, rooms_root, tmp_path):
    assert main(["predict", str(trained), "--out", str(tmp_path), "--device", "cpu"]) == 0
    trained_on = read_ply(tmp_path / "Area_2" / "office_1.ply")
    scene = open_scene(rooms_root / "Area_2" / "office_1")
    index, label = open_labels(rooms_root, "1pct_seed0").for_scene(scene)
    np.testing.assert_array_equal(np.flatnonzero(trained_on.annotated >= 0), index)
    np.testing.assert_array_equal(trained_on.annotated[index], label)
    assert read_ply(tmp_path / "Area_5" / "office_1.ply").annotated is None


def test_entropy_is_written_where_the_prediction_has_it(trained, tmp_path):
    from types import SimpleNamespace

    from pointseg.cli.run_clouds import predicted_cloud
    from pointseg.training import Run

    opened = Run.open(trained)
    (scene,) = opened.scenes(["Area_5"])
    values = np.random.default_rng(0).random(scene.num_points, dtype=np.float32)
    prediction = SimpleNamespace(pred=np.zeros(scene.num_points, np.int16), confidence=values, entropy=2 * values)
    path = write_ply(tmp_path / "x.ply", predicted_cloud(opened, scene, prediction), opened.classes)
    np.testing.assert_array_equal(PlyData.read(path)["vertex"]["scalar_entropy"], 2 * values)


def test_a_run_beside_its_ground_truth(trained, rooms_root, monkeypatch, capsys):
    shelves = []

    def interrupted(server):
        shelves.append(server.shelf)
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveServer, "serve_forever", interrupted)
    assert run(trained, rooms_root, "--splits", "Area_5", "--port", "0", "--dark") == 0
    assert [(s.source, s.name) for s in shelves[0].sources] == [
        (str(trained), "Area_5/office_1"),
        (str(rooms_root), "Area_5/office_1"),
    ]
    said = capsys.readouterr()
    assert re.search(r"2 scenes at http://127\.0\.0\.1:\d+/#a=0&b=1\n", said.out)
    assert run(rooms_root, "--host", "0.0.0.0", "--port", "0") == 0
    said = capsys.readouterr()
    assert "#" not in said.out
    assert "ssh" not in said.out
    assert "warning: --host 0.0.0.0 lets every machine that reaches this one see the scenes" in said.err


def test_wishes_that_do_not_fit_a_run(trained):
    with pytest.raises(InputError, match="no checkpoint 'none'; there are: "):
        run(trained, "--checkpoint", "none")
    with pytest.raises(InputError, match="no split 'Area_9'"):
        run(trained, "--splits", "Area_9")
    with pytest.raises(InputError, match="a run shows its own labels"):
        run(trained, "--labels", "1pct_seed0")


def test_pseudo_labels_are_views_of_one_place_and_written_only_by_name(trained, rooms_root, tmp_path, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "pseudo_labels").mkdir()
    room = open_target(rooms_root / "Area_2" / "office_1", Wishes())[0].load()[0]
    for step in (1, 5):
        record = replace(room, pseudo=room.gt, name=f"{room.name}, step {step}")
        write_ply(copy / "pseudo_labels" / f"step_{step}.ply", record)
    pages = []
    monkeypatch.setattr(LiveServer, "serve_forever", lambda server: pages.append(server.page.decode()))
    assert run(copy, "--splits", "Area_5", "--port", "0", "--device", "cpu") == 0
    assert run(copy, "--port", "0", "--device", "cpu") == 0
    one, every = (json.loads(re.search(r'id="header">(.*?)</script>', page)[1])["clouds"] for page in pages)
    assert [cloud["place"] for cloud in one] == ["Area_5/office_1"]
    places = {cloud["name"]: cloud["place"] for cloud in every}
    assert places["pseudo_labels/step_1"] == places["pseudo_labels/step_5"] != places["Area_2/office_1"]
    with pytest.raises(InputError, match=r"holds 2 scenes; .*--scene \(\S+/office_1, \S+/office_1\)"):
        run(copy, "--ply", tmp_path / "x.ply", "--device", "cpu")
    assert run(copy, "--ply", tmp_path / "x.ply", "--scene", "pseudo_labels/step_5") == 0
    assert read_ply(tmp_path / "x.ply").name.endswith(", step 5")


def test_labels_are_in_the_picture_of_a_scene_and_refused_where_they_hold_nothing_of_it(rooms_root, tmp_path):
    flags = ("--labels", "1pct_seed0", "--png", tmp_path / "x.png")
    assert run(rooms_root / "Area_2" / "office_1", *flags) == 0
    width = Image.open(tmp_path / "x.png").width
    assert run(rooms_root / "Area_2" / "office_1", *flags[2:]) == 0
    assert width > Image.open(tmp_path / "x.png").width
    with pytest.raises(InputError, match="the labels '1pct_seed0' hold nothing of Area_5/office_1; leave"):
        run(rooms_root / "Area_5" / "office_1", *flags)
