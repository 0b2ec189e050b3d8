"""``pointseg predict FILE ... --model MODEL``: the user's own clouds, one after another or over a Dask cluster."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from data_prep import _runner
from pointseg.commandline import describe
from pointseg.data.formats import SUFFIXES, check_target
from pointseg.device import pick_device
from pointseg.errors import InputError
from pointseg.inference.finished_files import FinishedFiles
from pointseg.inference.memory import DEFAULT_MEMORY, Estimate
from pointseg.inference.model_folder import ModelSpec, is_model_folder
from pointseg.inference.predict_file import Watch, predict_file
from pointseg.inference.predictor import Predictor
from pointseg.memory_size import parse_memory
from pointseg.progress import progress_bar
from pointseg.training import Run
from pointseg.training.checkpoint import FINAL


@dataclass(frozen=True)
class CloudJob:
    """A file to predict, and how; what a worker elsewhere is sent.

    Attributes:
        source, target: what to read and to write.
        model: run or model folder.
        checkpoint: of a run.
        device: name; None = the best there is.
        memory: bytes a process may hold.
        halo: metres, None = the network's default.
    """

    source: Path
    target: Path
    model: Path
    checkpoint: str
    device: str | None
    memory: int
    halo: float | None


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: which.
        key: what the predictions depend on, see ``file_key``.
        failure: what went wrong, None if nothing did.
    """

    job: CloudJob
    key: str
    failure: str | None


def add_cloud_arguments(group: Any) -> None:
    """Add the flags that ``--model`` brings with it."""
    group.add_argument("--model", help="run folder, or model folder made with --export; predict cloud files with it")
    group.add_argument("--memory", metavar="SIZE", help=f"of the whole process (default {DEFAULT_MEMORY // 10**9}GB)")
    group.add_argument(
        "--halo", type=float, metavar="METRES", help="margin around tiles (default: a quarter of the receptive radius)"
    )
    group.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler whose workers take a file each")


def predict_clouds(args: argparse.Namespace) -> int:
    """Predict the files that were named; exit code 1 if some of several could not be."""
    memory = parse_memory(args.memory) if args.memory else DEFAULT_MEMORY
    model = Path(args.model).absolute()
    if args.checkpoint is not None and is_model_folder(model):
        raise InputError(
            f"--checkpoint is {args.checkpoint!r}, but {model} is a model folder, which holds one network; leave it "
            "out, or give the run with --model"
        )
    jobs = [
        CloudJob(source, target, model, args.checkpoint or FINAL, args.device, memory, args.halo)
        for source, target in targets(args.inputs, args.out)
    ]
    try:
        return _predict_all(jobs, args)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on where this one stopped") from None


def _predict_all(jobs: Sequence[CloudJob], args: argparse.Namespace) -> int:
    predictor = _open_model(jobs[0], "cpu" if args.scheduler else args.device)
    if len(jobs) == 1:
        _predict_one(predictor, jobs[0], args.scheduler)
        return 0
    finished = FinishedFiles(Path(args.out).absolute(), predictor, args.halo)
    left = [job for job in jobs if not finished.holds(job.source, job.target)]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} files are predicted already", file=sys.stderr)
    if args.scheduler:
        outcomes = _runner.on_cluster(predict_remotely, left, args.scheduler)
    else:
        outcomes = _one_by_one(predictor, left)
    failures = 0
    for outcome in outcomes:
        if outcome.failure is None:
            outcome = _tried(outcome.job, functools.partial(_noted, finished, outcome))
        if outcome.failure is None:
            print(outcome.job.target)
        else:
            failures += 1
            print(f"{outcome.job.source} failed: {outcome.failure}", file=sys.stderr)
    if failures == 0:
        finished.close()
    return min(failures, 1)


def model_spec(run: Run) -> ModelSpec:
    """What a run's network is."""
    config = run.config
    return ModelSpec(
        classes=run.classes,
        voxel_size=config.data.voxel_size,
        features=tuple(config.data.features),
        network=config.model.name,
        planes=tuple(config.model.planes),
        init_dim=config.model.init_dim,
        stem_kernel=config.model.stem_kernel,
        precision=config.precision,
    )


