"""Cloud files through a network in tiles: one label a point, the same whatever the tiles, and back where it stopped."""

import json
import os
from pathlib import Path

import laspy
import numpy as np
import pytest
import torch

from data_prep._runner import prepare_scenes
from data_prep._scene_job import Store
from data_prep.cloud import jobs
from pointseg.data.classes import load_classes
from pointseg.data.formats import RawCloud, read_cloud
from pointseg.data.scene import list_scenes
from pointseg.errors import InputError
from pointseg.inference import predict_file, predict_scene
from pointseg.inference.halo import receptive_radius
from pointseg.inference.predict_file import Watch
from pointseg.inference.predictor import Predictor
from pointseg.inference.tile_network import Network

REAL = Path(os.environ.get("POINTSEG_TEST_DATA", "nowhere")) / "urban"
CPU = torch.device("cpu")
MEMORY = 10**10


@pytest.fixture
def tiles_of(monkeypatch):
    """Sets the voxels that a tile may have."""
    return lambda budget: monkeypatch.setattr(Predictor, "tile_voxels", lambda self, memory: (budget, 0))


@pytest.fixture
def calls(monkeypatch):
    """The voxels of every pass of the network; ``stop_at`` ends the process's work there, as a kill would."""

    class Calls(list):
        stop_at = None
        no_room_for = None

    seen, original = Calls(), Network.__call__

    def counted(self, coord, inputs, wanted):
        if seen.no_room_for is not None and len(coord) > seen.no_room_for:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
        if len(seen) == seen.stop_at:
            raise KeyboardInterrupt
        seen.append(len(coord))
        return original(self, coord, inputs, wanted)

    monkeypatch.setattr(Network, "__call__", counted)
    return seen


def outcome(path):
    las = laspy.read(path)
    return np.asarray(las.pred), np.asarray(las.confidence), np.asarray(las.entropy)


def prepared(path, tmp_path):
    classes = load_classes("asprs")
    report = prepare_scenes(jobs([path], classes), Store(tmp_path / "root", "cloud", classes, (0.1,), None))
    assert not report.failed, report.failed
    return list_scenes(tmp_path / "root")[0]


def test_one_tile_is_the_prediction_of_the_prepared_scene(make_predictor, laz, tmp_path):
    predictor = make_predictor()
    seconds = predict_file(predictor, laz, tmp_path / "out.laz", memory=MEMORY)
    scene = prepared(laz, tmp_path)
    expected = predict_scene(predictor.model, scene, voxel_size=0.1, features=predictor.spec.features, device=CPU)
    pred, confidence, entropy = outcome(tmp_path / "out.laz")
    assert np.array_equal(pred, expected.pred)
    assert len(set(pred.tolist())) > 1
    np.testing.assert_allclose(confidence, expected.confidence, rtol=1e-5)
    # Three classes: entropy lies between that of the two sharpest and the two flattest ways to share what is left.
    rest = 1 - confidence.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        sharp = -confidence * np.log(confidence) - np.nan_to_num(rest * np.log(rest))
    assert (entropy >= sharp - 1e-4).all()
    assert (entropy <= sharp + rest * np.log(2) + 1e-4).all()
    assert set(seconds) == {"read", "voxelise", "network", "write"}


