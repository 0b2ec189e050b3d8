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
        """Whether this output stands."""
        return bool(self._lines) and target.is_file() and self._line(source, target) in self._lines

    def add(self, source: Path, target: Path) -> None:
        """Note an output that was just written."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" + self._line(source, target) + "\n")

    def close(self) -> None:
        """Remove the note: everything is done."""
        self._path.unlink(missing_ok=True)

    def _line(self, source: Path, target: Path) -> str:
        facts = target.stat()
        key = file_key(self._predictor, source, self._margin)
        return json.dumps([target.name, key, facts.st_size, facts.st_mtime_ns])
