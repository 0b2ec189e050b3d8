"""A small cloud to turn in TensorBoard's mesh panel."""

from __future__ import annotations

import numpy as np

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import colorize
from pointseg.viewing.opening import cut_ceiling
from pointseg.viewing.thinning import even_steps, morton_codes

_LONGEST = 10.0  # of a side, in the panel's units: between its camera's near and far planes (0.1 and 1000)


def mesh_thumbnail(
    cloud: Cloud, classes: Classes, mode: str, max_points: int = 20_000
) -> tuple[np.ndarray, np.ndarray]:
    """Points and colours for ``SummaryWriter.add_mesh``.

    The panel's camera has y up and looks along -z: x stays, height becomes y, and what was far along y lies behind.
    A room's ceiling is cut away; the rest is centred, scaled to a longest side of 10 and thinned evenly in space.

    Args:
        cloud: N points.
        classes: names and colours of the class ids.
        mode: a colouring of ``pointseg.viewing.colors.MODES``.
        max_points: the largest number of points; an event file holds 15 bytes for each.

    Returns:
        (1, n, 3) float32 vertices and (1, n, 3) uint8 colours.

    Raises:
        InputError: if the cloud has no points or not what the mode shows, ``classes`` does not cover its ids or
            ``max_points`` is below 1.
    """
    if cloud.num_points == 0:
        raise InputError(f"the cloud {cloud.name!r} has no points, so there is nothing to show.")
    if max_points < 1:
        raise InputError(f"max_points must be at least 1, got {max_points}.")
    colors = colorize(cloud, mode, classes)
    kept = np.flatnonzero(cut_ceiling(cloud.coord).keep)
    if len(kept) > max_points:
        along = kept[np.argsort(morton_codes(cloud.coord[kept]), kind="stable")]
        kept = along[even_steps(len(along), max_points)]
    coord = cloud.coord[kept].astype(np.float64)
    low, high = coord.min(axis=0), coord.max(axis=0)
    coord = (coord - (low + high) / 2) * (_LONGEST / max(float((high - low).max()), 1e-9))
    vertices = np.stack([coord[:, 0], coord[:, 2], -coord[:, 1]], axis=1).astype(np.float32)
    return vertices[None], colors[kept][None]
