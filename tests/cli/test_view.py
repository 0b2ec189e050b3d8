"""``pointseg view`` of files, folders and prepared scenes: the pictures, pages and exports it writes."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import laspy
import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData
from toy_views import CLASSES, cloud, page_header, run

from pointseg.data.classes import Classes, save_classes
from pointseg.errors import InputError
from pointseg.viewing.palettes import SAFE
from pointseg.viewing.ply import read_ply, write_ply


@pytest.fixture
def ply(tmp_path) -> Path:
    return write_ply(tmp_path / "a.b.ply", cloud(), CLASSES)


def test_a_picture_and_a_page_of_everything(ply, capsys):
    assert run(ply, "--out", ply.parent) == 0
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
    with pytest.raises(InputError, match=r"holds 3 scenes; .* with --scene \(Area_1/x, Area_2/x, y\)"):
        run(tmp_path / "in", "--png", tmp_path / "one.png")
    assert run(tmp_path / "in", "--ply", tmp_path / "one.ply", "--scene", "Area_2/x") == 0
    assert read_ply(tmp_path / "one.ply").name == "Area_2/x"


def test_one_bad_file_does_not_stop_the_others(tmp_path, capsys):
    write_ply(tmp_path / "good.ply", cloud(), CLASSES)
    (tmp_path / "bad.ply").write_bytes(b"ply\nformat")
    assert run(tmp_path, "--out", tmp_path / "out") == 1
    assert (tmp_path / "out" / "good.png").exists()
    assert "bad.ply is no PLY file" in capsys.readouterr().err
    (tmp_path / "good.ply").write_bytes(b"")
    with pytest.raises(InputError, match="none of the 2 scenes"):
        run(tmp_path, "--out", tmp_path / "out")


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
    assert run(scene if isinstance(scene, Path) else scene.path, "--out", tmp_path / "out") == 0
    text = (tmp_path / "out" / "Area_1" / "room_1.html").read_text(encoding="utf-8")
    assert '"name":"Area_1/room_1"' in text
    assert '"name":"crate"' in text
    modes = re.findall(r'\{"id":"(\w+)"', text)
    assert modes == ["rgb", "gt", "height"]
    assert '"offset":[1000.0,0.0,0.0]' in text


def test_two_clouds_side_by_side_in_one_page(ply, tmp_path, capsys):
    other = write_ply(tmp_path / "other.ply", cloud("other"), CLASSES)
    assert run(ply, other, "--html", tmp_path / "both.html") == 0
    header = page_header(tmp_path / "both.html")
    assert [half["name"] for half in header["pair"]] == ["toy", "other"]
    assert [half["source"] for half in header["pair"]] == [str(ply), str(other)]
    strangers = Classes("strange", ("x", "y"), CLASSES.colors, ((0,), (1,)))
    write_ply(other, cloud("other"), strangers)
    with pytest.raises(InputError, match=r"a\.b\.ply has the classes ground, crate, .*other\.ply has x, y; give"):
        run(ply, other, "--html", tmp_path / "both.html")


def test_a_colouring_that_one_of_several_can_be_shown_in_is_not_refused(ply, tmp_path, capsys):
    truth = write_ply(tmp_path / "truth.ply", replace(cloud("truth"), pred=None), CLASSES)
    assert run(truth, ply, "--html", tmp_path / "both.html", "--color", "error") == 0
    assert page_header(tmp_path / "both.html")["start"]["mode"] == "error"
    # Of a folder the scene without it is left out, and that is said.
    assert run(tmp_path, "--out", tmp_path / "out", "--color", "error") == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.b.html", "a.b.png"]
    assert f"error: {truth} cannot be shown as 'error'; what it holds allows rgb, gt" in capsys.readouterr().err


def test_two_folders_become_a_page_of_every_scene_both_have(tmp_path, capsys):
    for place in ("one/Area_1/x", "one/Area_1/y", "two/Area_1/x", "two/Area_1/z", "two/Area_1/y"):
        path = tmp_path / f"{place}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ply(path, cloud(place), CLASSES)
    assert run(tmp_path / "one", tmp_path / "two", "--out", tmp_path / "out") == 0
    made = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert made == ["Area_1/x.html", "Area_1/y.html"]
    assert [half["name"] for half in page_header(tmp_path / "out/Area_1/y.html")["pair"]] == [
        "one/Area_1/y",
        "two/Area_1/y",
    ]
    with pytest.raises(InputError, match=r"share 2 scenes; name one with --scene \(Area_1/x, Area_1/y\)"):
        run(tmp_path / "one", tmp_path / "two", "--html", tmp_path / "x.html")
    assert run(tmp_path / "one", tmp_path / "two", "--scene", "Area_1/y", "--html", tmp_path / "x.html") == 0
    assert [half["name"] for half in page_header(tmp_path / "x.html")["pair"]] == ["one/Area_1/y", "two/Area_1/y"]


def test_exports_and_their_colours(ply, tmp_path, capsys):
    assert run(ply, "--ply", tmp_path / "new" / "x.ply", "--laz", tmp_path / "x.laz", "--bake", "pred") == 0
    said = capsys.readouterr().out
    assert "the colours are those of 'pred', not the scan's own" in said
    assert "its field classification: 0 ground, 1 crate" in said
    expected = CLASSES.colors[cloud().pred]
    vertex = PlyData.read(tmp_path / "new" / "x.ply")["vertex"]
    np.testing.assert_array_equal(np.stack([vertex[c] for c in ("red", "green", "blue")], axis=1), expected)
    np.testing.assert_array_equal(vertex["scalar_pred"], cloud().pred)
    las = laspy.read(tmp_path / "x.laz")
    np.testing.assert_array_equal(np.stack([las.red, las.green, las.blue], axis=1) // 257, expected)
    np.testing.assert_array_equal(las.error, cloud().error)
    # Baked colours are not taken for the scan's own when they come back.
    assert read_ply(tmp_path / "new" / "x.ply").color is None


def test_the_safe_palette_and_the_first_colouring(ply, tmp_path):
    run(ply, "--palette", "safe", "--color", "error", "--dark", "--max-points", "100", "--html", tmp_path / "x.html")
    header = page_header(tmp_path / "x.html")
    assert [c["color"] for c in header["classes"]] == SAFE[:2].tolist()
    assert header["start"] == {"mode": "error", "dark": True}
    assert (header["shown"], header["total"]) == (100, 400)
    run(ply, "--palette", "safe", "--color", "pred", "--png", tmp_path / "x.png")
    picture = np.asarray(Image.open(tmp_path / "x.png").convert("RGB")).reshape(-1, 3)
    assert (picture == SAFE[0]).all(axis=1).sum() > 50
    assert not (picture == CLASSES.colors[0]).all(axis=1).any()


def test_desktop_shows_the_cloud(ply, monkeypatch):
    shown = []
    module = ModuleType("pointseg.viewing.desktop")
    module.show = lambda cloud, classes, *, mode="": shown.append((cloud.name, classes.names, mode))
    monkeypatch.setitem(sys.modules, "pointseg.viewing.desktop", module)
    assert run(ply, "--desktop", "--color", "error") == 0
    assert shown == [("toy", ("ground", "crate"), "error")]
