"""``pointseg view`` on PLY files, folders of them and prepared scenes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointseg.cli import view
from pointseg.data.classes import Classes, save_classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.ply import write_ply

CLASSES = Classes("toy", ("ground", "crate"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((0,), (1,)))


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    view.add_arguments(parser)
    return view.run(parser.parse_args([str(a) for a in arguments]))


def cloud(name: str = "toy") -> Cloud:
    coord = np.random.default_rng(0).random((400, 3))
    ids = np.arange(400) % 2
    return Cloud(coord, np.full((400, 3), 90, np.uint8), gt=ids, pred=ids[::-1].copy(), name=name)


@pytest.fixture
def ply(tmp_path) -> Path:
    return write_ply(tmp_path / "a.b.ply", cloud(), CLASSES)


def test_both_files_beside_the_target(ply, capsys):
    assert run(ply) == 0
    folder = ply.parent
    assert sorted(p.name for p in folder.iterdir()) == ["a.b.html", "a.b.ply", "a.b.png"]
    said = capsys.readouterr().out
    assert f"{folder / 'a.b.png'}\n{folder / 'a.b.html'}\n" in said
    assert "in a browser" in said
    assert '"name":"crate","color":[230,120,10]' in (folder / "a.b.html").read_text(encoding="utf-8")
    assert Image.open(folder / "a.b.png").size[0] > 1000


def test_one_file_at_a_time(ply, tmp_path, capsys):
    assert run(ply, "--png", tmp_path / "new" / "x.png") == 0
    assert run(ply, "--html", tmp_path / "x.html") == 0
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("x.*")) == ["new/x.png", "x.html"]
    assert not (tmp_path / "a.b.png").exists()


def test_a_folder_keeps_its_shape(tmp_path, capsys):
    for place in ("Area_1/x", "Area_2/x", "y"):
        path = tmp_path / "in" / f"{place}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ply(path, cloud(place), CLASSES)
    assert run(tmp_path / "in", "--out", tmp_path / "out") == 0
    made = sorted(str(p.relative_to(tmp_path / "out")) for p in tmp_path.rglob("out/**/*.*"))
    assert made == [f"{place}.{end}" for place in ("Area_1/x", "Area_2/x", "y") for end in ("html", "png")]
    with pytest.raises(InputError, match="3 PLY files"):
        run(tmp_path / "in", "--png", tmp_path / "one.png")


def test_one_bad_file_does_not_stop_the_others(tmp_path, capsys):
    write_ply(tmp_path / "good.ply", cloud(), CLASSES)
    (tmp_path / "bad.ply").write_bytes(b"ply\nformat")
    assert run(tmp_path) == 1
    assert (tmp_path / "good.png").exists()
    assert "bad.ply cannot be read" in capsys.readouterr().err
    (tmp_path / "good.ply").write_bytes(b"")
    with pytest.raises(InputError, match="none of the 2 PLY files"):
        run(tmp_path)


def test_unknown_classes_are_numbered_and_it_is_said(tmp_path, capsys):
    path = write_ply(tmp_path / "a.ply", cloud())
    run(path, "--html", tmp_path / "a.html")
    assert "no class names are known" in capsys.readouterr().out
    assert '"name":"class 1"' in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_classes_can_be_given(ply, tmp_path, capsys):
    other = Classes("other", ("earth", "box"), CLASSES.colors, ((0,), (1,)))
    save_classes(other, tmp_path / "other.yaml")
    run(ply, "--classes", tmp_path / "other.yaml", "--html", tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert '"name":"box"' in text
    assert "crate" not in text


def test_a_prepared_scene(tmp_path, capsys):
    from pointseg.data.scene_writer import write_scene

    save_classes(CLASSES, tmp_path / "classes.yaml")
    scene = write_scene(
        tmp_path,
        "Area_1",
        "room_1",
        coord=cloud().coord.astype(np.float64) + np.array([1000.0, 0, 0]),
        color=cloud().color,
        segment=cloud().gt,
        dataset="toy",
        sources=[],
        repairs=[],
        voxel_sizes=[],
    )
    assert run(scene if isinstance(scene, Path) else scene.path) == 0
    text = (tmp_path / "Area_1" / "room_1.html").read_text(encoding="utf-8")
    assert '"name":"Area_1/room_1"' in text
    assert '"name":"crate"' in text
    modes = re.findall(r'\{"id":"(\w+)"', text)
    assert modes == ["rgb", "gt", "height"]
    assert '"offset":[1000.0,0.0,0.0]' in text


def test_wrong_targets(ply, tmp_path):
    with pytest.raises(InputError, match="there is no"):
        run(tmp_path / "absent.ply")
    (tmp_path / "a.txt").write_text("1 2 3")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not a PLY file"):
        run(tmp_path / "a.txt")
    with pytest.raises(InputError, match="holds no PLY file"):
        run(tmp_path / "empty")
    with pytest.raises(InputError, match="one or the other"):
        run(ply, "--png", tmp_path / "a.png", "--out", tmp_path)
