"""Which tiles a folder holds, the split of each, and what of the data set it lacks."""

import pytest

from data_prep._sensaturban_split import CUT_SHORT, OFFICIAL, find_tiles, missing_tiles
from pointseg.errors import InputError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_the_official_split():
    assert {split: len(tiles) for split, tiles in OFFICIAL.items()} == {"train": 33, "val": 4, "test": 6}
    every = [tile for tiles in OFFICIAL.values() for tile in tiles]
    assert len(set(every)) == 43
    assert {t for t in every if t.startswith("b")} == {f"birmingham_block_{n}" for n in range(14)}
    absent = {5, 11, 24, 29, 30, 31}
    assert {t for t in every if t.startswith("c")} == {f"cambridge_block_{n}" for n in range(35) if n not in absent}
    assert set(CUT_SHORT) <= set(OFFICIAL["train"])


@pytest.mark.parametrize("base", ["", "ply"])
@pytest.mark.parametrize("flat", [True, False])
def test_layouts(tmp_path, base, flat):
    folder = tmp_path / "raw" / base
    names = ["birmingham_block_2", "birmingham_block_5", "cambridge_block_33"]
    for name in names:
        place = folder if flat else folder / ("test" if name == names[0] else "train")
        touch(place / f"{name}.ply")
        (place / f"._{name}.ply").write_bytes(b"left by macOS")
    found = {path.stem: split for path, split in find_tiles(tmp_path / "raw").items()}
    assert found == dict(zip(names, ("test", "val", "train"), strict=True))
    assert list(found) == ["cambridge_block_33", "birmingham_block_5", "birmingham_block_2"]


def test_other_tiles_go_where_their_folder_says(tmp_path):
    for split in ("train", "val", "test"):
        touch(tmp_path / split / f"york_{split}.ply")
    assert {path.stem: split for path, split in find_tiles(tmp_path).items()} == {
        f"york_{split}": split for split in ("train", "val", "test")
    }
    assert [note.split(" official")[0] for note in missing_tiles(tmp_path)] == [
        "33 of the 33",
        "4 of the 4",
        "6 of the 6",
    ]
    touch(tmp_path / "york_9.ply")
    with pytest.raises(InputError, match=r"york_9\.ply is no tile of the official split.* train, val or test"):
        find_tiles(tmp_path)


def test_a_complete_folder_lacks_nothing(tmp_path):
    for tiles in OFFICIAL.values():
        for tile in tiles:
            (tmp_path / f"{tile}.ply").touch()
    assert missing_tiles(tmp_path) == []
    (tmp_path / "cambridge_block_1.ply").unlink()
    assert missing_tiles(tmp_path) == [
        "1 of the 33 official train tiles are not there: cambridge_block_1 (cut short as published)"
    ]


def test_refused_folders(tmp_path):
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        find_tiles(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no tiles .* train/\*\.ply and test/\*\.ply"):
        find_tiles(tmp_path)
    touch(tmp_path / "archive" / "data_release" / "train" / "birmingham_block_0.ply")
    with pytest.raises(InputError, match=r"did you mean .*data_release\?"):
        find_tiles(tmp_path)
    touch(tmp_path / "archive" / "data_release" / "test" / "birmingham_block_0.ply")
    with pytest.raises(InputError, match=r"birmingham_block_0 is there twice, .*train.* and .*test"):
        find_tiles(tmp_path / "archive" / "data_release")
