"""Which files of a long list are predicted already, for a second run after the first was stopped."""

from __future__ import annotations

import json
from pathlib import Path

from pointseg.inference.predict_file import file_key
from pointseg.inference.predictor import Predictor


class FinishedFiles:
    """A note beside the outputs; an output counts as finished while neither it nor what it was made from changes.

    Args:
        folder: of the outputs.
        predictor: what they are made with.
        halo: margin of tiles, metres; None = the network's default.
    """

    def __init__(self, folder: Path, predictor: Predictor, halo: float | None) -> None:
        self._path = folder / ".predicted.jsonl"
        self._predictor, self._margin = predictor, predictor.halo_voxels(halo)
        # A line that was damaged equals none of those that are looked for.
        text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.is_file() else ""
        self._lines = set(text.splitlines())

    def holds(self, source: Path, target: Path) -> bool:
        """Whether this output stands; one of a source that cannot be read does not."""
        if not self._lines or not target.is_file():
            return False
        try:
            return _line(target, file_key(self._predictor, source, self._margin)) in self._lines
        except OSError:
            return False

    def add(self, target: Path, key: str) -> None:
        """Note an output that was just written; ``key`` as predicting it told."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" + _line(target, key) + "\n")

    def close(self) -> None:
        """Remove the note: everything is done."""
        self._path.unlink(missing_ok=True)


def _line(target: Path, key: str) -> str:
    facts = target.stat()
    return json.dumps([target.name, key, facts.st_size, facts.st_mtime_ns])
