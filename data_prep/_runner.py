"""Many scenes: one after the other, over processes, or over a Dask cluster, with progress; safe to interrupt."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from data_prep._scene_job import SceneJob, SceneResult, Store, prepare_scene
from pointseg.atomic import remove_unfinished
from pointseg.data.scene import prepare_root
from pointseg.data.scene_arrays import check_names
from pointseg.data.scene_reader import grid_name
from pointseg.data.voxel import check_voxel_size
from pointseg.errors import InputError
from pointseg.locking import only_process
from pointseg.progress import bytes_bar

_LOCK = ".preparing"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Report:
    """What ``prepare_scenes`` did.

    Attributes:
        results: One entry a scene, sorted by name.
        seconds: Wall time.
    """

    results: tuple[SceneResult, ...]
    seconds: float

    @property
    def failed(self) -> tuple[SceneResult, ...]:
        """The scenes that could not be prepared."""
        return tuple(result for result in self.results if result.status == "failed")


def prepare_scenes(jobs: Sequence[SceneJob], store: Store, *, workers: int = 1, scheduler: str | None = None) -> Report:
    """Prepare every scene; those that are up to date are kept.

    One run at a time on a root. When interrupted, finished scenes stay and unfinished ones vanish.

    Args:
        jobs: At least one; their names differ.
        store: Where they go.
        workers: Processes on this machine.
        scheduler: Address of a Dask scheduler (``tcp://host:8786``) whose workers do the work instead; they must see
            the same files under the same paths.

    Raises:
        InputError: No jobs, two of one name, a bad size or number of workers, a root with other classes, or a
            scheduler that does not answer. A scene that cannot be prepared does not raise: it is in the report.
    """
    started = time.monotonic()
    for size in store.voxel_sizes:
        check_voxel_size(size)
        grid_name(size)
    if workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
    if not jobs:
        raise InputError("there are no scenes to prepare; check the folder that was given")
    for job in jobs:
        check_names(job.split, job.scene)
    names = [job.name for job in jobs]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"two sources would become one scene: {', '.join(twice[:3])}; rename one, or prepare it alone")
    # Workers elsewhere may start in another folder.
    store = replace(store, out=store.out.absolute())
    with _alone(store.out):
        results = _prepare(jobs, store, workers, scheduler)
    return Report(tuple(sorted(results, key=lambda r: r.name)), time.monotonic() - started)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Keep a second run out, which would remove what this one has not finished."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {root}: {error.strerror}") from error
    refusal = f"another run is preparing scenes in {root}; wait for it, or choose another --out folder"
    with only_process(root / _LOCK, refusal):
        yield


def _prepare(jobs: Sequence[SceneJob], store: Store, workers: int, scheduler: str | None) -> list[SceneResult]:
    remove_unfinished(store.out, "classes")
    prepare_root(store.out, store.classes)
    splits = {job.split for job in jobs}
    for split in splits:
        remove_unfinished(store.out / split)
    # The largest scenes first, so that none is left running alone at the end.
    ordered = sorted(jobs, key=SceneJob.source_bytes, reverse=True)
    try:
        return _run(ordered, store, min(workers, len(ordered)), scheduler)
    except KeyboardInterrupt:
        for split in splits:
            remove_unfinished(store.out / split)
        raise


def _run(jobs: Sequence[SceneJob], store: Store, workers: int, scheduler: str | None) -> list[SceneResult]:
    if scheduler is not None:
        stream = on_cluster(partial(prepare_scene, store=store), jobs, scheduler)
    elif workers == 1:
        stream = (prepare_scene(job, store) for job in jobs)
    else:
        stream = _in_processes(partial(prepare_scene, store=store), jobs, workers, _died)
    results: list[SceneResult] = []
    with bytes_bar() as bar:
        row = bar.add_task("preparing", total=sum(job.source_bytes() for job in jobs), status=f"0/{len(jobs)} scenes")
        for result in stream:
            results.append(result)
            bar.update(row, advance=result.source_bytes, status=f"{len(results)}/{len(jobs)} scenes")
    return results


def _died(job: SceneJob) -> SceneResult:
    error = "its worker process was killed, most likely for lack of memory; use a machine with more, or --memory"
    return SceneResult(job.name, "failed", error=error, source_bytes=job.source_bytes())


def _in_processes(function: Callable[[T], R], items: Sequence[T], workers: int, died: Callable[[T], R]) -> Iterator[R]:
    """The results as they come; ``died(item)`` for an item whose process was killed."""
    left = list(range(len(items)))
    try:
        for number, result in _pooled(function, items, workers):
            left.remove(number)
            yield result
    except BrokenProcessPool:
        # One death breaks the whole pool and does not say whose it was: the rest goes on one at a time.
        for number in left:
            try:
                for _, result in _pooled(function, items[number : number + 1], 1):
                    yield result
            except BrokenProcessPool:
                yield died(items[number])


def _pooled(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[tuple[int, R]]:
    others = set(multiprocessing.active_children())
    # Spawned, not forked: a fork would copy the locks of the threads that draw the progress bar.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        with _interrupts_ignored():
            futures = {pool.submit(function, item): number for number, item in enumerate(items)}
        for future in as_completed(futures):
            yield futures[future], future.result()
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
            child.join()
        raise


def on_cluster(function: Callable[[T], R], items: Sequence[T], scheduler: str) -> Iterator[R]:
    """Results of ``function`` on the items, in the order in which the workers of a Dask cluster finish them."""
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise InputError("--scheduler needs the package 'distributed'; pip install 'pointseg[cluster]'") from error
    try:
        client = distributed.Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler!r}; start one with 'dask scheduler' and give its address, such "
            "as tcp://127.0.0.1:8786"
        ) from error
    with client:
        futures = [client.submit(function, item, pure=False) for item in items]
        try:
            for future in distributed.as_completed(futures):
                yield future.result()
        except distributed.KilledWorker as error:
            raise InputError(
                f"workers of the cluster died again and again, most likely for lack of memory ({error}); what is "
                "finished is kept"
            ) from error
        except BaseException:
            client.cancel(futures)
            raise


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, which reaches the whole group: only this process acts on it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
