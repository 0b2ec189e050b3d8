"""The generated data set as a whole: reproducible, all classes there, the rare ones rare, the layout S3DIS's."""

import re
from pathlib import Path

import numpy as np
import pytest

from data_prep._main import run_module
from data_prep.synthetic import CLASS_NAMES, HELP, add_arguments, generate, make_room, run
from data_prep.synthetic.furnish import build_room
from data_prep.synthetic.palette import room_palette
from data_prep.synthetic.plan import TYPES, plan_area
from pointseg.errors import InputError

LINE = re.compile(rb"(-?\d+\.\d{3} ){3}\d{1,3} \d{1,3} \d{1,3}\n")
RARE = ("board", "column", "beam", "sofa")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    root = tmp_path_factory.mktemp("synthetic")
    return root, generate(root, areas=6, rooms_per_area=4, density=80, seed=0, workers=1)


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*.txt"))}


def test_same_seed_gives_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    size = {"areas": 1, "rooms_per_area": 3, "density": 20}
    generate(tmp_path / "one", seed=7, workers=1, **size)
    generate(tmp_path / "two", seed=7, workers=2, **size)
    generate(tmp_path / "other", seed=8, workers=1, **size)
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")
    assert _bytes(tmp_path / "one") != _bytes(tmp_path / "other")


def test_a_room_does_not_depend_on_how_many_there_are(
    dataset: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    counts = generate(tmp_path, areas=1, rooms_per_area=2, density=80, seed=0, workers=1)
    whole = _bytes(dataset[0])
    assert len(counts) == 2
    assert all(whole[name] == content for name, content in _bytes(tmp_path).items())


def test_layout_and_lines_are_those_of_s3dis(dataset: tuple[Path, dict[str, np.ndarray]]) -> None:
    root, counts = dataset
    assert sorted(path.name for path in root.iterdir()) == [f"Area_{k}" for k in range(1, 7)]
    for folder, count in counts.items():
        assert re.fullmatch(rf"Area_\d/({'|'.join(TYPES)})_\d+", folder)
        assert [path.name for path in (root / folder).iterdir()] == ["Annotations"]
        seen = np.zeros(len(CLASS_NAMES), dtype=int)
        for file in (root / folder / "Annotations").iterdir():
            name, number = file.stem.rsplit("_", 1)
            lines = file.read_bytes().splitlines(keepends=True)
            assert int(number) >= 1
            assert all(LINE.fullmatch(line) for line in lines)
            seen[CLASS_NAMES.index(name)] += len(lines)
        assert np.array_equal(seen, count)


def test_files_of_a_class_are_numbered_without_gaps(dataset: tuple[Path, dict[str, np.ndarray]]) -> None:
    root, counts = dataset
    for folder in counts:
        numbers: dict[str, list[int]] = {}
        for file in (root / folder / "Annotations").iterdir():
            name, number = file.stem.rsplit("_", 1)
            numbers.setdefault(name, []).append(int(number))
        assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values())


def test_every_class_occurs_in_training_areas_and_in_area_5(dataset: tuple[Path, dict[str, np.ndarray]]) -> None:
    counts = dataset[1]
    test = sum(count for folder, count in counts.items() if folder.startswith("Area_5/"))
    train = sum(count for folder, count in counts.items() if not folder.startswith("Area_5/"))
    assert np.all(test > 0)
    assert np.all(train > 0)


def test_rare_classes_are_rare_and_missing_from_most_rooms(dataset: tuple[Path, dict[str, np.ndarray]]) -> None:
    table = np.array(list(dataset[1].values()))
    share = table.sum(axis=0) / table.sum()
    rooms = (table > 0).sum(axis=0)
    for name in RARE:
        k = CLASS_NAMES.index(name)
        assert 0.001 < share[k] < 0.02, name
        assert rooms[k] <= len(table) / 2, name
    assert all(share[CLASS_NAMES.index(name)] > 0.1 for name in ("ceiling", "floor", "wall"))


@pytest.mark.parametrize("seed", range(1, 5))
def test_every_planned_area_gets_every_class(seed: int) -> None:
    for area in (1, 5):
        names: set[str] = set()
        for plan in plan_area(area, 4, seed):
            rng = np.random.default_rng(np.random.SeedSequence([seed, area, plan.index, 0]))
            look = room_palette(np.random.default_rng(area), rng)
            names |= {name for name, _ in build_room(plan, rng, look).items}
        assert names == set(CLASS_NAMES)


