"""``pointseg predict`` on cloud files: a run trained in a minute's fraction, its exported model, folders, refusals."""

import importlib
from types import SimpleNamespace

import laspy
import numpy as np
import pytest
import torch

from data_prep import _runner
from pointseg.cli import predict_clouds
from pointseg.cli.main import main
from pointseg.cli.predict_clouds import targets
from pointseg.cli.run_clouds import WrittenFiles
from pointseg.data.formats import read_cloud, write_predictions
from pointseg.data.scene import PreparedScene, open_scene, write_scene
from pointseg.errors import InputError
from pointseg.inference import Predictor

# The package has a function of this name.
predict_file_module = importlib.import_module("pointseg.inference.predict_file")

TRAINING = [
    "data.voxel_size=0.1",
    "model.planes=[8, 8, 8, 8, 8, 8, 8, 8]",
    "model.init_dim=8",
    "steps=2",
    "batch_size=1",
    "optimizer.warmup_steps=0",
]


@pytest.fixture(scope="module")
def run_folder(rooms_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    recipe = ["synthetic_supervised", "--data", str(rooms_root), "--labels", "full", "--out", str(out)]
    assert main(["train", *recipe, "--workers", "0", "--set", *TRAINING]) == 0
    return out


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A folder with two LAS files and a text file, of 3000 coloured points each."""
    rng = np.random.default_rng(0)
    (tmp_path / "scans").mkdir()
    for name in ("a.las", "b.laz"):
        las = laspy.LasData(laspy.LasHeader(point_format=2, version="1.2"))
        las.header.scales = [0.001] * 3
        las.x, las.y, las.z = rng.uniform(0, 4, (3, 3000))
        las.red, las.green, las.blue = rng.integers(0, 65536, (3, 3000))
        las.write(str(tmp_path / "scans" / name))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "scans"


def test_a_file_with_a_run_and_with_its_exported_model(run_folder, scans, tmp_path, capsys):
    assert main(["predict", str(run_folder), "--export", "model"]) == 0
    assert main(["predict", "scans/a.las", "--model", str(run_folder), "-o", "one.laz", "--device", "cpu"]) == 0
    assert main(["predict", "scans/a.las", "--model", "model", "-o", "two.las", "--memory", "3GB"]) == 0
    one, two = laspy.read("one.laz"), laspy.read("two.las")
    expected = Predictor.load("model")(read_cloud(scans / "a.las"))
    for las in (one, two):
        assert np.array_equal(las.pred, expected.pred)
        assert np.array_equal(las.confidence, expected.confidence)
        assert np.array_equal(las.entropy, expected.entropy)
    said = capsys.readouterr().err
    assert "3,000 points" in said
    assert "1 tiles of at most" in said
    assert "of 3.00 GB allowed" in said
    assert main(["predict", "scans/a.las", "--model", "model", "-o", "three.las", "--checkpoint", "best"]) == 2
    assert "--checkpoint is 'best', but" in capsys.readouterr().err
    assert not (tmp_path / "three.las").exists()


def test_prepared_scenes_of_a_run_as_ply(run_folder, tmp_path, capsys):
    assert main(["predict", str(run_folder), "--out", str(tmp_path / "scenes"), "--device", "cpu"]) == 0
    path = tmp_path / "scenes" / "Area_5" / "office_1.ply"
    assert str(path) in capsys.readouterr().out
    assert b"scalar_pred" in path.read_bytes()[:2000]


def test_a_folder_goes_on_where_it_was_stopped(run_folder, scans, capsys, monkeypatch):
    (scans / "c.xyz").write_text("1 2 3\n")
    command = ["predict", "scans", "--model", str(run_folder), "-o", "done"]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "c.xyz failed: the model was trained with colours" in captured.err
    assert [line.rsplit("/", 1)[1] for line in captured.out.split()] == ["a.las", "b.laz"]
    before = {path.name: path.stat().st_mtime_ns for path in (scans.parent / "done").iterdir()}
    (scans / "c.xyz").unlink()
    (scans.parent / "done" / "b.laz").write_bytes(b"something else")
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "1 of 2 files are predicted already" in captured.err
    after = {path.name: path.stat().st_mtime_ns for path in (scans.parent / "done").iterdir()}
    assert sorted(after) == ["a.las", "b.laz"]
    assert after["a.las"] == before["a.las"]
    assert len(laspy.read(scans.parent / "done" / "b.laz").pred) == 3000


def test_over_a_dask_cluster(run_folder, scans):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        assert main(["predict", "scans", "--model", str(run_folder), "-o", "far", "--scheduler", address]) == 0
    assert main(["predict", "scans", "--model", str(run_folder), "-o", "near"]) == 0
    for name in ("a.las", "b.laz"):
        assert np.array_equal(laspy.read(f"far/{name}").pred, laspy.read(f"near/{name}").pred)


def test_one_file_over_a_cluster(run_folder, scans, capsys, monkeypatch):
    monkeypatch.setattr(_runner, "on_cluster", lambda work, jobs, _: map(work, jobs))
    command = ["predict", "--model", str(run_folder), "--scheduler", "tcp://anywhere:1", "--device", "cpu"]
    assert main([*command, "scans/a.las", "-o", "one.las"]) == 0
    assert capsys.readouterr().out.endswith("one.las\n")
    assert len(laspy.read("one.las").pred) == 3000
    (scans / "c.xyz").write_text("1 2 3\n")
    assert main([*command, "scans/c.xyz", "-o", "c.xyz"]) == 2
    assert "error: the model was trained with colours" in capsys.readouterr().err


def test_a_source_or_an_output_that_vanishes_ends_no_list(run_folder, scans, capsys, monkeypatch):
    for name in "cd":
        (scans / f"{name}.las").write_bytes((scans / "a.las").read_bytes())
    original, gone = predict_clouds._predict, {"a.las": scans / "a.las", "c.las": scans.parent / "out" / "c.las"}

    def vanishing(predictor, job, watch):
        key = original(predictor, job, watch)
        gone.pop(job.source.name, job.target.with_name("nothing")).unlink(missing_ok=True)
        return key

    monkeypatch.setattr(predict_clouds, "_predict", vanishing)
    assert main(["predict", "scans", "--model", str(run_folder), "-o", "out"]) == 1
    said = capsys.readouterr()
    assert [line.rsplit("/", 1)[1] for line in said.out.split()] == ["a.las", "b.laz", "d.las"]
    assert "c.las: No such file or directory" in said.err
    # A source that cannot be read is no finished file, and no end of the list.
    (scans / "a.las").symlink_to(scans / "a.las")
    assert main(["predict", "scans", "--model", str(run_folder), "-o", "out"]) == 1
    said = capsys.readouterr()
    assert "2 of 4 files are predicted already" in said.err
    assert [line.rsplit("/", 1)[1] for line in said.out.split()] == ["c.las"]


def test_weights_and_files_are_hashed_once(run_folder, scans, monkeypatch):
    hashed, original = [], Predictor._hash
    monkeypatch.setattr(Predictor, "_hash", lambda self: hashed.append("weights") or original(self))
    read = predict_file_module.hash_file
    monkeypatch.setattr(predict_file_module, "hash_file", lambda path: hashed.append(path.name) or read(path))
    (scans / "c.xyz").write_text("1 2 3\n")
    assert main(["predict", "scans", "--model", str(run_folder), "-o", "done"]) == 1
    assert sorted(hashed) == ["a.las", "b.laz", "c.xyz", "weights"]
    del hashed[:]
    (scans / "c.xyz").unlink()
    assert main(["predict", "scans", "--model", str(run_folder), "-o", "done"]) == 0
    assert sorted(hashed) == ["a.las", "b.laz", "weights"]


def test_other_weights_have_another_fingerprint(run_folder):
    assert main(["predict", str(run_folder), "--export", str(run_folder.parent / "model")]) == 0
    predictor = Predictor.load(run_folder.parent / "model")
    before = predictor.fingerprint()
    with torch.no_grad():
        predictor.model.net.final.bias += 1
    assert before != predictor.fingerprint()
    predictor.model.net.final.bias = torch.nn.Parameter(predictor.model.net.final.bias - 1)
    assert before == Predictor.load(run_folder.parent / "model").fingerprint()
    assert predictor.fingerprint() != ""


def test_what_wrote_a_file_is_noted_by_a_line_and_kept_by_others(tmp_path):
    """Two runs that write to one folder at a time, a line cut short, and a scene that is written again."""
    scenes = [SimpleNamespace(split="a", name=name, meta={}) for name in ("s0", "s1", "s2")]
    (tmp_path / "a").mkdir()
    first, second = (WrittenFiles(tmp_path, {"weights": w * 64, "data": "/x"}) for w in "ab")
    for scene, maker in zip(scenes, (first, second, first), strict=True):
        maker.path(scene).write_bytes(scene.name.encode())
        maker.add(scene)
        with (tmp_path / "made_by.jsonl").open("ab") as file:
            file.write(b'{"scene": "a/s')
    assert [[maker.holds(scene) for scene in scenes] for maker in (first, second)] == [[1, 0, 1], [0, 1, 0]]
    assert len((tmp_path / "made_by.jsonl").read_bytes().splitlines()) < 10
    second.add(scenes[0])
    assert (first.holds(scenes[0]), second.holds(scenes[0])) == (False, True)
    second.path(scenes[0]).write_bytes(b"something else")
    assert not second.holds(scenes[0])


def test_a_prediction_of_a_scene_that_was_prepared_anew_is_stale(tmp_path):
    def prepared(label: int) -> PreparedScene:
        more = {"dataset": "toy", "sources": [], "repairs": [], "voxel_sizes": []}
        write_scene(tmp_path, "a", "s", coord=np.eye(3), segment=np.full(3, label, np.int16), **more)
        return open_scene(tmp_path / "a" / "s")

    scene, written = prepared(0), WrittenFiles(tmp_path / "out", {"weights": "a" * 64, "data": str(tmp_path)})
    written.path(scene).parent.mkdir(parents=True)
    written.path(scene).write_bytes(b"ply")
    written.add(scene)
    assert written.holds(scene)
    assert not written.holds(prepared(1))
    assert written.holds(prepared(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scans/a.las"], "is a cloud file; say with --model"),
        (["scans/a.las", "--model", "RUN"], "say with -o where to write"),
        (["scans/none.las", "--model", "RUN", "-o", "x"], "there is no file"),
        (["scans/a.las", "--model", "scans", "-o", "x"], "scans is not a run folder"),
        (["scans/a.las", "--model", "RUN", "-o", "x.ply"], "does not end in .las"),
        (["scans/a.las", "--model", "RUN", "-o", "x", "--native"], "--native works without --model only"),
        (["RUN", "--memory", "4GB"], "--memory works with --model only"),
        (["RUN", "RUN"], "2 inputs; give one run folder"),
        (["scans/a.las", "--model", "RUN", "-o", "x.las", "--memory", "200MB"], "the memory bound is 0.20 GB"),
        (["scans/a.las", "--model", "RUN", "-o", "x.las", "--memory", "many"], "the memory bound is 'many'"),
    ],
)
def test_refusals_are_one_line(run_folder, scans, arguments, message, capsys):
    assert main(["predict", *(a.replace("RUN", str(run_folder)) for a in arguments)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert sorted(path.name for path in scans.parent.iterdir() if not path.name.startswith(".")) == ["scans"]


def test_two_files_of_one_name(scans):
    (scans / "deeper").mkdir()
    (scans / "deeper" / "a.las").write_bytes((scans / "a.las").read_bytes())
    with pytest.raises(InputError, match="would both become"):
        targets([str(scans), str(scans / "deeper")], "out")


def test_predicting_a_prediction_again_replaces_its_fields(run_folder, scans, tmp_path):
    write_predictions(scans / "a.las", tmp_path / "old.las", np.full(3000, 7))
    assert main(["predict", "old.las", "--model", str(run_folder), "-o", "new.las"]) == 0
    new = laspy.read("new.las")
    assert (np.asarray(new.pred) == 7).mean() < 1
    assert list(new.point_format.extra_dimension_names) == ["pred", "confidence", "entropy"]
