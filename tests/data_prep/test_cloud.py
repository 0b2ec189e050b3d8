"""Own clouds to prepared scenes: names, labels through the class file, what is refused, what is done again."""

import numpy as np
import pytest

from data_prep import cloud
from data_prep._main import run_module
from pointseg.data.classes import load_classes
from pointseg.data.scene import list_scenes, open_scene
from pointseg.errors import InputError

CLASSES = """
dataset: mine
classes:
  - {name: ground, color: [120, 100, 80], source: [2, floor]}
  - {name: rest, color: [50, 50, 50], source: [6, 7, wall]}
ignore: [1, noise]
"""
COORD = np.array([[651234.125, 6861000.5, 40.25], [651234.5, 6861000.75, 40.5], [651235.0, 6861002.0, 41.0]])


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(CLASSES)
    return path


def csv(path, label=None, header="x,y,z,red,green,blue", coord=COORD):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [[*map(repr, xyz), str(i), "20", "255"] for i, xyz in enumerate(coord.tolist())]
    if label is not None:
        header, rows = header + ",class", [[*row, str(value)] for row, value in zip(rows, label, strict=True)]
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    return path


def run(files, out, classes, *more):
    arguments = [
        *map(str, files),
        "--out",
        str(out),
        "--classes",
        str(classes),
        "--voxel-size",
        "0.5",
        "--workers",
        "1",
    ]
    return run_module(cloud.HELP, cloud.add_arguments, cloud.run, [*arguments, *more])


def test_a_cloud_becomes_a_scene(tmp_path, classes, capsys):
    file = csv(tmp_path / "my scans" / "Büro 1.csv", [2, 1, 7])
    assert run([file], tmp_path / "out", classes) == 0
    scene = open_scene(tmp_path / "out" / "all" / "Büro 1")
    np.testing.assert_array_equal(scene.coord.astype(np.float64) + scene.offset, COORD)
    assert scene.segment.tolist() == [0, -1, 1]
    assert scene.color.tolist() == [[0, 20, 255], [1, 20, 255], [2, 20, 255]]
    assert scene.meta["dataset"] == "cloud"
    assert [source["name"] for source in scene.meta["sources"]] == ["Büro 1.csv"]
    fields = ["x", "y", "z", "red", "green", "blue", "class"]
    assert scene.meta["facts"] == {"format": "text", "fields": fields, "label_field": "class"}
    assert "Büro 1.csv: ignored, by the class file: 1 (1 points)" in capsys.readouterr().out
    assert scene.voxel_sizes == (0.5,)


def test_words_and_clouds_without_labels_or_colours(tmp_path, classes):
    csv(tmp_path / "in" / "a.csv", ["wall", "noise", "floor"])
    np.savez(tmp_path / "in" / "b.npz", coord=COORD, intensity=np.array([1.5, 2.5, 3.5]))
    (tmp_path / "in" / "notes.md").write_text("not a cloud")
    csv(tmp_path / "in" / ".hidden.csv")
    assert run([tmp_path / "in"], tmp_path / "out", classes, "--split", "train") == 0
    a, b = list_scenes(tmp_path / "out", ["train"])
    assert (a.name, b.name) == ("a", "b")
    assert a.segment.tolist() == [1, -1, 0]
    assert b.segment is None
    assert b.color is None
    assert b.intensity.tolist() == [1.5, 2.5, 3.5]


def test_normals_get_length_1_and_those_of_another_are_counted(tmp_path, classes, monkeypatch):
    monkeypatch.setattr(cloud, "CHUNK_POINTS", 2)
    given = np.array([[0, 3, 4], [0, 0, 0], [0.577, 0.577, 0.577], [1e-30, 0, 0], [0, 0, -1]], np.float32)
    np.savez(tmp_path / "a.npz", coord=np.eye(5, 3), normal=given)
    assert run([tmp_path / "a.npz"], tmp_path / "out", classes) == 0
    scene = open_scene(tmp_path / "out" / "all" / "a")
    expected = [[0, 0.6, 0.8], [0, 0, 0], [3**-0.5] * 3, [1, 0, 0], [0, 0, -1]]
    np.testing.assert_allclose(scene.normal, expected, atol=1e-7)
    whats = [repair["what"] for repair in scene.meta["repairs"]]
    assert whats == ["normals of another length than 1: scaled to it (2 points)"], "rounding is not worth a word"


