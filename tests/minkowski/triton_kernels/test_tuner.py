"""Which tile is chosen, and what is kept of it."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pointseg.minkowski import triton as fast
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.triton.tiles import Tile, candidates

tuner = pytest.importorskip("pointseg.minkowski.triton.tuner", reason="triton is not installed")

FEATURES = torch.ones(5, 64, dtype=torch.float16)
TILES = candidates("forward", 64, 64, torch.float16)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuner, "_CHOSEN", {})
    tuner._stored.cache_clear()


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[Tile, float]:
    """What timing is to find, 9 where nothing is said; and the number of times it was asked."""
    table: dict[Tile, float] = {}
    monkeypatch.setattr(tuner, "time_of", lambda run, tile: table.get(tile, 9.0))
    return table


def run(tile: Tile) -> Tensor:
    return torch.tensor([1.0, 2.0])


def never(tile: Tile) -> Tensor:
    raise AssertionError("nothing should run")


def pick(tune: bool, run=run, features: Tensor = FEATURES) -> Tile:
    return tuner.choose("forward", 64, 64, 27, features, run, tune)


def test_fastest_is_kept_for_the_next_process(times: dict[Tile, float]) -> None:
    times[TILES[3]] = 1.0
    assert pick(tune=True) == TILES[3]
    assert pick(tune=False, run=never) == TILES[3]
    tuner._CHOSEN.clear()
    assert pick(tune=True, run=never) == TILES[3]


def test_without_tuning_the_default_and_no_file() -> None:
    assert pick(tune=False, run=never) == TILES[0]
    assert not tuner.cache_file().exists()


def test_default_gives_way_to_a_later_choice(times: dict[Tile, float]) -> None:
    assert pick(tune=False) == TILES[0]
    times[TILES[1]] = 1.0
    assert pick(tune=True) == TILES[1]


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '{"other": 3, "%s": [1, 2]}', '{"%s": "x"}', "\udcff"])
def test_damaged_file_is_written_anew(text: str, times: dict[Tile, float]) -> None:
    key = tuner.key_of("forward", 64, 64, 27, FEATURES)
    path = tuner.cache_file()
    path.write_text(text.replace("%s", key), encoding="utf-8", errors="surrogateescape")
    times[TILES[2]] = 1.0
    assert pick(tune=True) == TILES[2]
    assert json.loads(path.read_text())[key] == TILES[2].sizes()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_choices_of_others_stay_in_the_file(times: dict[Tile, float]) -> None:
    pick(tune=True)
    tuner.choose("weight_gradient", 64, 64, 27, FEATURES, run, True)
    assert len(json.loads(tuner.cache_file().read_text())) == 2


def test_folder_that_cannot_be_written(
    times: dict[Tile, float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POINTSEG_CACHE", str(tmp_path / "file" / "folder"))
    times[TILES[1]] = 1.0
    assert pick(tune=True) == TILES[1]
    assert "cannot be kept" in caplog.text
    assert pick(tune=False, run=never) == TILES[1]


def test_a_tile_that_fails_or_errs_is_not_chosen(times: dict[Tile, float]) -> None:
    times.update({TILES[1]: 1.0, TILES[2]: 2.0, TILES[3]: 3.0})

    def flawed(tile: Tile) -> Tensor:
        if tile == TILES[1]:
            raise tuner.triton.OutOfResources(2, 1, "shared memory")
        return torch.tensor([1.0, 2.5 if tile == TILES[2] else 2.001])

    assert tuner.fastest(TILES, flawed, 0.01) == TILES[3]


def test_no_tile_runs() -> None:
    def broken(tile: Tile) -> Tensor:
        raise RuntimeError("no such instruction")

    with pytest.raises(RuntimeError, match="no tile"):
        tuner.fastest(TILES, broken, 0.01)


def test_key_tells_shapes_apart_but_not_rows() -> None:
    keys = {
        tuner.key_of(*shape, features)
        for shape in [
            ("forward", 3, 32, 27),
            ("input_gradient", 3, 32, 27),
            ("forward", 32, 3, 27),
            ("forward", 3, 32, 8),
        ]
        for features in (FEATURES, FEATURES.float(), FEATURES.bfloat16())
    }
    assert len(keys) == 12
    assert tuner.key_of("forward", 3, 32, 27, FEATURES) == tuner.key_of("forward", 3, 32, 27, FEATURES[:2])


def test_tune_ahead_stores_every_kind(times: dict[Tile, float], device: torch.device) -> None:
    rows = torch.arange(6, device=device)
    fast.tune(KernelMap.of_pairs(6, 6, ((rows, rows),)), [(3, 16), (16, 3)], torch.float32, device)
    keys = sorted(json.loads(tuner.cache_file().read_text()))
    assert len(keys) == 6
    for kind in ("forward", "input_gradient", "weight_gradient"):
        assert sum(key.startswith(f"{kind} 3x16 K=1 float32") for key in keys) == 1


def test_no_timing_where_it_would_hurt(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert not tuner.allowed(cuda)
    monkeypatch.setenv("POINTSEG_TUNE", "1")
    assert tuner.allowed(cuda)
    assert not tuner.allowed(torch.device("cpu"))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert not tuner.allowed(cuda)


@pytest.mark.parametrize("kind", ["forward", "input_gradient", "weight_gradient"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("channels", [(1, 1), (3, 33), (96, 256)])
def test_few_tiles_of_fitting_sizes(kind: str, dtype: torch.dtype, channels: tuple[int, int]) -> None:
    tiles = candidates(kind, *channels, dtype)
    assert 1 <= len(tiles) <= 8
    for tile in tiles:
        for size in (tile.m, tile.n, tile.k):
            assert size >= 16
            assert size & (size - 1) == 0
        assert tile.n < 2 * max(16, channels[1])
