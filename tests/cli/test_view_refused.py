"""``pointseg view`` of files, folders and prepared scenes: what it refuses, never writes over and does not export."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_views import CLASSES, cloud, page_header, run

from pointseg.cli import view
from pointseg.cli.main import main
from pointseg.data.classes import save_classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.exports import write_las
from pointseg.viewing.holding import within_memory
from pointseg.viewing.ply import read_ply, write_ply
from pointseg.viewing.sources import Source


@pytest.fixture
def ply(tmp_path) -> Path:
    return write_ply(tmp_path / "a.b.ply", cloud(), CLASSES)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent.ply"], "there is no absent.ply; give a run"),
        (["words.md"], "ends in '.md'; files that can be read end in .ply"),
        (["empty"], "holds no cloud file"),
        (["a.b.ply", "--png", "a.png", "--out", "x"], "one or the other"),
        (["a.b.ply", "a.b.ply", "a.b.ply"], "3 targets; give one, or two"),
        (["a.b.ply", "a.b.ply", "--png", "x.png"], "--png shows one target"),
        (["a.b.ply", "--bake", "pred"], "--bake is for --ply and --laz; leave it out"),
        (["a.b.ply", "--max-points", "0"], "--max-points is 0"),
        (["a.b.ply", "--laz", "x.txt"], "does not end in .las or .laz"),
        (
            ["a.b.ply", "--html", "x.html", "--color", "confidence"],
            "as 'confidence'; what it holds allows rgb, gt, pred,",
        ),
        (["a.b.ply", "--laz", "x.laz", "--bake", "normal"], "cannot be shown as 'normal'"),
        (["a.b.ply", "--palette", "pretty"], "invalid choice: 'pretty'"),
        (["a.b.ply", "--classes", "nonesuch"], "no class file named 'nonesuch'"),
        (["a.b.ply", "--port", "99999"], "the port is 99999"),
        (["a.b.ply", "--png", "x.jpg"], "x.jpg does not end in .png"),
        (["a.b.ply", "--desktop", "--dark"], "--dark is for the live page and --png and --html and --out; leave it"),
        (["a.b.ply", "--png", "x.png", "--max-points", "9"], "--max-points is for the live page and --html and --out"),
        (["a.b.ply", "--html", "x.html", "--port", "0"], "--port is for the live page; leave it out"),
        (["a.b.ply", "--out", "x", "--open"], "--open is for the live page"),
        (["a.b.ply", "--ply", "x.ply", "--host", "::1"], "--host is for the live page"),
        (["a.b.ply", "--ply", "x.ply", "--color", "pred"], "--color is for the live page and"),
        (["a.b.ply", "--checkpoint", "best"], "--checkpoint is for runs, and a.b.ply is none"),
        (["a.b.ply", "--device", "cpu"], "--device is for runs"),
        (["a.b.ply", "--ply", "a.b.ply"], "a.b.ply is the source itself; give another file to write to"),
        (["a.b.ply", "--html", "./a.b.ply"], "a.b.ply is the source itself"),
        (["a.b.ply", "a.b.ply", "--html", "a.b.ply"], "a.b.ply is the source itself"),
        (
            ["a.b.ply", "a.b.ply", "--html", "x.html", "--color", "normal"],
            "a.b.ply and a.b.ply cannot be shown as 'normal'; what they hold allows rgb, gt, pred, error, height",
        ),
        (["a.b.ply", "--scene", "other", "--png", "x.png"], "a.b.ply has no scene 'other'; it has a.b."),
    ],
)
def test_refusals_are_one_line(ply, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.md").write_text("words")
    (tmp_path / "empty").mkdir()
    before = ply.read_bytes()
    with pytest.raises(SystemExit) as stop:  # argparse's own, or ours
        sys.exit(main(["view", *arguments]))
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.b.ply", "empty", "words.md"]
    assert ply.read_bytes() == before


def test_a_link_to_the_source_is_the_source_too(ply, tmp_path):
    write_las(tmp_path / "scan.las", cloud(), CLASSES)
    (tmp_path / "link.laz").symlink_to("scan.las")
    before = (tmp_path / "scan.las").read_bytes()
    with pytest.raises(InputError, match=r"link\.laz is the source itself"):
        run(tmp_path / "scan.las", "--laz", tmp_path / "link.laz")
    assert (tmp_path / "scan.las").read_bytes() == before


def test_the_scan_that_a_scene_was_made_from_is_never_written_over(tmp_path, capsys):
    write_las(tmp_path / "scan.las", cloud(), CLASSES)
    save_classes(CLASSES, tmp_path / "toy.yaml")
    prepare = ["--classes", str(tmp_path / "toy.yaml"), "--out", str(tmp_path / "root")]
    assert main(["prepare", "cloud", str(tmp_path / "scan.las"), *prepare]) == 0
    (tmp_path / "link.html").symlink_to("scan.las")
    scene = next((tmp_path / "root").rglob("meta.json")).parent
    before = (tmp_path / "scan.las").read_bytes(), (scene / "coord.npy").read_bytes()
    asked = [("--laz", "scan.las"), ("--ply", "scan.las"), ("--html", "link.html")]
    for target in (tmp_path / "root", scene):
        for flag, name in asked:
            with pytest.raises(InputError, match=rf"{name} is the source itself; give another file"):
                run(target, flag, tmp_path / name)
    with pytest.raises(InputError, match=r"scan\.las is the source itself"):
        run(tmp_path / "root", tmp_path / "root", "--html", tmp_path / "scan.las")
    with pytest.raises(InputError, match=r"coord\.npy is the source itself"):
        run(scene, "--ply", scene / "coord.npy")
    assert before == ((tmp_path / "scan.las").read_bytes(), (scene / "coord.npy").read_bytes())
    assert run(scene, "--laz", tmp_path / "new.laz") == 0


def test_a_cloud_too_wide_to_be_held_to_a_millimetre_is_shown_and_not_exported(tmp_path, caplog):
    """A road, or a point at zero in a file of a country's grid."""
    road = np.linspace([431_000, 5_412_000, 90], [451_000, 5_412_300, 140], 3000)
    path = tmp_path / "road.xyz"
    np.savetxt(path, road, fmt="%.3f")
    assert run(path, "--html", tmp_path / "x.html", "--png", tmp_path / "x.png") == 0
    assert re.search(r"road\.xyz reaches 20,000 m from its offset, .* held to 0\.002 m; .* stray points", caplog.text)
    assert page_header(tmp_path / "x.html")["offset"] == [431_000, 5_412_000, 90]
    for flag, name in (("--ply", "x.ply"), ("--laz", "x.laz")):
        with pytest.raises(InputError, match=r"road reaches 20,000 m .* would be rounded to 0\.002 m"):
            run(path, flag, tmp_path / name)
    read_ply(write_ply(tmp_path / "wide.ply", Cloud((road - road[0]).astype(np.float32), offset=tuple(road[0]))))
    np.savetxt(path, road * 1e12)
    with pytest.raises(InputError, match=r"road\.xyz has coordinates up to 5\.4123e\+18; they must be metres"):
        run(path, "--html", tmp_path / "x.html")


def test_a_share_of_a_cloud_is_not_exported(ply, tmp_path, monkeypatch):
    monkeypatch.setattr(view, "open_target", lambda *_: [Source("big", "big", ply, lambda: (held, CLASSES))])
    held = within_memory(cloud("big"), 100)
    for flag, name in (("--ply", "x.ply"), ("--laz", "x.laz")):
        with pytest.raises(InputError, match=r"has 400 points, and an export holds at most"):
            run(ply, "--png", tmp_path / "x.png", flag, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [ply.name]