def test_everything_else_of_the_file_stays(make_predictor, laz, tmp_path):
    predict_file(make_predictor(), laz, tmp_path / "out.laz", memory=MEMORY)
    before, after = laspy.read(laz), laspy.read(tmp_path / "out.laz")
    for name in before.point_format.dimension_names:
        assert np.array_equal(after[name], before[name]), name
    assert [v.record_data_bytes() for v in after.header.vlrs.get_by_id("LASF_Projection")] == [
        v.record_data_bytes() for v in before.header.vlrs.get_by_id("LASF_Projection")
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my scan.laz", "out.laz"]


def test_with_the_whole_receptive_field_as_margin_tiles_change_nothing(make_predictor, laz, tmp_path, tiles_of, calls):
    predictor = make_predictor()
    halo = receptive_radius(predictor.model.net) * 0.1
    results = []
    for budget in (10**9, 6000, 3600):
        tiles_of(budget)
        del calls[:]
        predict_file(predictor, laz, tmp_path / "out.laz", memory=MEMORY, halo=halo)
        results.append((*outcome(tmp_path / "out.laz"), len(calls)))
    assert results[0][3] == 1 < results[1][3] < results[2][3]
    for result in results[1:]:
        assert np.array_equal(result[0], results[0][0])
        np.testing.assert_allclose(result[1], results[0][1], atol=1e-4)
        np.testing.assert_allclose(result[2], results[0][2], atol=1e-4)
    tiles_of(3600)
    predict_file(predictor, laz, tmp_path / "bare.laz", memory=MEMORY, halo=0.0)
    assert np.abs(outcome(tmp_path / "bare.laz")[1] - results[0][1]).max() > 1e-2


def test_in_memory_and_from_the_file_are_the_same(make_predictor, laz, tmp_path, tiles_of):
    predictor = make_predictor()
    tiles_of(2000)
    prediction = predictor(read_cloud(laz), halo=1.0)
    predict_file(predictor, laz, tmp_path / "out.laz", memory=MEMORY, halo=1.0)
    for got, expected in zip(
        outcome(tmp_path / "out.laz"), (prediction.pred, prediction.confidence, prediction.entropy), strict=True
    ):
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_after_a_stop_only_the_tiles_that_are_left_are_predicted(make_predictor, laz, tmp_path, tiles_of, calls, stop):
    predictor, target = make_predictor(), tmp_path / "out.laz"
    tiles_of(2500)
    predict_file(predictor, laz, target, memory=MEMORY, halo=2.0)
    whole, expected = len(calls), outcome(target)
    target.unlink()
    del calls[:]
    calls.stop_at = stop
    with pytest.raises(KeyboardInterrupt):
        predict_file(predictor, laz, target, memory=MEMORY, halo=2.0)
    assert not target.exists()
    # A kill in mid-write leaves a line that ends too soon.
    with (tmp_path / ".out.laz.predicting" / "finished.jsonl").open("a") as file:
        file.write("\n[[0, 99")
    (tmp_path / ".out.123.tmp.laz").write_bytes(b"LASF")
    calls.stop_at = None
    estimates = []
    predict_file(predictor, laz, target, memory=MEMORY, halo=2.0, watch=Watch(estimate=estimates.append))
    assert len(calls) == whole
    assert estimates[0].tiles == whole - stop
    for got, same in zip(outcome(target), expected, strict=True):
        assert np.array_equal(got, same)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my scan.laz", "out.laz"]


def test_another_model_does_not_go_on_with_the_first_ones_tiles(make_predictor, laz, tmp_path, tiles_of, calls):
    tiles_of(2500)
    calls.stop_at = 2
    first, second = make_predictor(), make_predictor()
    with torch.no_grad():
        second.model.net.final.bias += torch.tensor([50.0, 0, 0])
    with pytest.raises(KeyboardInterrupt):
        predict_file(first, laz, tmp_path / "out.laz", memory=MEMORY)
    calls.stop_at = None
    predict_file(second, laz, tmp_path / "out.laz", memory=MEMORY)
    assert (outcome(tmp_path / "out.laz")[0] == 0).all()


def test_a_tile_that_does_not_fit_is_halved(make_predictor, laz, tmp_path, tiles_of, calls, caplog):
    predictor = make_predictor()
    halo = receptive_radius(predictor.model.net) * 0.1
    predict_file(predictor, laz, tmp_path / "one.laz", memory=MEMORY, halo=halo)
    calls.no_room_for = 4500
    predict_file(predictor, laz, tmp_path / "many.laz", memory=MEMORY, halo=halo)
    assert len(calls) > 2
    assert np.array_equal(outcome(tmp_path / "one.laz")[0], outcome(tmp_path / "many.laz")[0])
    assert "did not fit into memory" in caplog.text
    calls.no_room_for = 10
    with pytest.raises(InputError, match="not even a tile of"):
        predict_file(predictor, laz, tmp_path / "none.laz", memory=MEMORY, halo=0.0)


def test_other_errors_of_the_network_are_not_taken_for_too_little_memory(make_predictor, laz, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Network, "__call__", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        predict_file(make_predictor(), laz, tmp_path / "out.laz", memory=MEMORY)


def test_what_was_read_is_kept_for_a_call_with_more_memory(make_predictor, laz, tmp_path, tiles_of, monkeypatch):
    predictor, told = make_predictor(), []
    tiles_of(50)
    with pytest.raises(
        InputError, match=r"a tile with its margin of 1\.00 m .* more --memory, for which what was read"
    ):
        predict_file(predictor, laz, tmp_path / "out.laz", memory=MEMORY, halo=1.0)
    tiles_of(10**9)
    watch = Watch(begin=lambda *facts: told.append(facts), progress=lambda stage, *_: told.append(stage))
    predict_file(predictor, laz, tmp_path / "out.laz", memory=MEMORY, halo=1.0, watch=watch)
    assert told[0] == (12_000, MEMORY)
    assert "reading" not in told
    assert np.array_equal(outcome(tmp_path / "out.laz")[0], predictor(read_cloud(laz)).pred)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my scan.laz", "out.laz"]


def test_points_and_bound_are_told_before_anything_is_read(make_predictor, laz, tmp_path):
    told = []
    watch = Watch(begin=lambda *facts: told.append(facts), progress=lambda stage, *_: told.append(stage))
    predict_file(make_predictor(), laz, tmp_path / "out.laz", memory=MEMORY, watch=watch)
    assert told[:2] == [(12_000, MEMORY), "reading"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "must be finite"), (np.inf, "must be finite"), (1e300, "too far")]
)
def test_the_point_that_is_wrong_is_named(make_predictor, tmp_path, value, reason):
    predictor = make_predictor(features=("ones", "height"))
    coord = np.random.default_rng(0).uniform(0, 3, (300, 3))
    coord[5, 0] = value
    with pytest.raises(InputError, match=rf"point 5 .*{reason}"):
        predictor(RawCloud(coord))
    np.savetxt(tmp_path / "a.xyz", coord)
    with pytest.raises(InputError, match=r"point 5 \(the first is 0\)"):
        predict_file(predictor, tmp_path / "a.xyz", tmp_path / "b.xyz", memory=MEMORY)


