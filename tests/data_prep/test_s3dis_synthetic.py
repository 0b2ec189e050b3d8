"""Procedural rooms generated where they are missing, then prepared through S3DIS's own path."""

import json

import pytest

from data_prep import _s3dis_synthetic, synthetic
from data_prep._main import run_module
from pointseg.data.scene import list_scenes
from pointseg.errors import InputError

SETTINGS = {"areas": 2, "rooms": 1, "density": 20.0, "seed": 3}


def prepare(raw, out, **changes):
    flags = [f"--{name}={value}" for name, value in (SETTINGS | changes).items()]
    arguments = ["--raw", str(raw), "--out", str(out), "--workers", "1", "--voxel-size", "0.2", *flags]
    return run_module(_s3dis_synthetic.HELP, _s3dis_synthetic.add_arguments, _s3dis_synthetic.run, arguments)


@pytest.fixture
def generations(monkeypatch):
    calls = []
    generate = synthetic.generate

    def counting(*args, **kwargs):
        calls.append(kwargs)
        return generate(*args, **kwargs)

    monkeypatch.setattr(synthetic, "generate", counting)
    return calls


def test_generates_once_and_prepares(tmp_path, generations, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    assert prepare(raw, out) == 0
    scenes = list_scenes(out)
    assert [scene.split for scene in scenes] == ["Area_1", "Area_2"]
    assert {scene.meta["dataset"] for scene in scenes} == {"synthetic"}
    assert "not in the raw folder" not in capsys.readouterr().out
    assert prepare(raw, out) == 0
    assert "0 scenes written, 2 up to date" in capsys.readouterr().out
    expected = {"areas": 2, "rooms_per_area": 1, "density": 20.0, "seed": 3, "workers": 1}
    assert generations == [expected]


def test_a_check_generates_nothing(tmp_path, generations, capsys):
    assert prepare(tmp_path / "raw", tmp_path / "out") == 0
    arguments = ["--raw", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--check"]
    assert run_module(_s3dis_synthetic.HELP, _s3dis_synthetic.add_arguments, _s3dis_synthetic.run, arguments) == 0
    assert "2 scenes, " in capsys.readouterr().out
    assert len(generations) == 1
    assert not (tmp_path / "none").exists()


def test_an_interrupted_generation_is_finished(tmp_path, generations, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "generate", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        assert prepare(tmp_path / "raw", tmp_path / "out") == 130
    assert "interrupted while generating" in capsys.readouterr().err
    assert prepare(tmp_path / "raw", tmp_path / "out") == 0
    assert len(generations) == 1
    assert json.loads((tmp_path / "raw" / "synthetic.json").read_text()) == {"settings": SETTINGS, "finished": True}


def test_rooms_of_other_settings_are_refused_and_left_alone(tmp_path, capsys):
    raw = tmp_path / "raw"
    prepare(raw, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in raw.rglob("*")}
    assert prepare(raw, tmp_path / "out", seed=4) == 2
    assert "use the same settings or choose another --raw folder" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in raw.rglob("*")} == before


def test_somebody_elses_rooms_are_refused(tmp_path):
    (tmp_path / "Area_1").mkdir()
    with pytest.raises(InputError, match="holds areas that this command did not generate"):
        _s3dis_synthetic.ensure_generated(tmp_path, SETTINGS, 1)


def test_a_damaged_record_is_refused(tmp_path):
    (tmp_path / "synthetic.json").write_text("{")
    with pytest.raises(InputError, match=r"synthetic\.json is damaged"):
        _s3dis_synthetic.ensure_generated(tmp_path, SETTINGS, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        _s3dis_synthetic.ensure_generated(tmp_path / "file" / "raw", SETTINGS, 1)
