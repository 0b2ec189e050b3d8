"""What a method costs: its training step against the supervised-only step on the same batch, in one run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from methods_bench.cells import BASELINE, METHODS, ROOMS, Variant, cells, suites
from methods_bench.prepare import labels_name, prepare
from pointseg.training import Run, load_recipe
from pointseg.training.batches import as_batch, batches, training_data
from pointseg.training.step import build, compiling, training_step

BAR = 1.10
STEPS = 1000
"""Of the pretended training: the timed steps lie in its second half, past every warm-up."""

COMPILED = Variant("supervised, compile=true", BASELINE, ("compile=true",))


def report(out: Path, *, rounds: int, device: torch.device) -> str:
    """Time every method's step, in turns, and print the ratios to supervised-only; last that of a compiled network.

    A step is forward, loss, backward, optimiser and moving averages on a batch that is there already; the strong view's
    making and steps in which statistics are recorded (one in ten in training) are left out.

    Args:
        out: folder of the benchmark; the synthetic rooms are prepared there.
        rounds: each method does one step a round; the least of them counts.
        device: where to run.
    """
    suite = suites()["synthetic"]
    prepare(out, cells([suite], seeds=1), None)
    cell = cells([suite], seeds=1)[0]
    # The averaging of weights is the loop's, not part of a step.
    timed = [variant for variant in METHODS if not variant.settings]
    with tempfile.TemporaryDirectory() as folder:
        runs = {v.name: _run(Path(folder), out / suite.data, labels_name(cell), v) for v in (*timed, COMPILED)}
        steps = {name: _stepper(run, device) for name, run in runs.items()}
    for step in steps.values():
        step()
    least = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            least[name] = min(least[name], step())
    return _table(least, rounds)


def _table(least: dict[str, float], rounds: int) -> str:
    lines = [f"least of {rounds} rounds, {torch.get_num_threads()} threads", ""]
    lines += ["| method | step, s | ratio |", "|---|---|---|"]
    lines += [f"| {name} | {seconds:.3f} | {seconds / least[BASELINE]:.2f} |" for name, seconds in least.items()]
    ratio = least["erda"] / least[BASELINE]
    verdict = "met" if ratio <= BAR else "missed"
    return "\n".join([*lines, "", f"ERDA {ratio:.2f}x supervised-only, bar <= {BAR:.2f}x: {verdict}"])


def _run(folder: Path, data: Path, labels: str, variant: Variant) -> Run:
    settings = [f"data.root={data}", f"data.labels={labels}", *ROOMS, f"steps={STEPS}", *variant.settings]
    return Run.create(folder / variant.name, load_recipe(f"synthetic_{variant.recipe}", settings))


def _stepper(run: Run, device: torch.device) -> Callable[[], float]:
    """A function that does one more training step on one and the same batch and returns its seconds."""
    model, method, optimizer = build(run, device)
    data = training_data(run, two_views=method.needs_strong_view)
    batch = next(batches(run, data, start=0, workers=0)).to(device)
    model.train()
    done = STEPS // 2

    def step() -> float:
        nonlocal done
        rows = as_batch(batch, step=done, steps=STEPS, monitor=False)
        done += 1
        with compiling(run.config, device):
            started = time.perf_counter()
            training_step(model, method, optimizer, rows, run.config)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return time.perf_counter() - started

    return step
