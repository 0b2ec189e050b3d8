"""One picture for each setting of augmentation, before and after, of a synthetic room.

python scripts/augmentation_pictures.py --out docs/images

Each is made by the code that training uses, with everything off but the one setting.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep.synthetic import make_room
from data_prep.synthetic.plan import plan_area
from pointseg.atomic import replacing_file
from pointseg.data.cloud_mixing import boxes_swapped_in, overlaid
from pointseg.data.strong import StrongConfig, strengthen
from pointseg.data.training_cloud import TrainingCloud
from pointseg.data.transforms import AugmentConfig, augment, random_origin
from pointseg.viewing.opening import cut_ceiling, cut_near_walls
from pointseg.viewing.splat import Camera, fit_camera, oblique_axes, point_size_for, render

DENSITY = 1500.0
"""Points per square metre."""

SIZE = (400, 320)
GAP, HEAD = 12, 30
VOXEL_SIZE = 0.05
DARKEST = 60
PALETTE = 96
"""Colours of a file: few enough to keep it small, enough not to be seen."""

OFF = AugmentConfig(rotate=False, scale=(1.0, 1.0), flip_x=False, jitter=0.0, color_drop=0.0, random_origin=False)
STRONG_OFF = StrongConfig(0.0, 0.0, 0.4, (), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

AUGMENTED: dict[str, tuple[AugmentConfig, int, str]] = {
    "rotate": (replace(OFF, rotate=True), 4, "rotate: true"),
    "scale": (replace(OFF, scale=(0.7, 1.3)), 3, "scale: [0.7, 1.3]"),
    "flip_x": (replace(OFF, flip_x=True), 0, "flip_x: true"),
    "flip_y": (replace(OFF, flip_y=True), 0, "flip_y: true"),
    "tilt": (replace(OFF, tilt=8.0), 0, "tilt: 8"),
    "elastic": (replace(OFF, elastic=((0.2, 0.4), (0.8, 1.6))), 0, "elastic: [[0.2, 0.4], [0.8, 1.6]]"),
    "color_contrast": (replace(OFF, color_contrast=0.6), 7, "color_contrast: 0.6"),
    "color_shift": (replace(OFF, color_shift=0.2), 5, "color_shift: 0.2"),
    "color_jitter": (replace(OFF, color_jitter=0.1), 0, "color_jitter: 0.1"),
    "color_drop": (replace(OFF, color_drop=1.0), 0, "color_drop: 1 (black, drawn in grey)"),
}
"""What to do, the seed that shows it well, and the words beside it."""

STRONG: dict[str, tuple[StrongConfig, int, str]] = {
    "block_drop": (replace(STRONG_OFF, block_drop=0.25), 0, "strong.block_drop: 0.25"),
    "strong": (StrongConfig(), 5, "strong: all defaults"),
}


SIDE = (np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), np.array([0, 1.0, 0]))
"""Right, up and forward of a view along y."""


@dataclass(frozen=True)
class Panel:
    """One of the things drawn side by side: a title, and points (N, 3) in metres with colours (N, 3) uint8. With
    ``walls`` also the walls that hide the room.
    """

    title: str
    coord: np.ndarray
    color: np.ndarray
    walls: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    room, other = open_room(0), open_room(1)
    pictures = {name: (panels, oblique_axes()) for name, panels in (single_room(room) | two_rooms(room, other)).items()}
    pictures |= {name: (panels, SIDE) for name, panels in sections(room).items()}
    for name, (panels, axes) in pictures.items():
        path = out / f"augment_{name}.png"
        with replacing_file(path) as unfinished:
            picture(panels, axes).quantize(PALETTE).save(unfinished, format="PNG", optimize=True)
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def open_room(index: int) -> TrainingCloud:
    """A room of the first area without its ceiling, its middle at the origin; ``segment`` says which room it is."""
    plan = replace(plan_area(1, 4, 0)[index], l_shaped=False, beams=0, columns=0)
    scan = make_room(plan, 0, DENSITY)
    inside = cut_ceiling(scan.coord).keep
    coord, color = augment(scan.coord[inside].astype(np.float32), scan.color[inside], OFF, np.random.default_rng(0))
    owner = np.full(len(coord), index)
    return TrainingCloud(coord, color, owner, None, floor=float(coord[:, 2].min()))


def single_room(room: TrainingCloud) -> dict[str, list[Panel]]:
    """The pictures of settings that change one scene."""
    coord, color = room.coord, room.color
    assert color is not None
    before = Panel("before", coord, color)
    pictures = {}
    for name, (config, seed, words) in AUGMENTED.items():
        moved, recolored = augment(coord, color, config, np.random.default_rng(seed))
        assert recolored is not None
        pictures[name] = [before, Panel(words, moved, recolored)]
    thin = room.thinned(0.6, np.random.default_rng(0))
    assert thin.color is not None
    pictures["point_drop"] = [before, Panel("point_drop: 0.6", thin.coord, thin.color)]
    for name, (strong, seed, words) in STRONG.items():
        _, moved, recolored = strengthen(coord, color, room.floor, strong, np.random.default_rng(seed))
        assert recolored is not None
        pictures[name] = [before, Panel(words, moved, recolored)]
    return pictures


def sections(room: TrainingCloud) -> dict[str, list[Panel]]:
    """The pictures of what is too small to see in a whole room: the foot of a wall from the side, and the voxels."""
    low, high = room.coord.min(0), room.coord.max(0)
    slab = (np.abs(room.coord - [high[0] - 0.3, 0, 0.2]) < [0.35, 0.15, 0.25]).all(1)
    coord = room.coord[slab] - np.array([high[0] - 0.5, 0, low[2]], np.float32)
    still, noisy = (augment(coord, None, replace(OFF, jitter=j), np.random.default_rng(0))[0] for j in (0.0, 0.02))
    origin = random_origin(VOXEL_SIZE, np.random.default_rng(3))
    before = on_voxels("before", coord)
    return {
        "jitter": [before, on_voxels("jitter: 0.02 (default 0.001)", coord + noisy - still)],
        "random_origin": [before, on_voxels("random_origin: true", coord + origin)],
    }


def on_voxels(title: str, coord: np.ndarray) -> Panel:
    """Points in front of a chessboard whose squares are the voxels of training."""
    x, z = np.meshgrid(np.arange(-0.2, 0.6, 0.002) + 0.001, np.arange(-0.1, 0.5, 0.002) + 0.001)
    board = np.stack([x.ravel(), np.full(x.size, 9.0), z.ravel()], 1)
    squares = np.floor(board[:, [0, 2]] / VOXEL_SIZE).astype(int).sum(1) % 2
    shades = np.array([[238, 240, 243], [205, 214, 224]], np.uint8)
    points = np.full((len(coord), 3), (40, 70, 110), np.uint8)
    return Panel(title, np.concatenate([board, coord]), np.concatenate([shades[squares], points]), walls=True)


def two_rooms(room: TrainingCloud, other: TrainingCloud) -> dict[str, list[Panel]]:
    """The pictures of mixing, also with each point in the colour of its room."""
    room, other = without_near_walls(room), without_near_walls(other)
    mixed = {
        "mix3d": overlaid(room, other),
        "cutmix": boxes_swapped_in(room, other, VOXEL_SIZE, np.random.default_rng(4)),
    }
    owners = np.array([[90, 130, 175], [225, 130, 50]], np.uint8)
    assert room.color is not None
    before = Panel("before", room.coord, room.color, walls=True)
    pictures = {}
    for name, cloud in mixed.items():
        assert cloud.color is not None
        assert cloud.segment is not None
        by_room = Panel("by scene", cloud.coord, owners[cloud.segment], walls=True)
        pictures[name] = [before, Panel(f"{name}: 1", cloud.coord, cloud.color, walls=True), by_room]
    return pictures


def without_near_walls(room: TrainingCloud) -> TrainingCloud:
    camera = fit_camera(room.coord, oblique_axes(), SIZE)
    return room.take(np.flatnonzero(cut_near_walls(room.coord, camera)))


def picture(panels: list[Panel], axes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Image.Image:
    """The panels side by side, seen by one camera along ``axes``."""
    camera = fit_camera(np.concatenate([panel.coord for panel in panels]), axes, SIZE)
    width, height = SIZE
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, HEAD + height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=17)
    for column, panel in enumerate(panels):
        x = column * (width + GAP)
        pen.text((x + width / 2, HEAD / 2), panel.title, fill=(30, 36, 44), font=font, anchor="mm")
        sheet.paste(Image.fromarray(drawn(panel, camera, point_size_for(panels[0].coord, camera))), (x, HEAD))
    return sheet


def drawn(panel: Panel, camera: Camera, point_size: float) -> np.ndarray:
    """One panel, (H, W, 3) uint8. Black is drawn as dark grey, in which shapes can be seen."""
    seen = np.ones(len(panel.coord), bool) if panel.walls else cut_near_walls(panel.coord, camera)
    return render(panel.coord[seen], panel.color[seen].clip(min=DARKEST), camera, SIZE, point_size)


if __name__ == "__main__":
    main()
