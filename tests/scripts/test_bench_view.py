"""The viewing benchmark refuses what it cannot measure, and its lines fit its table; no browser is started."""

import bench_view
import pytest


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["bench_view.py", *arguments])
    return bench_view.main()


@pytest.mark.parametrize("flag", ["--points", "--las-points"])
def test_too_few_points_are_one_line(monkeypatch, capsys, flag):
    assert run(monkeypatch, flag, "999") == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"bench_view: error: {flag} is 999; it must be at least 1000\n")


def test_without_chromium_nothing_is_made_and_the_message_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(monkeypatch, "--points", "1000", "--las-points", "1000") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "apt-get install chromium" in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_pages_and_files_share_the_columns_of_the_table(capsys):
    frames = (0.9, 0.125, 0.25)
    page = bench_view.Measured("page", 2_000_000, 31_040_000, 3.94, frames, (0.5, 0.25), (0.375,))
    file = bench_view.Measured("LAS", 20_000_000, 900_000_000, 21.0, peak=2_140_000_000)
    for line in (bench_view.COLUMNS, bench_view.cells(page), bench_view.cells(file)):
        bench_view.print_line(line)
    lines = capsys.readouterr().out.splitlines()
    head, shown, read = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    assert dict(zip(head[1:], shown[1:], strict=True)) == {
        "points": "2,000,000",
        "file, MB": "31.0",
        "opened or read, s": "3.9",
        "frame while turning, s": "0.25",
        "longest of 20, s": "0.90",
        "another colouring, s": "0.38",
        "class off or on, s": "0.38",
        "peak memory, GB": "-",
    }
    assert read == ["LAS", "20,000,000", "900.0", "21.0", "-", "-", "-", "-", "2.1"]


def test_the_hall_is_wrong_in_part_and_surer_where_it_is_right():
    cloud, classes = bench_view.hall(4000)
    wrong = cloud.error == 1
    assert 0.1 < wrong.mean() < 0.5
    assert cloud.confidence[wrong].max() < cloud.confidence[~wrong].min()
    assert cloud.num_classes == len(classes.names)