def targets(inputs: Sequence[str], out: str | None) -> list[tuple[Path, Path]]:
    """Which files to read, and where each goes.

    Args:
        inputs: cloud files, and folders whose cloud files are all taken.
        out: a file if there is one file to read, else a folder, where each gets its own name.

    Raises:
        InputError: no such file, a folder without clouds, no ``out``, or two files of one name.
    """
    if not out:
        raise InputError("say with -o where to write: a file such as labelled.laz, or a folder")
    sources, target = list(_sources(inputs)), Path(out).absolute()
    if len(inputs) == 1 and Path(inputs[0]).is_file() and target.suffix.lower() in SUFFIXES and not target.is_dir():
        check_target(sources[0], target)
        return [(sources[0], target)]
    named: dict[str, Path] = {}
    for source in sources:
        other = named.setdefault(source.name, source)
        if other != source:
            raise InputError(f"{other} and {source} would both become {target / source.name}; predict them apart")
        # What cannot be read is named when its turn comes, and keeps no other file waiting.
        with suppress(OSError):
            check_target(source, target / source.name)
    return [(source, target / name) for name, source in named.items()]


def predict_remotely(job: CloudJob) -> Outcome:
    """Predict a file on a worker."""
    return _tried(job, lambda: _predict(_open_model(job, job.device), job, Watch()))


def _sources(inputs: Sequence[str]) -> Iterator[Path]:
    for path in (Path(name).absolute() for name in inputs):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                raise InputError(f"{path} holds no clouds; files that can be read end in {', '.join(SUFFIXES)}")
            yield from inside
        elif path.is_file():
            yield path
        else:
            raise InputError(f"there is no file {path}")


def _open_model(job: CloudJob, device: str | None) -> Predictor:
    place = pick_device(device)
    if is_model_folder(job.model):
        return Predictor.load(job.model, place)
    run = Run.open(job.model)
    return Predictor(run.load_model(job.checkpoint, place), model_spec(run), place)


def _one_by_one(predictor: Predictor, jobs: Sequence[CloudJob]) -> Iterator[Outcome]:
    for number, job in enumerate(jobs, 1):
        with progress_bar() as bar:
            watch = _Shown(bar, f"{job.source.name} ({number}/{len(jobs)})").watch()
            outcome = _tried(job, functools.partial(_predict, predictor, job, watch))
        yield outcome


def _predict_one(predictor: Predictor, job: CloudJob, scheduler: str | None) -> None:
    if scheduler:
        (outcome,) = _runner.on_cluster(predict_remotely, [job], scheduler)
        if outcome.failure is not None:
            raise InputError(outcome.failure)
    else:
        with progress_bar() as bar:
            _predict(predictor, job, _Shown(bar, job.source.name).watch())
    print(job.target)


def _tried(job: CloudJob, work: Callable[[], str]) -> Outcome:
    """Do some work, which returns the key; an error that concerns this file alone is put down."""
    try:
        return Outcome(job, work(), None)
    except InputError as error:
        return Outcome(job, "", str(error))
    except OSError as error:
        return Outcome(job, "", describe(error))


def _predict(predictor: Predictor, job: CloudJob, watch: Watch) -> str:
    keys: list[str] = []
    watch = replace(watch, key=keys.append)
    predict_file(predictor, job.source, job.target, memory=job.memory, halo=job.halo, watch=watch)
    return keys[0]


def _noted(finished: FinishedFiles, outcome: Outcome) -> str:
    finished.add(outcome.job.target, outcome.key)
    return outcome.key


class _Shown:
    """A file's progress as a bar, one row a stage, and its estimate as a line above."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar, self._name, self._rows = bar, name, dict[str, Any]()

    def watch(self) -> Watch:
        return Watch(begin=self._begin, progress=self._progress, estimate=self._estimate)

    def _begin(self, points: int, memory: int) -> None:
        self._say(f"{points:,} points, to be predicted within {memory / 1e9:.2f} GB")

    def _estimate(self, estimate: Estimate) -> None:
        self._say(str(estimate))

    def _say(self, text: str) -> None:
        self._bar.console.print(f"{self._name}: {text}", highlight=False, markup=False, soft_wrap=True)

    def _progress(self, stage: str, done: int, total: int) -> None:
        if stage not in self._rows:
            self._rows[stage] = self._bar.add_task(stage, total=total, status=self._name)
        self._bar.update(self._rows[stage], completed=done)
