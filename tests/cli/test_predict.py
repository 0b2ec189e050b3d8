"""``pointseg predict`` on cloud files: a run trained in a minute's fraction, its exported model, folders, refusals."""

import laspy
import numpy as np
import pytest

from pointseg.cli.main import main
from pointseg.cli.predict_clouds import targets
from pointseg.data.formats import read_cloud, write_predictions
from pointseg.errors import InputError
from pointseg.inference import Predictor

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
