"""The benchmark's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine_bench.bars import Verdict
from engine_bench.dense import PRECISIONS, DenseRates
from engine_bench.measure import COMMANDS, PEAK, Measured


def print_machine(machine: dict[str, object]) -> None:
    """One line."""
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))


def print_scene(scene: dict[str, Any]) -> None:
    """One line, of what :func:`engine_bench.work.demand` says."""
    gflop = scene["gflop"]
    print(
        f"\n{scene['voxels']} voxels of {100 * scene['voxel_size_m']:.2f} cm, {scene['pairs_per_voxel']:.1f} pairs per "
        f"voxel, forward pass {gflop['forward']:.1f} GFLOP, training step {gflop['step']:.1f} GFLOP",
        flush=True,
    )


def print_dense(rates: DenseRates, floors: dict[bool, dict[str, float]]) -> None:
    """A line for each pair of channels, then the floors for fp32 (False) and bf16 (True)."""
    note = "" if rates.medium_is_fp32 else "; 'medium' rounds on this machine and is no fp32 floor"
    print(f"\ndense torch.mm, 100 k rows, GFLOP/s (forward shape / weight gradient shape){note}")
    print(f"{'channels':>10}" + "".join(f"{precision:>18}" for precision in PRECISIONS))
    for shape in rates.shapes:
        cells = (f"{rates.forward[p][shape] / 1e9:.0f} / {rates.weight[p][shape] / 1e9:.0f}" for p in PRECISIONS)
        print(f"{shape[0]:>5} {shape[1]:>4}" + "".join(f"{cell:>18}" for cell in cells))
    for bf16, floor in floors.items():
        name = "bf16" if bf16 else "fp32"
        print(f"dense floor {name}: forward {floor['forward']:.3f} s, training step {floor['step']:.3f} s")


def print_engines(
    measured: Sequence[Measured], gflop: dict[str, float], floors: dict[bool, dict[str, float]], rounds: int
) -> None:
    """A line for each engine and setting.

    Args:
        measured: of one scene.
        gflop: of a forward pass and of a training step.
        floors: seconds of the dense products for fp32 (False) and bf16 (True).
        rounds: how many.
    """
    print(f"\nleast of {rounds} rounds; seconds; GFLOP/s and share of the dense floor: forward / training step")
    print(
        f"{'engine':<16}{'setting':<27}{'maps':>7}{'forward':>9}{'cold':>8}{'step':>8}"
        f"{'GFLOP/s':>12}{'floor':>12}{'peak GiB':>10}"
    )
    for one in measured:
        floor = floors[one.setting.autocast is not None]
        rate = " / ".join(f"{gflop[figure] / one.best(figure):.0f}" for figure in floor)
        share = " / ".join(f"{floor[figure] / one.best(figure):.0%}" for figure in floor)
        print(
            f"{one.setting.engine:<16}{one.setting.name:<27}{one.best('maps'):>7.3f}{one.best('forward'):>9.3f}"
            f"{one.best('cold'):>8.3f}{one.best('step'):>8.3f}{rate:>12}{share:>12}{one.peak:>10.2f}"
        )


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """A line for each bar."""
    if verdicts:
        print("\nours against the best setting of each peer")
    for one in verdicts:
        print(f"{one.what:<56}{one.reached:>8}   bar {one.bar:<9} {'met' if one.met else 'missed'}")


def print_failures(failures: Sequence[str]) -> None:
    """A line for each worker that did not last."""
    for line in failures:
        print(line)


def print_growth(measured: Sequence[Measured], voxels: dict[Path, int], rounds: int) -> None:
    """For each setting a line for each scene; in brackets the figure per voxel, relative to the smallest scene."""
    print(f"\nours, least of {rounds} rounds; seconds and GiB; in brackets per voxel, relative to the fewest voxels")
    figures = (*COMMANDS, PEAK)
    for setting in dict.fromkeys(one.setting for one in measured):
        lines = sorted((one for one in measured if one.setting == setting), key=lambda one: voxels[one.voxels])
        print(f"{setting.name}\n{'voxels':>8}" + "".join(f"{figure:>16}" for figure in figures))
        for one in lines:
            scale = voxels[lines[0].voxels] / voxels[one.voxels]
            cells = (f"{one.best(f):.3f} ({one.best(f) / lines[0].best(f) * scale:.2f})" for f in figures)
            print(f"{voxels[one.voxels]:>8}" + "".join(f"{cell:>16}" for cell in cells))