def test_text_without_colours(make_predictor, tmp_path):
    predictor = make_predictor(features=("ones", "height"))
    coord = np.random.default_rng(0).uniform(0, 3, (500, 3)).round(3)
    np.savetxt(tmp_path / "a.xyz", coord)
    predict_file(predictor, tmp_path / "a.xyz", tmp_path / "b.xyz", memory=MEMORY)
    table = np.loadtxt(tmp_path / "b.xyz")
    np.testing.assert_allclose(table[:, :3], coord)
    np.testing.assert_array_equal(table[:, 3], predictor(read_cloud(tmp_path / "a.xyz")).pred)


@pytest.mark.parametrize("points", [1, 40])
def test_one_point_and_points_all_in_one_voxel(make_predictor, tmp_path, points):
    np.savetxt(tmp_path / "a.xyz", np.full((points, 3), 1e7) + np.linspace(0, 1e-3, points)[:, None], fmt="%.6f")
    predict_file(make_predictor(features=("height",)), tmp_path / "a.xyz", tmp_path / "b.xyz", memory=MEMORY)
    table = np.loadtxt(tmp_path / "b.xyz", ndmin=2)
    assert table.shape == (points, 6)
    assert len(set(table[:, 3])) == 1


def test_what_does_not_fit_is_refused_in_one_sentence(make_predictor, laz, tmp_path):
    np.savetxt(tmp_path / "a.xyz", np.ones((3, 3)))
    with pytest.raises(InputError, match=r"trained with colours, and .*a\.xyz has none"):
        predict_file(make_predictor(), tmp_path / "a.xyz", tmp_path / "b.xyz")
    assert not (tmp_path / "b.xyz").exists()
    with pytest.raises(InputError, match="trained with colours, and the cloud has none"):
        make_predictor()(read_cloud(tmp_path / "a.xyz"))
    with pytest.raises(InputError, match=r"does not end in \.laz"):
        predict_file(make_predictor(), laz, tmp_path / "out.ply")
    with pytest.raises(InputError, match="is the source itself"):
        predict_file(make_predictor(), laz, laz)
    with pytest.raises(InputError, match=r"the memory bound is 0\.10 GB, but the program"):
        predict_file(make_predictor(), laz, tmp_path / "out.laz", memory=10**8)
    with pytest.raises(InputError, match=r"margin of tiles is -1\.0 m"):
        predict_file(make_predictor(), laz, tmp_path / "out.laz", halo=-1.0)


def test_two_processes_do_not_write_one_file(make_predictor, laz, tmp_path):
    refused = []

    def second(stage, done, total):
        if not refused:
            with pytest.raises(InputError) as error:
                predict_file(make_predictor(), laz, tmp_path / "out.laz", memory=MEMORY)
            refused.append(str(error.value))

    predict_file(make_predictor(), laz, tmp_path / "out.laz", memory=MEMORY, watch=Watch(progress=second))
    assert refused[0].startswith("another process is predicting to the same file")


def test_progress_counts_points_then_voxels(make_predictor, laz, tmp_path, tiles_of):
    told = []
    tiles_of(2500)
    watch = Watch(progress=lambda *values: told.append(values))
    predict_file(make_predictor(), laz, tmp_path / "out.laz", memory=MEMORY, watch=watch)
    assert ("reading", 12_000, 12_000) in told
    predicted = [(done, total) for stage, done, total in told if stage == "predicting"]
    assert predicted[0][0] == 0
    assert predicted[-1][0] == predicted[-1][1] > 2500
    assert sorted(predicted) == predicted
    assert json.dumps(told[-1]) == json.dumps(["writing", 12_000, 12_000])


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real scenes: set POINTSEG_TEST_DATA")
def test_a_real_tile(make_predictor, tmp_path, tiles_of):
    source = REAL / "test_data_77055_627760_LA93_IGN69.laz"
    tiles_of(8000)
    predictor = make_predictor(features=("ones", "height"), voxel_size=0.5)
    estimates = []
    predict_file(predictor, source, tmp_path / "out.laz", halo=2.0, watch=Watch(estimate=estimates.append))
    before, after = laspy.read(source), laspy.read(tmp_path / "out.laz")
    assert estimates[0].tiles > 2
    for name in before.point_format.dimension_names:
        assert np.array_equal(after[name], before[name]), name
    prediction = predictor(read_cloud(source), halo=2.0)
    assert np.array_equal(after.pred, prediction.pred)
