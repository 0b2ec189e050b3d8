"""The pictures of clouds in README.md and docs/viewing.md, of two runs on the same synthetic rooms.

python scripts/readme_pictures.py runs/supervised runs/erda --out docs/images

The second run is one with pseudo-labels. Pages are opened in headless Chromium.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from PIL import Image

from pointseg.atomic import replacing_file
from pointseg.cli.run_clouds import open_run
from pointseg.data.classes import Classes
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.evolution import pseudo_label_evolution
from pointseg.viewing.figure import draw_scene
from pointseg.viewing.html import scene_html
from pointseg.viewing.sources import Wishes

WIDTH = 1600  # pixels of a drawn picture
WINDOW = (1280, 720)
LARGEST = 400_000  # bytes of a file
PALETTE = 256
"""Colours of a file that would be larger: few enough to keep it small, enough for classes to keep theirs."""
PATIENCE = 90_000  # milliseconds of the page's clock for it to fetch its points and draw them
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "chrome"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="to compare; the second has pseudo-labels")
    parser.add_argument("--evolution", type=Path, metavar="RUN", help="whose pseudo-labels (default: the second's)")
    parser.add_argument("--held-out", default="Area_5/conferenceRoom_1", help="scene (default %(default)s)")
    parser.add_argument("--trained", default="Area_1/office_1", help="scene that has labels (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    second = args.runs[1]
    save(args.out / "demo_room.png", draw_scene(*scene(second, args.held_out), width=WIDTH))
    told = draw_scene(*scene(second, args.trained), modes=("rgb", "annotated", "gt", "pred"), width=WIDTH)
    save(args.out / "view_annotated.png", told)
    save(args.out / "view_pseudo_labels.png", evolution(args.evolution or second))
    with tempfile.TemporaryDirectory() as folder:
        save(args.out / "view_live.png", live(args.runs, args.held_out, Path(folder)))
        save(args.out / "view_page.png", offline(second, args.held_out, Path(folder)))


def scene(run: Path, name: str) -> tuple[Cloud, Classes]:
    """A scene of a run, ``SPLIT/NAME``, with its prediction."""
    sources = open_run(run, Wishes(splits=(name.split("/")[0],)), "final", "cpu")
    return next(source for source in sources if source.name == name).load()


def evolution(run: Path) -> Image.Image:
    """How the pseudo-labels that a run keeps changed."""
    kept = [source for source in open_run(run, Wishes(), "final", "cpu") if source.path.suffix == ".ply"]
    loaded = [(int(source.path.stem.removeprefix("step_")), *source.load()) for source in kept]
    snapshots = [(step, replace(cloud, name=cloud.name.split(",")[0])) for step, cloud, _ in loaded]
    return pseudo_label_evolution(snapshots, loaded[0][2])


def live(runs: list[Path], name: str, folder: Path) -> Image.Image:
    """The live page with the first held-out scene of both runs."""
    with served(["view", *map(str, runs), "--splits", name.split("/")[0], "--device", "cpu", "--port", "0"]) as address:
        return screenshot(f"{address}&mode=error", folder)


def offline(run: Path, name: str, folder: Path) -> Image.Image:
    """The offline page of one scene."""
    page = scene_html(folder / "page.html", *scene(run, name))
    return screenshot(f"{page.as_uri()}#mode=confidence&bg=dark", folder)


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """``pointseg`` with a command that serves a page; the address it prints."""
    process = subprocess.Popen([sys.executable, "-m", "pointseg.cli.main", *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            raise SystemExit(f"pointseg {' '.join(command)} served nothing")
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def screenshot(address: str, folder: Path) -> Image.Image:
    """What a window shows of a page when its points are drawn."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("there is no Chromium to open the page in; install it")
    flags = ["--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--hide-scrollbars"]
    flags += ["--enable-unsafe-swiftshader", "--no-first-run", f"--user-data-dir={folder / 'profile'}"]
    flags += [f"--window-size={WINDOW[0]},{WINDOW[1]}", f"--virtual-time-budget={PATIENCE}"]
    picture = folder / "page.png"
    subprocess.run([browser, *flags, f"--screenshot={picture}", address], check=True, stderr=subprocess.DEVNULL)
    return Image.open(picture).convert("RGB")


def save(path: Path, picture: Image.Image) -> None:
    """Write a PNG, of few colours if it would be large with all."""
    with replacing_file(path) as unfinished:
        picture.save(unfinished, format="PNG", optimize=True)
        if unfinished.stat().st_size > LARGEST:
            few = picture.quantize(PALETTE, Image.Quantize.FASTOCTREE)
            few.save(unfinished, format="PNG", optimize=True)
    print(f"{path}  {picture.width} x {picture.height}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
