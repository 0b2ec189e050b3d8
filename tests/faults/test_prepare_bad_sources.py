"""Preparing bad sources and odd paths, and damage afterwards: what is bad is named, and the rest is done."""

import os
import shutil

import pytest
from raw_rooms import command, content, prepare, statuses, undisturbed, write_room, write_rooms

from pointseg.data.check import check_root
from pointseg.data.scene import list_scenes


@pytest.fixture
def raw(tmp_path):
    return write_rooms(tmp_path / "raw")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def in_place_of_a_file(folder):
    (folder / "wall_1.txt").mkdir()


def without_permission(folder):
    if os.geteuid() == 0:
        pytest.skip("permissions do not stop the superuser")
    (folder / "floor_1.txt").chmod(0)


def append(text):
    def damage(folder):
        with (folder / "floor_1.txt").open("a") as file:
            file.write(text)

    return damage


BAD_SOURCES = {
    "wall_1.txt: Is a directory": in_place_of_a_file,
    "floor_1.txt: Permission denied": without_permission,
    "floor_1.txt, line 91: '1 2 3 4 5' is not six finite numbers": append("1 2 3 4 5\n"),
    "floor_1.txt, line 91: '1 nan 3 4 5 6'": append("1 nan 3 4 5 6\n"),
    "there is no folder": shutil.rmtree,
    "holds no points at all": lambda folder: [path.write_text("") for path in folder.iterdir()],
}
ONE_WORKER = [(message, 1) for message in BAD_SOURCES]


@pytest.mark.parametrize(("message", "workers"), [*ONE_WORKER, ("holds no points at all", 2)])
def test_one_bad_scene_is_named_at_the_end_and_the_others_are_done(raw, out, capsys, message, workers):
    BAD_SOURCES[message](raw / "Area_1" / "office_2" / "Annotations")
    assert command(raw, out, "--workers", str(workers)) == 1
    captured = capsys.readouterr()
    assert "2 scenes written, 0 up to date, 1 failed" in captured.out
    last = captured.err.splitlines()[-1]
    assert last.startswith("failed: Area_1/office_2: ")
    assert message in last
    assert "Traceback" not in captured.err
    assert [scene.name for scene in list_scenes(out)] == ["office_1", "hall_1"]
    assert check_root(out).problems == ()


def test_a_scene_that_has_become_bad_keeps_what_was_prepared(raw, out):
    prepare(raw, out)
    before = content(out)
    append("1 2 3\n")(raw / "Area_1" / "office_2" / "Annotations")
    assert statuses(prepare(raw, out))["Area_1/office_2"] == "failed"
    assert content(out) == before


def test_paths_with_spaces_and_letters_of_every_kind(tmp_path, capsys):
    raw, out = tmp_path / "Rohdaten größer [1] 点群 %d", tmp_path / "aus gabe ß"
    write_room(raw, "Area_1/кабинет 1 (neu) [x]")
    assert command(raw, out, "--workers", "2") == 0
    assert command(raw, out) == 0
    assert "0 scenes written, 1 up to date" in capsys.readouterr().out
    (scene,) = list_scenes(out)
    assert (scene.name, scene.num_points) == ("кабинет 1 (neu) [x]", 90)
    assert scene.meta["sources"][0]["name"] == "Area_1/кабинет 1 (neu) [x]/Annotations/chair_1.txt"
    assert command(raw, out, "--check") == 0
    assert "everything is as it should be" in capsys.readouterr().out


def test_damage_that_only_the_check_can_see_is_mended_by_deleting_the_scene(raw, out, tmp_path, capsys):
    prepare(raw, out)
    file = out / "Area_1" / "office_1" / "color.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert command(raw, out, "--check") == 1
    assert "problem: Area_1/office_1: color.npy was changed" in capsys.readouterr().err
    shutil.rmtree(file.parent)
    assert command(raw, out) == 0
    assert content(out) == undisturbed(raw, tmp_path)
