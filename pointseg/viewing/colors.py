"""What a point's colour can show: a table of modes, each a function of the cloud and the classes."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import IGNORED, Cloud

IGNORED_COLOR = (128, 128, 128)
RIGHT_COLOR = (190, 200, 208)
WRONG_COLOR = (220, 38, 38)

# Colour ramps as (position, RGB) stops, joined by straight lines: low to high reads dark to light in both.
CONFIDENCE_RAMP = ((0.0, (72, 12, 84)), (0.35, (54, 92, 141)), (0.7, (40, 170, 130)), (1.0, (250, 225, 60)))
HEIGHT_RAMP = ((0.0, (38, 50, 110)), (0.3, (44, 130, 160)), (0.6, (130, 190, 120)), (1.0, (250, 240, 190)))


@dataclass(frozen=True)
class Mode:
    """A way to colour a cloud: its title, the parts of the cloud it needs, and the function (N,) -> (N, 3) uint8."""

    title: str
    needs: tuple[str, ...]
    paint: Callable[[Cloud, Classes], np.ndarray]


def colorize(cloud: Cloud, mode: str, classes: Classes) -> np.ndarray:
    """Colours of every point in one of the ``MODES``.

    Args:
        cloud: N points.
        mode: a name in ``MODES``.
        classes: names and colours of the class ids.

    Returns:
        (N, 3) uint8 RGB.

    Raises:
        InputError: if there is no such mode, the cloud lacks what it shows, or ``classes`` lacks one of its ids.
    """
    if mode not in available_modes(cloud):
        raise InputError(f"the cloud {cloud.name!r} cannot be shown as {mode!r}; it has {available_modes(cloud)}.")
    return MODES[mode].paint(cloud, classes)


def available_modes(cloud: Cloud) -> list[str]:
    """The names of the modes this cloud has the data for, in the order of ``MODES``."""
    return [name for name, mode in MODES.items() if all(getattr(cloud, part) is not None for part in mode.needs)]


def class_colors(ids: np.ndarray, classes: Classes) -> np.ndarray:
    """(N, 3) uint8 colours of class ids (N,), grey where the id is -1."""
    table = np.concatenate([classes.colors, np.array([IGNORED_COLOR], dtype=np.uint8)])
    return table[ids]


def check_classes(cloud: Cloud, classes: Classes) -> None:
    """Refuse classes that do not cover the cloud's ids.

    Raises:
        InputError: naming the largest id and the number of classes.
    """
    if cloud.num_classes > len(classes.names):
        raise InputError(
            f"the cloud {cloud.name!r} holds class id {cloud.num_classes - 1} but {classes.dataset!r} names only "
            f"{len(classes.names)} classes; name the class file the labels were made with (--classes)."
        )


def numbered_classes(count: int) -> Classes:
    """Classes for ids nothing is known about: named "class 0" and on, colours spread by the golden angle."""
    colors = np.zeros((count, 3), dtype=np.uint8)
    for k in range(count):
        shade = colorsys.hsv_to_rgb((k * 0.61803398875) % 1.0, (0.75, 0.5, 0.9)[k % 3], (0.95, 0.8, 0.6)[(k // 3) % 3])
        colors[k] = [round(255 * channel) for channel in shade]
    names = tuple(f"class {k}" for k in range(count))
    return Classes(dataset="numbered", names=names, colors=colors, source_ids=tuple((k,) for k in range(count)))


def ramp(values: np.ndarray, stops: tuple[tuple[float, tuple[int, int, int]], ...]) -> np.ndarray:
    """(N, 3) uint8 colours of values (N,) in [0, 1] along a colour ramp."""
    at = [position for position, _ in stops]
    channels = [np.interp(values, at, [color[i] for _, color in stops]) for i in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _rgb(cloud: Cloud, classes: Classes) -> np.ndarray:
    assert cloud.color is not None
    return cloud.color.copy()


def _of_classes(part: str) -> Callable[[Cloud, Classes], np.ndarray]:
    """The painter of a part that holds class ids."""

    def paint(cloud: Cloud, classes: Classes) -> np.ndarray:
        check_classes(cloud, classes)
        return class_colors(getattr(cloud, part), classes)

    return paint


def _error(cloud: Cloud, classes: Classes) -> np.ndarray:
    assert cloud.error is not None
    return np.array([RIGHT_COLOR, WRONG_COLOR, IGNORED_COLOR], dtype=np.uint8)[cloud.error]


def _confidence(cloud: Cloud, classes: Classes) -> np.ndarray:
    assert cloud.confidence is not None
    return ramp(cloud.confidence, CONFIDENCE_RAMP)


def _entropy(cloud: Cloud, classes: Classes) -> np.ndarray:
    """Sure is light, as in confidence; the darkest colour is the entropy of even chances for all classes."""
    assert cloud.entropy is not None
    most = float(np.log(max(classes.num_classes, 2)))
    return ramp(1 - np.minimum(cloud.entropy / most, 1), CONFIDENCE_RAMP)


def _normal(cloud: Cloud, classes: Classes) -> np.ndarray:
    """x, y and z of the normal as red, green and blue, -1 to 1 as 0 to 255."""
    assert cloud.normal is not None
    return np.rint((np.clip(cloud.normal, -1, 1) + 1) * 127.5).astype(np.uint8)


def _annotated(cloud: Cloud, classes: Classes) -> np.ndarray:
    """Annotated points in their class's colour on a pale grey copy of the scene."""
    assert cloud.annotated is not None
    check_classes(cloud, classes)
    if cloud.color is None:
        pale = np.full((cloud.num_points, 3), 215, dtype=np.uint8)
    else:
        luminance = cloud.color.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        pale = np.repeat((150 + luminance * 0.35).astype(np.uint8)[:, None], 3, axis=1)
    chosen = cloud.annotated != IGNORED
    pale[chosen] = class_colors(cloud.annotated[chosen], classes)
    return pale


def _height(cloud: Cloud, classes: Classes) -> np.ndarray:
    if cloud.num_points == 0:
        return np.zeros((0, 3), dtype=np.uint8)
    z = cloud.coord[:, 2]
    low, high = float(z.min()), float(z.max())
    return ramp((z - low) / max(high - low, 1e-9), HEIGHT_RAMP)


MODES: dict[str, Mode] = {
    "rgb": Mode("colour", ("color",), _rgb),
    "gt": Mode("ground truth", ("gt",), _of_classes("gt")),
    "pred": Mode("prediction", ("pred",), _of_classes("pred")),
    "error": Mode("error", ("gt", "pred"), _error),
    "confidence": Mode("confidence", ("confidence",), _confidence),
    "entropy": Mode("entropy", ("entropy",), _entropy),
    "pseudo": Mode("pseudo-label", ("pseudo",), _of_classes("pseudo")),
    "annotated": Mode("annotated points", ("annotated",), _annotated),
    "height": Mode("height", (), _height),
    "normal": Mode("normal", ("normal",), _normal),
}
