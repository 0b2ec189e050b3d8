"""The engine's benchmark: its arithmetic, its rules, and one run with a peer that cannot be imported."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import bench_engine
import numpy as np
import pytest
from engine_bench.bars import verdicts
from engine_bench.measure import COMMANDS, Measured
from engine_bench.networks import MinkowskiUNet
from engine_bench.scene import drawn_rows, room_voxels
from engine_bench.settings import Setting, settings_of
from engine_bench.work import CUBE, ROW, VOLUME, WINDOW, flops, layers, pairs

import pointseg.minkowski as ME


def figures(engine, seconds, peak=1.0, **setting):
    times = {command: [2 * seconds, seconds] for command in COMMANDS}
    return Measured(Setting(engine, 2, **setting), Path("scene.npy"), times, peak)


def test_layers_are_those_of_the_network():
    kernels = [p for name, p in MinkowskiUNet(ME).named_parameters() if name.endswith("kernel")]
    assert len(layers()) == len(kernels)
    assert sum(VOLUME[layer.kernel] * layer.inputs * layer.outputs for layer in layers()) == sum(
        kernel.numel() for kernel in kernels
    )


def test_pairs_are_counted_at_every_level():
    voxels, _ = room_voxels(1500)
    counts, rows = pairs(voxels), {tuple(row[1:]) for row in voxels.tolist()}
    for level in range(5):
        if level:
            assert counts[WINDOW, level] == len(rows)
            rows = {tuple(c // 2 for c in row) for row in rows}
        offsets = list(product((-1, 0, 1), repeat=3))
        neighbours = sum(tuple(map(sum, zip(row, offset, strict=True))) in rows for row in rows for offset in offsets)
        assert counts[CUBE, level] == neighbours
        assert counts[ROW, level] == len(rows)


def test_flops_of_a_convolution():
    stem = layers()[0]
    assert flops(stem, {(CUBE, 0): 7}) == 2 * 7 * 3 * 32


def test_every_draw_has_other_rows_and_the_same_ones_each_time():
    first, again, second = (drawn_rows(10_000, draw) for draw in (1, 1, 2))
    assert np.array_equal(first, again)
    assert len(first) != len(second)
    assert 9600 < len(first) < 9800
    assert len(np.unique(first)) == len(first)


def test_settings_cover_threads_and_precisions_once():
    names = [setting.name for setting in settings_of(["ours", "spconv"], "cpu", 4)]
    assert names[:4] == ["fp32, 4 threads", "fp32, 1 thread", "bf16, 4 threads", "bf16, 1 thread"]
    assert names[4:] == [
        "fp32, 4 threads",
        "fp32, 1 thread",
        "fp32 'medium', 4 threads",
        "fp32 'medium', 1 thread",
    ]
    assert len(settings_of(["MinkowskiEngine"], "cpu", 1)) == 1


def test_ratios_take_the_best_setting_of_each_peer():
    measured = [
        figures("ours", 0.5, peak=1.0),
        figures("ours", 0.2, autocast="bfloat16"),
        figures("spconv", 2.0, peak=0.9),
        figures("spconv", 0.8, peak=1.5, matmul="medium"),
    ]
    found = {verdict.what: verdict for verdict in verdicts(measured, {"forward": 0.2, "step": 0.4}, 60_000)}
    assert {what: (one.reached, one.met) for what, one in found.items()} == {
        "forward fp32 0.500 s, spconv 0.800 s": ("0.62x", True),
        "step fp32 0.500 s, spconv 0.800 s": ("0.62x", True),
        "peak fp32 1.000 GiB, spconv 0.900 GiB": ("1.11x", False),
        "step bf16 0.200 s, spconv 0.800 s": ("0.25x", True),
        "forward fp32, share of the dense floor": ("40%", False),
        "step fp32, share of the dense floor": ("80%", True),
    }


def test_maps_have_a_bar_at_one_size_only():
    measured = [figures("ours", 0.13)]
    assert [v.what for v in verdicts(measured, {}, 240_000)] == ["maps"]
    assert not verdicts(measured, {}, 240_000)[0].met
    assert verdicts(measured, {}, 60_000) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engines", "torchsparse"], "torchsparse"),
        (["--speed"], "--speed"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--voxels", "10"], "at least 2000"),
        (["--growth", "--voxels", "5000"], "leave out --voxels"),
    ],
)
def test_mistakes_are_one_line(arguments, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_engine.py", *arguments])
    try:
        code = bench_engine.main()
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_run_goes_on_without_a_peer_that_fails(tmp_path):
    peer = tmp_path / "spconv"
    peer.mkdir()
    (peer / "__init__.py").write_text("raise ImportError('no such library')\n")
    script = Path(bench_engine.__file__)
    run = subprocess.run(
        [
            *(sys.executable, script, "--engines", "ours", "spconv"),
            *("--voxels", "2000", "--rounds", "2", "--json", tmp_path / "figures.json"),
        ],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{script.parents[1]}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert "spconv fp32, 1 thread: failed in 'start': ImportError: no such library" in run.stdout.splitlines()
    scene = json.loads((tmp_path / "figures.json").read_text())["scenes"][0]
    assert [figure["setting"] for figure in scene["figures"]] == ["fp32, 1 thread", "bf16, 1 thread"]
    for figure in scene["figures"]:
        assert 0 < figure["step"]["min"] <= figure["step"]["median"]
        assert figure["peak_gib"] > 0
    assert len(scene["failed"]) == 2
