"""What a run writes down while it trains: JSON lines and TensorBoard events, the same scalars in both."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from pointseg.atomic import replacing_file
from pointseg.training.plain import flatten
from pointseg.untrusted import parse_json

logger = logging.getLogger(__name__)


class Tracker:
    """Append scalars and warnings to ``metrics.jsonl`` and ``tensorboard/``; recipe and histograms to the latter only.

    Args:
        path: the run folder.
        start: steps already done; anything recorded for later steps (by a run that was killed) is dropped.
    """

    def __init__(self, path: Path, start: int) -> None:
        self.file = path / "metrics.jsonl"
        kept = [line for line in self.lines() if line["step"] <= start]
        with replacing_file(self.file) as unfinished:
            unfinished.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.writer = SummaryWriter(str(path / "tensorboard"), purge_step=start + 1)

    def describe(self, recipe: Mapping[str, Any], metric: str) -> None:
        """Show the recipe as text and in TensorBoard's table of hyper-parameters.

        The summaries go into the run's own event file; ``SummaryWriter.add_hparams`` would list a second run.

        Args:
            recipe: plain values, as in ``config.yaml``.
            metric: tag of the scalar that the table shows beside them; its newest value counts.
        """
        self.writer.add_text("recipe", f"```yaml\n{yaml.safe_dump(dict(recipe), sort_keys=False)}```", 0)
        assert self.writer.file_writer is not None
        # TensorBoard's table holds single values: a list goes in as text.
        table = {key: str(value) if isinstance(value, list) else value for key, value in flatten(recipe).items()}
        for summary in hparams(table, {metric: 0.0}):
            self.writer.file_writer.add_summary(summary)

    def record(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Write one line of scalars: ``kind`` is ``train``, ``eval`` or ``time``, ``step`` the number of steps done."""
        self._append({"kind": kind, "step": step, **values})
        for name, value in values.items():
            self.writer.add_scalar(f"{kind}/{name}", value, step)

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind written so far, those of the run before it was resumed included."""
        return [line for line in self.lines() if line["kind"] == kind]

    def lines(self) -> list[dict[str, Any]]:
        """All lines written so far; damaged ones, as a last one cut off by a kill, are left out with a warning."""
        if not self.file.is_file():
            return []
        texts = self.file.read_bytes().splitlines()
        kept = [line for line in map(_parsed, texts) if line is not None]
        if len(kept) < len(texts):
            logger.warning("%d damaged lines of %s are left out", len(texts) - len(kept), self.file)
        return kept

    def warn(self, kind: str, step: int, text: str) -> None:
        """Write a warning: one line, and a text of TensorBoard."""
        self._append({"kind": "warning", "step": step, "name": kind, "text": text})
        self.writer.add_text(f"warning/{kind}", text, step)

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Write distributions; what is not finite is left out, and so is a tensor in which nothing is."""
        for name, value in values.items():
            finite = value.detach().float()
            finite = finite[finite.isfinite()]
            if len(finite):
                self.writer.add_histogram(name, finite, step)

    def pictures(self, step: int, kind: str, images: Mapping[str, Image.Image]) -> None:
        """Show pictures of one ``kind``, by the scene's name."""
        for name, image in images.items():
            self.writer.add_image(f"{kind}/{name}", np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def thumbnails(self, step: int, kind: str, meshes: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Show small clouds to turn, by the scene's name: vertices (1, n, 3) and colours (1, n, 3)."""
        for name, (vertices, colors) in meshes.items():
            tensors = torch.from_numpy(vertices), torch.from_numpy(colors)
            self.writer.add_mesh(f"{kind}/{name}", *tensors, global_step=step)

    def close(self) -> None:
        self.writer.close()

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.file.open("a") as handle:
            handle.write(json.dumps(line) + "\n")


@contextmanager
def writers_fail_once() -> Iterator[None]:
    """Keep the threads that write TensorBoard's events from printing a traceback; the next event raises their error."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.exc_value, OSError) or not type(failed.thread).__module__.startswith("tensorboard."):
            before(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A line's record; None if it is not a whole one."""
    try:
        line = parse_json(text)
    except ValueError:
        return None
    whole = isinstance(line, dict) and isinstance(line.get("kind"), str) and isinstance(line.get("step"), int)
    return line if whole else None


def named_scalars(log: Mapping[str, Tensor], classes: Sequence[str]) -> dict[str, float]:
    """The numbers of a step's log, fetched from the device at once; those that are not finite are left out.

    Args:
        log: scalars, and vectors (K,) of one value a class; ``drift`` becomes ``drift/wall``, ``drift/floor``, ...
        classes: K names.
    """
    names = [
        tag for name, value in log.items() for tag in ([f"{name}/{c}" for c in classes] if value.dim() else [name])
    ]
    values = torch.cat([value.detach().reshape(-1).float() for value in log.values()]).tolist()
    return {name: value for name, value in zip(names, values, strict=True) if math.isfinite(value)}
