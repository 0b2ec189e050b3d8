"""What is said of work that takes long where standard error is no terminal."""

import pytest

from pointseg import progress


@pytest.fixture
def bar(capsys):
    """``bar(seconds, **changes)``: a task of 200 goes on at that time, and the lines written for it."""
    shown, now = progress.progress_bar(), [0.0]
    shown.get_time = lambda: now[0]
    task = shown.add_task("reading", total=200, status="a.las")

    def go_on(seconds, **changes):
        now[0] = seconds
        shown.update(task, **changes)
        return capsys.readouterr().err.splitlines()

    return go_on


def test_a_line_each_twentieth_or_minute_whichever_is_later(bar):
    # Begun before by another run, which says nothing about the speed of this one.
    assert bar(5, completed=100) == []
    assert bar(30, completed=112) == [], "12 more, but no minute"
    assert bar(66, completed=109) == [], "a minute, but only 9 more"
    assert bar(125, completed=120) == ["reading 120/200 (60%), about 8 min left  a.las"]
    assert bar(184, completed=140) == [], "less than a minute since"
    assert bar(186, advance=20) == ["reading 160/200 (80%), about 2 min left  a.las"]
    assert bar(7205, completed=170) == ["reading 170/200 (85%), about 51 min left  a.las"]
    assert bar(9000, completed=200) == [], "there is nothing left"


def test_bytes_are_told_in_their_units(capsys):
    shown, now = progress.bytes_bar(), [0.0]
    shown.get_time = lambda: now[0]
    task = shown.add_task("preparing", total=4e9, status="")
    for now[0], size in ((10, 1.2e9), (370, 0.6e9)):
        shown.update(task, advance=size, status="2/5 scenes")
    assert capsys.readouterr().err == "preparing 1.8 GB/4.0 GB (45%), about 22 min left  2/5 scenes\n"


def test_following_a_list(capsys, monkeypatch):
    made, now = [], [0.0]
    shown = progress.progress_bar()
    shown.get_time = lambda: now[0]
    monkeypatch.setattr(progress, "progress_bar", lambda: made.append(shown) or shown)
    for number in progress.track(range(4), "evaluating"):
        now[0] = 3600.0 * (number + 1)
    assert made
    lines = [line for line in capsys.readouterr().err.splitlines() if " left " in f"{line} " and "about" in line]
    assert lines == ["evaluating 2/4 (50%), about 2 h 0 min left", "evaluating 3/4 (75%), about 1 h 0 min left"]