def test_the_field_that_labels_come_from_where_the_first_is_empty(tmp_path, classes, capsys):
    laspy = pytest.importorskip("laspy")
    las = laspy.LasData(laspy.LasHeader(point_format=6))
    las.x = las.y = las.z = np.arange(3.0)
    las.add_extra_dim(laspy.ExtraBytesParams("label", "u1"))
    las.label = [2, 6, 1]
    las.write(tmp_path / "a.las")
    assert run([tmp_path / "a.las"], tmp_path / "out", classes) == 0
    scene = open_scene(tmp_path / "out" / "all" / "a")
    assert (scene.segment.tolist(), scene.meta["facts"]["label_field"]) == ([0, 1, -1], "label")
    las.label = [2, 6, 99]
    las.write(tmp_path / "b.las")
    assert run([tmp_path / "b.las"], tmp_path / "out", classes) == 1
    assert "does not know these ids of label: 99 (1 points)" in capsys.readouterr().err


def test_one_point_and_a_million_identical_points(tmp_path, classes):
    np.save(tmp_path / "one.npy", COORD[:1])
    np.save(tmp_path / "many.npy", np.repeat(COORD[:1], 1_000_000, axis=0))
    assert run([tmp_path / "one.npy", tmp_path / "many.npy"], tmp_path / "out", classes) == 0
    many, one = list_scenes(tmp_path / "out")
    assert (one.num_points, many.num_points) == (1, 1_000_000)
    for scene in (one, many):
        assert (scene.coord + scene.offset == COORD[0]).all()
        assert len(scene.grid(0.5).coord) == 1


def test_ids_without_a_class_are_listed_with_their_counts(tmp_path, classes, capsys):
    csv(tmp_path / "a.csv", [64, 2, 64])
    csv(tmp_path / "b.csv", [2, 2, 6])
    csv(tmp_path / "c.csv", ["roof", "roof", "wall"])
    assert run([tmp_path / f"{n}.csv" for n in "abc"], tmp_path / "out", classes) == 1
    captured = capsys.readouterr()
    assert "1 scenes written, 0 up to date, 2 failed" in captured.out
    assert "does not know these ids of class: 64 (2 points); add each to the 'source' of a class or to" in captured.err
    assert "roof (2 points)" in captured.err
    assert [scene.name for scene in list_scenes(tmp_path / "out")] == ["b"]


def test_another_label_field_makes_the_scene_again(tmp_path, classes):
    file = csv(tmp_path / "a.csv", [2, 2, 2], header="x,y,z,mine,green,blue")
    file.write_text(
        file.read_text().replace(",0,20,255,", ",6,20,255,").replace(",1,20,", ",6,20,").replace(",2,20,", ",7,20,")
    )
    read = [cloud.jobs([file], load_classes(classes), label_field=field)[0] for field in (None, "mine")]
    assert read[0].settings != read[1].settings
    for more, expected in (((), [0, 0, 0]), (("--label-field", "mine"), [1, 1, 1]), ((), [0, 0, 0])):
        assert run([file], tmp_path / "out", classes, *more) == 0
        assert open_scene(tmp_path / "out" / "all" / "a").segment.tolist() == expected


def test_a_second_run_keeps_what_is_unchanged(tmp_path, classes, capsys):
    files = [csv(tmp_path / f"{name}.csv", [2, 6, 1]) for name in "ab"]
    assert run(files, tmp_path / "out", classes) == 0
    csv(files[1], [2, 2, 2])
    assert run(files, tmp_path / "out", classes) == 0
    assert "1 scenes written, 1 up to date, 0 failed" in capsys.readouterr().out.splitlines()[-1]


def test_refusals(tmp_path, classes):
    known = load_classes(classes)
    csv(tmp_path / "one" / "a.csv")
    csv(tmp_path / "two" / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"would both be the scene 'a'; rename one"):
        cloud.jobs([tmp_path / "one", tmp_path / "two"], known)
    assert len(cloud.jobs([tmp_path / "one", tmp_path / "one" / "a.csv"], known)) == 1, "the same file twice"
    with pytest.raises(InputError, match=r"there is no file .*nowhere"):
        cloud.jobs([tmp_path / "nowhere.ply"], known)
    with pytest.raises(InputError, match=r"empty holds no clouds; files that can be read end in \.ply"):
        cloud.jobs([tmp_path / "empty"], known)


def test_the_aerial_classes(tmp_path):
    asprs = load_classes("asprs")
    labels = asprs.labels_by_source()
    assert set(labels) == {*range(23), *range(64, 256)}
    assert [asprs.names[labels[i]] for i in (2, 5, 6, 9, 17)] == [
        "ground",
        "high vegetation",
        "building",
        "water",
        "bridge",
    ]
    assert [labels[i] for i in (0, 1, 7, 12, 18, 64, 255)] == [-1] * 7
    gap = np.abs(asprs.colors[:, None].astype(int) - asprs.colors).sum(axis=2) + 999 * np.eye(
        len(asprs.names), dtype=int
    )
    assert gap.min() >= 100
