import pytest

from pointseg.atomic import remove_unfinished, replacing_file, replacing_folder


class BrokenOffError(Exception):
    pass


def broken_off(context, name=None):
    """Write half of something and fail."""
    with context as unfinished:
        (unfinished if name is None else unfinished / name).write_text("half")
        raise BrokenOffError


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_whole_and_keeps_its_ending_while_written(tmp_path):
    with replacing_file(tmp_path / "a.png") as unfinished:
        unfinished.write_text("new")
        assert unfinished.suffix == ".png"
        assert not (tmp_path / "a.png").exists()
    assert names(tmp_path) == ["a.png"]


def test_a_file_that_breaks_off_leaves_the_old_one(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(BrokenOffError):
        broken_off(replacing_file(tmp_path / "a.txt"))
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "run"
    with replacing_folder(target) as unfinished:
        (unfinished / "one").write_text("1")
    with pytest.raises(BrokenOffError):
        broken_off(replacing_folder(target), "two")
    assert names(target) == ["one"]
    with replacing_folder(target) as unfinished:
        (unfinished / "three").write_text("3")
    assert names(target) == ["three"]
    assert names(tmp_path) == ["run"]


def test_leftovers_of_a_kill_are_removed_and_nothing_else(tmp_path):
    (tmp_path / ".run.x.tmp").mkdir()
    (tmp_path / "run").mkdir()
    remove_unfinished(tmp_path)
    assert names(tmp_path) == ["run"]
