"""Pictures of points from numpy alone: an exact z-buffer of square-pixel discs, and shading from its depths.

Points are orthographically projected, so one pixel is the same number of metres everywhere and a scale bar is true.
Every point is a disc of one size; the nearest disc over a pixel wins. Which point each pixel shows is found once per
camera and coloured as often as there are colourings (deferred shading).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLE = 2
LARGEST_POINT = 12.0  # pixels
_EDL_STRENGTH = 3.0
_EDL_RINGS = (1, 2)  # pixels of the supersampled picture
_RIM = (30, 36, 44)


@dataclass(frozen=True)
class Camera:
    """An orthographic camera: unit axes in world coordinates and the world point at the picture's middle.

    Attributes:
        right: (3,) world direction of growing columns.
        up: (3,) world direction of falling rows.
        forward: (3,) viewing direction.
        center: (3,) metres.
        scale: metres per picture pixel.
    """

    right: np.ndarray
    up: np.ndarray
    forward: np.ndarray
    center: np.ndarray
    scale: float


@dataclass(frozen=True)
class Raster:
    """What each pixel of the supersampled picture shows.

    Attributes:
        index: (H, W) int64 point, -1 where there is none.
        depth: (H, W) float32 metres along the viewing direction, infinite where there is no point.
    """

    index: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class Marks:
    """Points to draw on top of a picture: discs with a dark rim, and rings for those that something hides.

    Attributes:
        row, column: (A,) int64 pixels of the supersampled picture; hidden points first, then the nearest last.
        rgb: (A, 3) uint8.
        seen: (A,) bool, False where hidden.
        diameter: picture pixels, rim included.
    """

    row: np.ndarray
    column: np.ndarray
    rgb: np.ndarray
    seen: np.ndarray
    diameter: float

    def take(self, index: np.ndarray) -> Marks:
        """Those at ``index``, integers or (A,) bool."""
        return Marks(self.row[index], self.column[index], self.rgb[index], self.seen[index], self.diameter)


def top_axes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, up and forward of a view straight down: x to the right, y upwards."""
    return np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0, 0, -1.0])


def oblique_axes(azimuth: float = 35.0, elevation: float = 40.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, up and forward of a view from above: degrees the camera is turned from -y towards -x, and raised."""
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    forward = np.array([np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e)])
    right = np.array([np.cos(a), -np.sin(a), 0.0])
    return right, np.cross(right, forward), forward


def view_bounds(coord: np.ndarray, axes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest (right, up, forward) in metres a picture should show of ``coord`` (N, 3).

    That is everything, unless the outermost 0.05 % of the points would stretch a side by more than a tenth: scans
    hold stray points far outside, and one of them must not shrink the scene.
    """
    local = coord.astype(np.float64) @ np.stack(axes, axis=1)
    low, high = np.percentile(local, [0.05, 99.95], axis=0)
    slack = 0.1 * (high - low)
    return np.maximum(local.min(axis=0), low - slack), np.minimum(local.max(axis=0), high + slack)


def fit_camera(
    coord: np.ndarray, axes: tuple[np.ndarray, np.ndarray, np.ndarray], size: tuple[int, int], margin: float = 0.03
) -> Camera:
    """The camera along ``axes`` that shows the ``view_bounds`` of ``coord`` (N, 3) in ``size`` = (width, height)."""
    right, up, forward = axes
    if len(coord) == 0:
        return Camera(right, up, forward, np.zeros(3), 1.0)
    low, high = view_bounds(coord, axes)
    extent = np.maximum(high - low, 1e-6)
    scale = max(extent[0] / size[0], extent[1] / size[1]) / (1 - 2 * margin)
    return Camera(right, up, forward, np.stack(axes, axis=1) @ ((low + high) / 2), float(scale))


def rasterize(coord: np.ndarray, camera: Camera, size: tuple[int, int], point_size: float) -> Raster:
    """Find the nearest point over every pixel.

    Args:
        coord: (N, 3) metres.
        camera: the view.
        size: width and height of the picture in pixels; the raster is ``SUPERSAMPLE`` times that.
        point_size: diameter of a point in picture pixels.
    """
    width, height = size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE
    row, column, away = _project(coord, camera, (width, height))
    inside = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))
    # Far points first: numpy keeps the last value written to a repeated index, so the nearest point stays.
    order = inside[np.argsort(-away[inside], kind="stable")]
    rank = np.full((height, width), -1, dtype=np.int32)
    rank[row[order], column[order]] = np.arange(len(order))
    rank = _grow(rank, point_size * SUPERSAMPLE / 2)
    # The last entries stand for pixels without a point, whose rank is -1.
    index = np.append(order, -1)[rank]
    depth = np.append(away[order], np.inf).astype(np.float32)[rank]
    return Raster(index, depth)


