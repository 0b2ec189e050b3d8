"""Run a command and print its wall time and the peak memory of all its processes together (Linux).

python scripts/peak_memory.py bash scripts/demo.sh

Sums the proportional set sizes of the command and its descendants, so shared pages count once, twice a second.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

INTERVAL = 0.5


def main() -> int:
    """Exit with the command's own code."""
    if len(sys.argv) < 2:
        print("error: give the command to run (see the first lines of this script)", file=sys.stderr)
        return 2
    started, peak = time.monotonic(), 0
    process = subprocess.Popen(sys.argv[1:])
    while process.poll() is None:
        peak = max(peak, sum(map(proportional_kib, family(process.pid))))
        time.sleep(INTERVAL)
    print(f"{time.monotonic() - started:.0f} s, peak memory {peak / 2**20:.2f} GiB", file=sys.stderr)
    return process.returncode


def family(pid: int) -> list[int]:
    """A process and all its descendants that are alive."""
    try:
        children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    except OSError:
        return [pid]
    return [pid, *(member for child in children for member in family(int(child)))]


def proportional_kib(pid: int) -> int:
    """Proportional set size of a process, KiB; 0 once it has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    sys.exit(main())
