"""What a run writes down while it trains: JSON lines and TensorBoard events, the same numbers in both."""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from pointseg.atomic import replacing_file


class Tracker:
    """Append scalars to ``metrics.jsonl`` and ``tensorboard/``.

    Args:
        path: the run folder.
        start: steps already done; anything recorded for later steps (by a run that was killed) is dropped.
    """

    def __init__(self, path: Path, start: int) -> None:
        self.file = path / "metrics.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= start]
        with replacing_file(self.file) as unfinished:
            unfinished.write_text("".join(kept))
        self.writer = SummaryWriter(str(path / "tensorboard"), purge_step=start + 1)

    def record(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Write one line of scalars: ``kind`` is ``train`` or ``eval``, ``step`` the number of steps done."""
        with self.file.open("a") as handle:
            handle.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        for name, value in values.items():
            self.writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self.writer.close()

    def _lines(self) -> list[str]:
        """Complete lines already on disk; a last line cut off by a kill is left out."""
        if not self.file.is_file():
            return []
        return [line for line in self.file.read_text().splitlines(keepends=True) if line.endswith("\n")]
