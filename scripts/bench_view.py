"""Viewing large clouds: the offline page in headless Chromium, and reading LAS and PLY files; prints a Markdown table.

python scripts/bench_view.py
python scripts/bench_view.py --points 100000 --las-points 1000000

A made-up hall with colours, truth, prediction and confidence. Each page is opened in a Chromium of its own, with the
flags of the browser tests (WebGL without a graphics card), and used by its own keys and switches; everything is timed
in the page until the frame is drawn. Each file is read, from the disk's cache, by a process of its own as
'pointseg view' reads it; the peak is that of the whole process (Linux). All is in a temporary folder, which is removed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from bench_voxels import STATUS, resident, room
from engine_bench.machine import machine

from pointseg.commandline import Parser, guarded
from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import class_colors, numbered_classes
from pointseg.viewing.exports import write_las
from pointseg.viewing.html import scene_html
from pointseg.viewing.ply import write_ply
from pointseg.viewing.sources import Wishes, open_target

BROWSER = Path(__file__).resolve().parents[1] / "tests/viewing/browser.py"
WINDOW = (1280, 720)
PATIENCE = 300  # seconds for a page to open
FRAMES = 20
SWITCHES = 6
LEAST_POINTS = 1000
WRITERS: dict[str, Callable[..., object]] = {"LAS": write_las, "PLY": write_ply}
SOFTWARE = ("SwiftShader", "llvmpipe")
COLUMNS = (
    *("", "points", "file, MB", "opened or read, s", "frame while turning, s", f"longest of {FRAMES}, s"),
    *("another colouring, s", "class off or on, s", "peak memory, GB"),
)

# The page draws its first frame in the same task that makes it ready, so a microtask comes right after that frame.
NOTE_FIRST_FRAME = """
new MutationObserver(() => {
  if (document.body && document.body.dataset.state === "ready") window.firstFrame ??= performance.now() / 1000;
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-state"] });
"""

# The page asks for its frame during `act`, so this callback runs after it; readPixels waits until it is drawn.
TIMER = """
window.timed = async (times, act) => {
  const gl = document.getElementById("canvas").getContext("webgl2"), spent = [];
  for (let k = 0; k < times; k++) {
    const began = performance.now();
    act(k);
    await new Promise(requestAnimationFrame);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    spent.push((performance.now() - began) / 1000);
  }
  return spent;
}; 1
"""
TURN = """
document.getElementById("canvas").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }))
"""
MODE_BUTTONS = 'document.querySelectorAll("#modes button")'
CLASS_SWITCH = 'document.querySelector("#classes input").click()'
RENDERER = """
(() => {
  const gl = document.getElementById("canvas").getContext("webgl2");
  return gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info").UNMASKED_RENDERER_WEBGL);
})()
"""


@dataclass(frozen=True)
class Measured:
    """A line of the table.

    Attributes:
        what: Page, LAS or PLY.
        points: In it.
        size: Bytes of the file.
        opened: Seconds until the first frame, or until the cloud is read.
        turning: Seconds of each frame; empty for files that are only read, as the next two.
        colouring: Seconds of each change of the colouring.
        switching: Seconds of each use of a class's switch.
        peak: Bytes of the process at most; None where it is not known.
    """

    what: str
    points: int
    size: int
    opened: float
    turning: tuple[float, ...] = ()
    colouring: tuple[float, ...] = ()
    switching: tuple[float, ...] = ()
    peak: int | None = None


def main() -> int:
    """Measure and print."""
    parser = Parser(prog="bench_view", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[1_000_000, 2_000_000], help="of each page")
    parser.add_argument("--las-points", type=int, default=20_000_000, help="of the LAS file and the PLY file")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    return guarded(parser.prog, lambda: read(args.read) if args.read else measure(args))


def measure(args: argparse.Namespace) -> int:
    """All pages and files, a line each as soon as it is known; at the end what they were measured on."""
    for flag, points in [*(("--points", points) for points in args.points), ("--las-points", args.las_points)]:
        if points < LEAST_POINTS:
            raise InputError(f"{flag} is {points}; it must be at least {LEAST_POINTS}")
    load, browsers = os.getloadavg()[0], browser_module()
    print_line(COLUMNS)
    print_line(["---"] + ["---:"] * (len(COLUMNS) - 1))
    with tempfile.TemporaryDirectory() as folder:
        # A Chromium that is killed, as the client ends it, leaves the folder of its socket behind.
        os.environ["TMPDIR"] = folder
        for points in args.points:
            measured, drawn_by = page(browsers, Path(folder), points)
            print_line(cells(measured))
        for path in written(Path(folder), args.las_points):
            print_line(cells(reading(path, args.las_points)))
    facts = machine("cpu", [])
    print(f"\n{facts['cpu']}, {facts['cores']} cores, load {load:.1f} at the start; {drawn_by}; medians where several.")
    return 0


def browser_module() -> ModuleType:
    """The browser tests' client of Chromium.

    Raises:
        InputError: There is no Chromium.
    """
    spec = importlib.util.spec_from_file_location("viewing_browser", BROWSER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.CHROMIUM is None:
        raise InputError("there is no Chromium on the path to open the pages in; install it (apt-get install chromium)")
    return module


def hall(points: int) -> tuple[Cloud, Classes]:
    """A hall with tables; the prediction is wrong in patches, where the confidence is low."""
    coord, noise, gt = room(points)
    classes = numbered_classes(int(gt.max()) + 1)
    confidence = 0.6 + 0.3 * np.sin(coord[:, 0]) * np.cos(coord[:, 1] + coord[:, 2])
    pred = np.where(confidence < 0.5, (gt + 1) % classes.num_classes, gt)
    color = class_colors(gt, classes) // 2 + noise // 8
    return Cloud(coord, color, gt, pred, confidence, name="hall"), classes


def page(browsers: ModuleType, folder: Path, points: int) -> tuple[Measured, str]:
    """Write a page and use it; the figures, and which Chromium drew it with what.

    Raises:
        InputError: Chromium does not show it.
    """
    path = scene_html(folder / f"{points}.html", *hall(points), max_points=points)
    try:
        with browsers.Browser(folder / f"chromium_{points}", size=WINDOW) as browser:
            opened = open_page(browser, path)
            browser.eval(TIMER)
            modes = browser.eval(f"{MODE_BUTTONS}.length")
            measured = Measured(
                what="page",
                points=points,
                size=path.stat().st_size,
                opened=opened,
                turning=tuple(browser.eval(f"timed({FRAMES}, () => {TURN})")),
                colouring=tuple(browser.eval(f"timed({modes}, (k) => {MODE_BUTTONS}[(k + 1) % {modes}].click())")),
                switching=tuple(browser.eval(f"timed({SWITCHES}, () => {CLASS_SWITCH})")),
            )
            return measured, drawing(browser)
    except AssertionError as error:
        raise InputError(f"Chromium did not show {points:,} points ({error}); try fewer (--points)") from error


def open_page(browser: Any, path: Path) -> float:
    """Seconds from the start of the navigation to the first frame."""
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=NOTE_FIRST_FRAME)
    browser.open(path.as_uri())
    browser.wait_for("document.body.dataset.state !== 'loading'", PATIENCE)
    if browser.data()["state"] != "ready":
        raise AssertionError(browser.text("#message"))
    return browser.eval("window.firstFrame")


def drawing(browser: Any) -> str:
    """The browser, its window and what draws in it."""
    version, renderer = browser.call("Browser.getVersion")["product"], browser.eval(RENDERER)
    how = "in software" if any(name in renderer for name in SOFTWARE) else "by a graphics card"
    return f"{version}, window of {WINDOW[0]} x {WINDOW[1]}, WebGL {how} ({renderer})"


def written(folder: Path, points: int) -> list[Path]:
    """The hall in a file of each format."""
    cloud, classes = hall(points)
    paths = [folder / f"hall.{name.lower()}" for name in WRITERS]
    for write, path in zip(WRITERS.values(), paths, strict=True):
        write(path, cloud, classes)
    return paths


def reading(path: Path, points: int) -> Measured:
    """A cloud file as another process reads it.

    Raises:
        InputError: That process failed.
    """
    # In a session of its own Ctrl-C does not reach it; it is then ended from here, without a message of its own.
    command = [sys.executable, __file__, "--read", str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, start_new_session=True)
    if done.returncode:
        raise InputError(f"{path.name} could not be read (exit code {done.returncode}); its message is above, if any")
    figures = json.loads(done.stdout)
    return Measured(path.suffix[1:].upper(), points, path.stat().st_size, figures["seconds"], peak=figures["peak"])


def read(path: Path) -> int:
    """Read one file and print its figures as JSON."""
    began = time.perf_counter()
    cloud, _ = open_target(path, Wishes())[0].load()
    seconds = time.perf_counter() - began
    assert cloud.pred is not None
    print(json.dumps({"seconds": seconds, "peak": resident("VmHWM") if STATUS.exists() else None}))
    return 0


def cells(measured: Measured) -> list[str]:
    """A line of the table, of as many cells as ``COLUMNS``."""
    turning = measured.turning
    return [
        *(measured.what, f"{measured.points:,}", f"{measured.size / 1e6:.1f}", f"{measured.opened:.1f}"),
        *(_seconds(turning), f"{max(turning):.2f}" if turning else "-"),
        *(_seconds(measured.colouring), _seconds(measured.switching)),
        "-" if measured.peak is None else f"{measured.peak / 1e9:.1f}",
    ]


def print_line(line: list[str] | tuple[str, ...]) -> None:
    """Print a line of the table at once."""
    print(f"| {' | '.join(line)} |", flush=True)


def _seconds(times: tuple[float, ...]) -> str:
    return f"{statistics.median(times):.2f}" if times else "-"


if __name__ == "__main__":
    sys.exit(main())
