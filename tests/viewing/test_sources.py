"""What a path shows: every kind of target, and those that cannot be shown."""

from __future__ import annotations

import os
from pathlib import Path

import laspy
import numpy as np
import pytest

from data_prep import pointcept
from pointseg.data.classes import Classes, load_classes, save_classes
from pointseg.data.formats import write_predictions
from pointseg.data.scene import open_scene
from pointseg.data.sparse_labels import open_labels
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.cloud_file import read_view
from pointseg.viewing.holding import held
from pointseg.viewing.palettes import SAFE
from pointseg.viewing.payload import pack_scene
from pointseg.viewing.ply import write_ply
from pointseg.viewing.sources import Wishes, open_target, paired, scene_cloud

CLASSES = Classes("toy", ("ground", "crate"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((2,), (6, 1)), (0,))
N = 300
RNG = np.random.default_rng(0)
COORD = RNG.random((N, 3)) * [8, 8, 2]
FAR = np.array([4.5e5, 5.2e6, 0])
PRED = (np.arange(N) % 2).astype(np.int16)
CONFIDENCE = RNG.random(N).astype(np.float32)
ENTROPY = RNG.random(N).astype(np.float32)
CLASSIFICATION = np.array([0, 1, 2, 6])[np.arange(N) % 4]


def load(target, **wishes):
    (source,) = open_target(Path(target), Wishes(**wishes))
    return source.load()


@pytest.fixture
def las(tmp_path) -> Path:
    file = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    file.header.scales, file.header.offsets = [0.001] * 3, FAR
    file.x, file.y, file.z = (COORD + FAR).T
    file.classification = CLASSIFICATION
    file.write(str(tmp_path / "tile.laz"))
    return tmp_path / "tile.laz"


def write(path: Path) -> Path:
    """A cloud file of the path's format with positions alone, and our prediction written into a copy of it."""
    bare = path.with_name("bare" + path.suffix)
    match path.suffix:
        case ".las" | ".laz":
            file = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
            file.header.scales = [0.001] * 3
            file.x, file.y, file.z = COORD.T
            file.write(str(bare))
        case ".ply":
            head = f"ply\nformat ascii 1.0\nelement vertex {N}\n" + "".join(f"property double {a}\n" for a in "xyz")
            rows = "".join(" ".join(map(repr, row)) + "\n" for row in COORD.tolist())
            bare.write_text(head + "end_header\n" + rows)
        case ".npz":
            np.savez(bare, x=COORD[:, 0], y=COORD[:, 1], z=COORD[:, 2])
        case ".pcd":
            head = f"VERSION .7\nFIELDS x y z\nSIZE 8 8 8\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {N}\nHEIGHT 1\nPOINTS {N}\n"
            bare.write_bytes((head + "DATA binary\n").encode() + COORD.astype("<f8").tobytes())
        case ".e57":
            pye57 = pytest.importorskip("pye57")
            e57 = pye57.E57(str(bare), mode="w")
            e57.write_scan_raw({f"cartesian{a}": COORD[:, i] for i, a in enumerate("XYZ")})
            e57.close()
        case _:
            bare.write_text("x,y,z\n" + "\n".join(",".join(map(repr, row)) for row in COORD.tolist()) + "\n")
    write_predictions(bare, path, PRED, confidence=CONFIDENCE, entropy=ENTROPY)
    bare.unlink()
    return path


@pytest.mark.parametrize("ending", [".ply", ".las", ".laz", ".pcd", ".e57", ".csv", ".npz"])
def test_what_predict_wrote_into_a_file_comes_back(tmp_path, ending):
    cloud, classes = load(write(tmp_path / f"labelled{ending}"))
    assert cloud.name == "labelled"
    np.testing.assert_array_equal(cloud.pred, PRED)
    np.testing.assert_allclose(cloud.confidence, CONFIDENCE, atol=1e-6)
    np.testing.assert_allclose(cloud.entropy, ENTROPY, atol=1e-6)
    np.testing.assert_allclose(cloud.coord + np.array(cloud.offset), COORD, atol=6e-4)
    assert (cloud.gt, cloud.color) == (None, None)
    assert classes.names == ("class 0", "class 1")


def test_a_classification_is_the_truth_only_if_it_is_asked_for(las, tmp_path):
    cloud, _ = load(las)
    assert cloud.gt is None
    np.testing.assert_allclose(cloud.coord + np.array(cloud.offset), COORD + FAR, atol=6e-4)
    assert np.abs(cloud.coord).max() < 10
    cloud, classes = load(las, label_field="classification")
    np.testing.assert_array_equal(cloud.gt, CLASSIFICATION)
    assert classes.names[6] == "class 6"


def test_a_class_file_translates_the_labels_of_a_file(las, tmp_path):
    save_classes(CLASSES, tmp_path / "toy.yaml")
    cloud, classes = load(las, label_field="classification", classes=str(tmp_path / "toy.yaml"))
    np.testing.assert_array_equal(cloud.gt, np.array([-1, 1, 0, 0, 0, 0, 1])[CLASSIFICATION])
    assert classes.names == CLASSES.names
    poorer = Classes("toy", CLASSES.names, CLASSES.colors, ((2,), (1,)), (0,))
    save_classes(poorer, tmp_path / "poorer.yaml")
    with pytest.raises(InputError, match=r"classification holds 6, which is no source id of the 2 classes of 'toy'"):
        load(las, label_field="classification", classes=str(tmp_path / "poorer.yaml"))


def test_labels_outside_the_class_file_are_one_sentence(tmp_path):
    """Not shown as something else: a wrong class file would go unnoticed."""
    cloud = Cloud(COORD, pred=np.where(PRED == 1, 37, 0), name="x")
    path = write_ply(tmp_path / "x.ply", cloud)
    save_classes(CLASSES, tmp_path / "toy.yaml")
    shown, classes = load(path, classes=str(tmp_path / "toy.yaml"))
    with pytest.raises(InputError, match=r"class id 37 but 'toy' names only 2 classes; name the class file"):
        pack_scene(shown, classes)
    shown, classes = load(path)
    assert classes.names[37] == "class 37"
    pack_scene(shown, classes)


def test_of_a_huge_file_an_even_share_is_read_in_chunks(tmp_path):
    path = write(tmp_path / "big.las")
    whole, part = read_view(path), read_view(path, max_points=100)
    assert part.num_points == 100
    assert part.name == "big (100 of 300 points read)"
    # Whatever is kept belongs together.
    rows = [int(np.flatnonzero((whole.coord == point).all(axis=1))[0]) for point in part.coord]
    assert sorted(rows) == rows
    np.testing.assert_array_equal(part.pred, whole.pred[rows])
    np.testing.assert_array_equal(part.confidence, whole.confidence[rows])
    assert max(np.diff([-1, *rows, N])) <= 6


def test_of_a_huge_scene_every_annotated_point_is_held():
    annotated = np.full(1000, -1)
    annotated[[0, 7, 8, 999]] = 1
    assert held(1000, annotated, 1000) is None
    index = held(1000, annotated, 100)
    assert set(np.flatnonzero(annotated >= 0)) <= set(index.tolist())
    assert 100 <= len(index) <= 104
    assert len(held(1000, None, 100)) == 100


@pytest.mark.parametrize("n", [1, 2])
def test_a_point_or_two(tmp_path, n):
    (tmp_path / "few.xyz").write_text("1 2 3\n" * n)
    cloud, classes = load(tmp_path / "few.xyz")
    header, _ = pack_scene(cloud, classes)
    assert (header["shown"], [mode["id"] for mode in header["modes"]]) == (n, ["height"])


def test_a_prepared_scene_a_split_and_a_root(rooms_root):
    scene, classes = load(rooms_root / "Area_5" / "office_1")
    stored = open_scene(rooms_root / "Area_5" / "office_1")
    assert scene.name == "Area_5/office_1"
    np.testing.assert_array_equal(scene.coord, stored.coord)
    np.testing.assert_array_equal(scene.gt, stored.segment)
    assert classes.same_as(load_classes("s3dis"))
    names = ["Area_1/office_1", "Area_2/office_1", "Area_5/office_1"]
    assert [s.name for s in open_target(rooms_root, Wishes())] == names
    assert [s.name for s in open_target(rooms_root, Wishes(splits=("Area_5", "Area_1")))] == [names[0], names[2]]
    assert [(s.name, s.source) for s in open_target(rooms_root / "Area_2", Wishes())] == [
        (names[1], str(rooms_root / "Area_2"))
    ]
    with pytest.raises(InputError, match="no split 'Area_9'; it has Area_1, Area_2, Area_5"):
        open_target(rooms_root, Wishes(splits=("Area_9",)))


def test_a_relative_path_knows_its_split(rooms_root, monkeypatch):
    monkeypatch.chdir(rooms_root / "Area_5" / "office_1")
    assert open_target(Path("."), Wishes())[0].name == "Area_5/office_1"


def test_stored_sparse_labels_of_prepared_scenes(rooms_root):
    sources = open_target(rooms_root, Wishes(labels="1pct_seed0"))
    cloud, _ = sources[0].load()
    index, label = open_labels(rooms_root, "1pct_seed0").for_scene(open_scene(rooms_root / "Area_1" / "office_1"))
    assert set(np.flatnonzero(cloud.annotated >= 0)) == set(index)
    np.testing.assert_array_equal(cloud.annotated[index], label)
    assert sources[2].load()[0].annotated is None  # the draw is of the other areas
    with pytest.raises(InputError, match="no sparse labels named 'none'"):
        open_target(rooms_root, Wishes(labels="none"))


def test_a_damaged_scene_fails_only_when_it_is_opened(rooms_root, tmp_path):
    for split in ("a", "b"):
        (tmp_path / split).mkdir()
        os.symlink(rooms_root / "Area_5" / "office_1", tmp_path / split / "room")
    (tmp_path / "b" / "room").unlink()
    (tmp_path / "b" / "room").mkdir()
    (tmp_path / "b" / "room" / "meta.json").write_text("{")
    good, bad = open_target(tmp_path, Wishes())
    good.load()
    with pytest.raises(InputError, match=r"meta\.json"):
        bad.load()


def test_without_a_class_file_ids_are_numbered(rooms_root, tmp_path):
    (tmp_path / "Area_5").mkdir()
    os.symlink(rooms_root / "Area_5" / "office_1" / "coord.npy", tmp_path / "x")
    stored = open_scene(rooms_root / "Area_5" / "office_1")
    copy = tmp_path / "Area_5" / "room"
    copy.mkdir()
    for file in stored.path.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    for grid in stored.path.glob("grid_*"):
        os.symlink(grid, copy / grid.name)
    _, classes = load(copy)
    assert classes.names[-1] == "class 8"


def test_a_folder_of_clouds(tmp_path):
    for name in ("Area_1/a.ply", "Area_2/a.ply", "a.las", "a.ply", ".hidden.ply"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no points")
    sources = open_target(tmp_path, Wishes())
    assert [s.name for s in sources] == ["Area_1/a", "Area_2/a", "a.las", "a.ply"]
    assert {s.source for s in sources} == {str(tmp_path)}


@pytest.mark.parametrize("target", [".", "train", "train/scene0"])
def test_pointcepts_folders_are_refused_with_the_command_that_prepares_them(tmp_path, target):
    """Taken for a folder of clouds, colours and labels would be drawn as coordinates."""
    (tmp_path / "train" / "scene0").mkdir(parents=True)
    for name, array in (("coord", COORD), ("color", np.zeros((N, 3), np.uint8)), ("segment", PRED)):
        np.save(tmp_path / "train" / "scene0" / f"{name}.npy", array)
    with pytest.raises(InputError, match=r"no meta\.json.* 'pointseg prepare pointcept --raw .* --out ROOT") as error:
        open_target(tmp_path / target, Wishes())
    raw = Path(str(error.value).split("--raw ")[1].split()[0])
    assert [job.scene for job in pointcept.jobs(raw, load_classes("s3dis"))] == ["scene0"]
    (tmp_path / "train" / "scene0" / "coord.npy").rename(tmp_path / "train" / "coord.npy")
    assert "train/coord" in [source.name for source in open_target(tmp_path, Wishes())]


def test_tables_are_clouds_where_a_folder_holds_nothing_else(tmp_path):
    write(tmp_path / "a.csv")
    assert [s.name for s in open_target(tmp_path, Wishes())] == ["a"]


def test_a_palette_and_an_unknown_one(rooms_root):
    _, classes = load(rooms_root / "Area_5" / "office_1", palette="safe")
    np.testing.assert_array_equal(classes.colors, SAFE[:13])
    with pytest.raises(InputError, match="no palette 'pretty'; allowed are own, safe"):
        open_target(rooms_root, Wishes(palette="pretty"))


def test_pairs_are_made_by_name(rooms_root, tmp_path):
    rooms = open_target(rooms_root, Wishes())
    assert [(a.name, b.name) for a, b in paired(rooms, rooms[1:])] == [(s.name, s.name) for s in rooms[1:]]
    files = [open_target(write(tmp_path / f"{name}.las"), Wishes()) for name in ("one", "other")]
    assert [(a.name, b.name) for a, b in paired(*files)] == [("one", "other")]
    with pytest.raises(InputError, match="have no scene in common"):
        paired(rooms, files[0])


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"labels": "1pct_seed0"}, "--labels says nothing about a file"),
        ({"splits": ("a",)}, "--splits says nothing about a file"),
        ({"label_field": "kind"}, "no label field 'kind'"),
        ({"classes": "nonesuch"}, "no class file named 'nonesuch'"),
    ],
)
def test_wishes_that_do_not_fit(las, wishes, sentence):
    with pytest.raises(InputError, match=sentence):
        open_target(las, Wishes(**wishes))


