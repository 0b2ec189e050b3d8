"""What ours has to reach against each peer, all figures from one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine_bench.measure import PEAK, Measured
from engine_bench.settings import OURS

SECONDS_OF_MAPS, VOXELS_OF_MAPS = 0.12, 240_000
SHARE_OF_FLOOR = 0.60


@dataclass(frozen=True)
class Bar:
    """A figure of ours divided by a peer's may be at most ``limit`` (CPU)."""

    figure: str
    autocast: str | None
    peer: str
    limit: float


BARS = (
    Bar("forward", None, "spconv", 0.65),
    Bar("step", None, "spconv", 0.65),
    Bar(PEAK, None, "spconv", 1.0),
    Bar("step", "bfloat16", "spconv", 0.4),
    Bar("forward", None, "MinkowskiEngine", 0.4),
    Bar("step", None, "MinkowskiEngine", 0.4),
    Bar(PEAK, None, "MinkowskiEngine", 1.0),
)


@dataclass(frozen=True)
class Verdict:
    """One line of the comparison: what is compared, the value reached, the bar, and whether it is met."""

    what: str
    reached: str
    bar: str
    met: bool


def verdicts(measured: Sequence[Measured], floor: dict[str, float], voxels: int) -> list[Verdict]:
    """Every bar that these figures can answer; each side at its best setting, figure by figure.

    Args:
        measured: of one scene.
        floor: seconds of the dense fp32 products, by command.
        voxels: that were asked for.
    """
    found = []
    for bar in BARS:
        ours = best(measured, OURS, bar.figure, bar.autocast)
        peer = best(measured, bar.peer, bar.figure)
        if ours is None or peer is None:
            continue
        ratio, unit = ours / peer, "GiB" if bar.figure == PEAK else "s"
        precision = "bf16" if bar.autocast else "fp32"
        what = f"{bar.figure} {precision} {ours:.3f} {unit}, {bar.peer} {peer:.3f} {unit}"
        found.append(Verdict(what, f"{ratio:.2f}x", f"<= {bar.limit:.2f}x", ratio <= bar.limit))
    maps = best(measured, OURS, "maps", None)
    if maps is not None and voxels == VOXELS_OF_MAPS:
        found.append(Verdict("maps", f"{maps:.3f} s", f"<= {SECONDS_OF_MAPS} s", maps <= SECONDS_OF_MAPS))
    for figure, least in floor.items():
        ours = best(measured, OURS, figure, None)
        if ours is not None:
            share = least / ours
            what = f"{figure} fp32, share of the dense floor"
            found.append(Verdict(what, f"{share:.0%}", f">= {SHARE_OF_FLOOR:.0%}", share >= SHARE_OF_FLOOR))
    return found


def best(measured: Sequence[Measured], engine: str, figure: str, *autocast: str | None) -> float | None:
    """The least of a figure over all settings of an engine, or over those of an autocast dtype; None without any."""
    candidates = [
        m for m in measured if m.setting.engine == engine and (not autocast or m.setting.autocast in autocast)
    ]
    return min((m.best(figure) for m in candidates), default=None)