def find_marks(
    raster: Raster, coord: np.ndarray, rgb: np.ndarray, camera: Camera, diameter: float, drawn: np.ndarray
) -> Marks:
    """Where the points ``coord`` (A, 3) with colours ``rgb`` (A, 3) lie in ``raster`` of ``camera``, hidden or not.

    A point counts as hidden when the picture leaves it out (``drawn`` (A,) bool is False), and when something lies
    nearer by more than the disc's radius at its pixel: points of its own surface never hide it, however slanted.
    Points outside the picture are left out.
    """
    height, width = raster.depth.shape
    row, column, away = _project(coord, camera, (width, height))
    inside = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))
    slack = camera.scale * diameter / 2
    seen = np.zeros(len(coord), dtype=bool)
    seen[inside] = drawn[inside] & (away[inside] <= raster.depth[row[inside], column[inside]] + slack)
    order = inside[np.lexsort((-away[inside], seen[inside]))]
    return Marks(row[order], column[order], rgb[order], seen[order], diameter)


def paint(
    raster: Raster,
    rgb: np.ndarray,
    background: tuple[int, int, int] = (255, 255, 255),
    marks: Marks | None = None,
) -> np.ndarray:
    """The finished picture (H, W, 3) uint8 of ``raster`` with point colours ``rgb`` (N, 3) uint8, shaded by depth."""
    table = np.concatenate([rgb, np.array([background], dtype=np.uint8)])
    color = table[raster.index].astype(np.float32) * depth_shade(raster.depth)[..., None]
    height, width = raster.index.shape
    fine = Image.fromarray(np.rint(color).astype(np.uint8))
    if marks is not None:
        _draw_marks(fine, marks)
    return np.asarray(fine.resize((width // SUPERSAMPLE, height // SUPERSAMPLE), Image.Resampling.BOX))


def render(coord: np.ndarray, rgb: np.ndarray, camera: Camera, size: tuple[int, int], point_size: float) -> np.ndarray:
    """One picture (H, W, 3) uint8 of points (N, 3) with colours (N, 3) uint8; see :func:`rasterize`."""
    return paint(rasterize(coord, camera, size, point_size), rgb)


def depth_shade(depth: np.ndarray) -> np.ndarray:
    """Brightness (H, W) float32 in (0, 1] that darkens pixels lying behind their neighbours.

    The idea is eye-dome lighting (Boucheny 2009, PhD thesis, Grenoble): no normals, only the depth buffer. Depth
    differences count relative to the spread of depths, so rooms and city blocks are shaded alike.
    """
    seen = np.isfinite(depth)
    if not seen.any():
        return np.ones_like(depth)
    low, high = np.percentile(depth[seen], [2, 98])
    unit = max(float(high - low), 1e-6)
    height, width = depth.shape
    edge = max(_EDL_RINGS)
    padded = np.pad(depth, edge, constant_values=np.inf)
    response = np.zeros_like(depth)
    count = 0
    for ring in _EDL_RINGS:
        for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            beside = padded[edge + ring * dr :, edge + ring * dc :][:height, :width]
            nearer = np.where(seen & np.isfinite(beside), depth - np.where(np.isfinite(beside), beside, 0), 0) / unit
            response += np.clip(nearer, 0, 0.2)
            count += 1
    return np.where(seen, np.exp(-_EDL_STRENGTH * 5 * response / count), 1).astype(np.float32)


def point_size_for(coord: np.ndarray, camera: Camera, largest: float = LARGEST_POINT) -> float:
    """A point diameter in picture pixels at which surfaces close: 2.6 times the typical spacing of points.

    The spacing is measured as the area that the points cover, on a coarse grid of the picture, per visible point.
    """
    if len(coord) == 0:
        return 1.0
    local = (coord - camera.center) @ np.stack([camera.right, camera.up], axis=1) / camera.scale
    cell = 12
    keys = np.floor(local / cell).astype(np.int64)
    counts = np.unique(keys[:, 0] * 1_000_003 + keys[:, 1], return_counts=True)[1]
    spacing = cell / np.sqrt(np.percentile(counts, 30))
    return float(np.clip(2.6 * spacing, 1.0, largest))


def _project(coord: np.ndarray, camera: Camera, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column (N,) int64 in the supersampled picture of ``size`` = (width, height), and depth (N,) metres."""
    local = (coord - camera.center) @ np.stack([camera.right, camera.up, camera.forward], axis=1)
    pixel = local[:, :2] / (camera.scale / SUPERSAMPLE)
    column = np.floor(pixel[:, 0] + size[0] / 2).astype(np.int64)
    row = np.floor(size[1] / 2 - pixel[:, 1]).astype(np.int64)
    return row, column, local[:, 2]


def _draw_marks(fine: Image.Image, marks: Marks) -> None:
    pen = ImageDraw.Draw(fine)
    radius = marks.diameter * SUPERSAMPLE / 2
    rim = max(1, round(radius / 4))
    places = zip(marks.row.tolist(), marks.column.tolist(), strict=True)
    for (row, column), color, seen in zip(places, marks.rgb.tolist(), marks.seen.tolist(), strict=True):
        corners = (column - radius, row - radius, column + radius, row + radius)
        if seen:
            pen.ellipse(corners, fill=tuple(color), outline=_RIM, width=rim)
        else:
            # A dark ring below a narrower one of the class: bright colours stand out from a pale scene too.
            pen.ellipse(corners, outline=_RIM, width=2 * rim + 1)
            inner = (corners[0] + rim / 2, corners[1] + rim / 2, corners[2] - rim / 2, corners[3] - rim / 2)
            pen.ellipse(inner, outline=tuple(color), width=rim + 1)


def _grow(rank: np.ndarray, radius: float) -> np.ndarray:
    """Every lit pixel as a disc: for each pixel the largest rank (H, W) int32 within ``radius`` pixels.

    Exact, because a point hidden at its own pixel is hidden over its whole disc. A disc is a stack of horizontal runs;
    the largest value of a run is that of two overlapping runs whose length is a power of two.
    """
    reach = int(radius)
    height, width = rank.shape
    runs = [np.pad(rank, ((0, 0), (reach, reach)), constant_values=-1)]
    while 2 ** len(runs) <= 2 * reach + 1:
        shorter, step = runs[-1], 2 ** (len(runs) - 1)
        longer = shorter.copy()
        np.maximum(shorter[:, :-step], shorter[:, step:], out=longer[:, :-step])
        runs.append(longer)
    grown = rank.copy()
    for dr in range(min(reach, height - 1) + 1):
        half = int(np.sqrt(radius * radius - dr * dr))
        power = (2 * half + 1).bit_length() - 1
        first = runs[power][:, reach - half :][:, :width]
        second = runs[power][:, reach + half + 1 - 2**power :][:, :width]
        run = np.maximum(first, second)
        for to, source in ((grown[dr:], run[: height - dr]), (grown[: height - dr], run[dr:])):
            np.maximum(to, source, out=to)
    return grown