def test_paths_that_show_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "cut.ply").write_bytes(b"ply\nformat")
    for name, sentence in [
        ("absent", "there is no .*absent; give a run"),
        ("empty", "holds no cloud file"),
        ("a.jpg", "ends in '.jpg'"),
        ("cut.ply", "no PLY file"),
    ]:
        with pytest.raises(InputError, match=sentence):
            open_target(tmp_path / name, Wishes())


def test_a_real_tile_with_extra_dimensions():
    root = os.environ.get("POINTSEG_TEST_DATA")
    if not root:
        pytest.skip("POINTSEG_TEST_DATA is not set")
    path = Path(root) / "urban" / "test_data_77055_627755_LA93_IGN69_extra_dims.laz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    cloud, _ = load(path, label_field="classification")
    truth = laspy.read(path)
    np.testing.assert_array_equal(cloud.gt, truth.classification)
    np.testing.assert_allclose(cloud.coord[:, 0] + cloud.offset[0], truth.x, atol=1e-3)


def test_a_scene_as_a_cloud_keeps_rows_together(rooms_root):
    scene = open_scene(rooms_root / "Area_5" / "office_1")
    cloud = scene_cloud(scene, (np.array([3, 5]), np.array([1, 2])), max_points=50)
    rows = [int(np.flatnonzero((scene.coord == point).all(axis=1))[0]) for point in cloud.coord]
    np.testing.assert_array_equal(cloud.gt, np.asarray(scene.segment)[rows])
    assert {3, 5} <= set(rows)
    assert cloud.annotated[rows.index(5)] == 2
    assert "points read" in cloud.name