def test_plans_of_more_rooms_begin_with_the_plans_of_fewer() -> None:
    assert plan_area(3, 9, seed=2)[:5] == plan_area(3, 5, seed=2)


def test_default_plan_has_l_shaped_rooms_and_several_types() -> None:
    plans = [plan for area in range(1, 7) for plan in plan_area(area, 4, seed=0)]
    assert 2 <= sum(plan.l_shaped for plan in plans) <= 8
    assert len({plan.kind for plan in plans}) >= 5
    assert len({plan.folder for plan in plans}) == len(plans)


def test_l_shaped_room_has_nothing_in_its_cut_corner() -> None:
    plan = next(p for area in range(1, 7) for p in plan_area(area, 4, seed=0) if p.l_shaped)
    rng = np.random.default_rng(np.random.SeedSequence([0, plan.area, plan.index, 0]))
    area_rng = np.random.default_rng(np.random.SeedSequence([0, plan.area]))
    room = build_room(plan, rng, room_palette(area_rng, rng))
    assert room.cut is not None
    coord = make_room(plan, 0, 100).coord
    deep = 0.3  # window and door recesses reach a little into the corner
    corner = (coord[:, 0] > room.width - room.cut[0] + deep) & (coord[:, 1] > room.length - room.cut[1] + deep)
    assert not corner.any()
    assert (coord[:, 0] > room.width - 0.1).any()
    assert (coord[:, 1] > room.length - 0.1).any()


def test_floor_lies_at_zero_and_ceiling_within_the_stated_heights(dataset: tuple[Path, dict[str, np.ndarray]]) -> None:
    root, counts = dataset
    for folder in list(counts)[:6]:
        floor = np.loadtxt(root / folder / "Annotations" / "floor_1.txt")
        ceiling = np.loadtxt(root / folder / "Annotations" / "ceiling_1.txt")
        assert abs(np.median(floor[:, 2])) < 0.003
        assert 2.4 <= np.median(ceiling[:, 2]) <= 3.6


def test_density_scales_the_number_of_points() -> None:
    plan = plan_area(1, 1, seed=3)[0]
    few, many = (len(make_room(plan, 3, density).coord) for density in (50, 200))
    assert 3.8 < many / few < 4.2


def test_colors_are_shared_between_classes(dataset: tuple[Path, dict[str, np.ndarray]]) -> None:
    """Walls and doors, tables and bookcases: their mean colours in a room are often closer than 40 levels."""
    root, counts = dataset
    for one, other in (("wall", "ceiling"), ("wall", "column"), ("table", "bookcase")):
        gaps = []
        for folder in counts:
            files = [root / folder / "Annotations" / f"{name}_1.txt" for name in (one, other)]
            if all(file.exists() for file in files):
                first, second = (np.loadtxt(file, ndmin=2)[:, 3:].mean(axis=0) for file in files)
                gaps.append(np.abs(first - second).max())
        assert np.min(gaps) < 40


@pytest.mark.parametrize(
    ("flag", "value"),
    [("areas", 0), ("rooms_per_area", 0), ("workers", 0), ("density", 0), ("density", float("nan")), ("seed", -1)],
)
def test_bad_numbers_are_refused_before_anything_is_written(tmp_path: Path, flag: str, value: float) -> None:
    with pytest.raises(InputError, match=r"must"):
        generate(tmp_path / "out", **{flag: value})
    assert not (tmp_path / "out").exists()


def test_out_may_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep me")
    with pytest.raises(InputError, match="folder"):
        generate(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "keep me"


def test_command_prints_shares_and_reports_bad_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--out", str(tmp_path), "--areas", "1", "--rooms", "1", "--density", "20", "--workers", "1"]
    assert run_module(HELP, add_arguments, run, flags) == 0
    assert "share %" in capsys.readouterr().out
    assert run_module(HELP, add_arguments, run, [*flags, "--seed", "-3"]) == 2
    assert capsys.readouterr().err.split(": ", 1)[1].startswith("error: --seed is -3")


@pytest.mark.parametrize(("layout", "expected"), [("scannet", "1 scenes, "), ("sensaturban", "1 tiles in")])
def test_the_other_layouts(tmp_path, capsys, layout, expected):
    flags = ["--out", str(tmp_path), "--layout", layout, "--scenes", "1", "--density", "5"]
    assert run_module(HELP, add_arguments, run, flags) == 0
    assert expected in capsys.readouterr().out
    assert list(tmp_path.rglob("*.ply"))
