"""A cloud with whatever is known about its points: the one thing every export and view takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.errors import InputError

IGNORED = -1
_MAX_ID = np.iinfo(np.int16).max
_IDS = ("gt", "pred", "pseudo", "annotated")
_LONGEST = 1.001  # a component of a normal; files round
COARSEST_STEP = 1e-3
"""Metres a float32 may be off before a measurement shows it."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points of one scene with their colours and labels; checked on construction, absent parts are ``None``.

    Attributes:
        coord: (N, 3) float32 metres, relative to ``offset``.
        color: (N, 3) uint8 RGB.
        gt: (N,) int16 true class, -1 where the point is ignored.
        pred: (N,) int16 predicted class, -1 where nothing was predicted.
        confidence: (N,) float32 in [0, 1], the probability of the predicted class.
        entropy: (N,) float32 nats, of the predicted distribution.
        pseudo: (N,) int16 pseudo-label that a method gives the point, -1 where it gives none.
        annotated: (N,) int16 class the point was annotated with for training, -1 where it was not.
        normal: (N, 3) float32 surface normals, of length 1 or 0.
        name: the scene's name as shown to people.
        offset: metres (x, y, z) to add to ``coord`` to come back to the scan's own coordinates.
        whole: (P, 3) int64 true class, predicted class (-1: none) and number of points, of all points of a scene that
            this cloud is a share of; counts and scores are then these. ``None`` if the cloud is the scene.
        even: (N,) bool, of such a cloud the points that are an even share of the scene, where others are held beside
            them because they matter. ``None`` if all are.

    Raises:
        InputError: if the parts disagree in length or hold values outside the ranges above.
    """

    coord: np.ndarray
    color: np.ndarray | None = None
    gt: np.ndarray | None = None
    pred: np.ndarray | None = None
    confidence: np.ndarray | None = None
    entropy: np.ndarray | None = None
    pseudo: np.ndarray | None = None
    annotated: np.ndarray | None = None
    normal: np.ndarray | None = None
    name: str = ""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    whole: np.ndarray | None = None
    even: np.ndarray | None = None

    def __post_init__(self) -> None:
        coord = _coordinates(self.coord)
        object.__setattr__(self, "coord", coord)
        n = len(coord)
        if self.color is not None:
            object.__setattr__(self, "color", _colors(self.color, n))
        for part in _IDS:
            ids = getattr(self, part)
            if ids is not None:
                object.__setattr__(self, part, _class_ids(ids, n, part))
        if self.confidence is not None:
            object.__setattr__(self, "confidence", _floats(self.confidence, (n,), "confidence", 0, 1))
        if self.entropy is not None:
            object.__setattr__(self, "entropy", _floats(self.entropy, (n,), "entropy", 0, np.inf))
        if self.normal is not None:
            object.__setattr__(self, "normal", _floats(self.normal, (n, 3), "normal", -_LONGEST, _LONGEST))
        if self.even is not None and (self.even.shape != (n,) or self.even.dtype != bool):
            raise InputError(f"even must be bool of shape ({n},), got {self.even.dtype} of shape {self.even.shape}.")
        offset = np.asarray(self.offset, dtype=np.float64)
        if offset.shape != (3,) or not np.isfinite(offset).all():
            raise InputError(f"offset must be three finite numbers (metres), got {self.offset!r}.")
        object.__setattr__(self, "offset", (float(offset[0]), float(offset[1]), float(offset[2])))

    @property
    def num_points(self) -> int:
        """N."""
        return len(self.coord)

    @property
    def total_points(self) -> int:
        """Of the scene: more than N where the cloud is a share of it."""
        return self.num_points if self.whole is None else int(self.whole[:, 2].sum())

    @property
    def reach(self) -> float:
        """Metres from the offset to the farthest coordinate, along an axis."""
        return float(np.abs(self.coord).max(initial=0))

    @property
    def step(self) -> float:
        """Metres to which the farthest coordinate is held: the distance between two float32 there."""
        return float(np.spacing(np.float32(self.reach)))

    @property
    def error(self) -> np.ndarray | None:
        """(N,) int8: 1 wrong, 0 right, -1 where there is no truth; None without both ``gt`` and ``pred``.

        A point with a true class and no prediction is wrong, as it is in the scores.
        """
        if self.gt is None or self.pred is None:
            return None
        wrong = (self.gt != self.pred).astype(np.int8)
        wrong[self.gt == IGNORED] = -1
        return wrong

    @property
    def wrong_share(self) -> float | None:
        """Wrong points of the scene as a share of those with a true class (0 without any); None without ``error``."""
        error = self.error
        if error is None:
            return None
        if self.whole is None:
            wrong, known = int((error == 1).sum()), int((error >= 0).sum())
        else:
            gt, pred, points = self.whole[self.whole[:, 0] != IGNORED].T
            wrong, known = int(points[gt != pred].sum()), int(points.sum())
        return wrong / max(known, 1)

    @property
    def num_classes(self) -> int:
        """The smallest number of classes that covers every id in the cloud; 0 without any."""
        parts = [ids for ids in (getattr(self, part) for part in _IDS) if ids is not None and len(ids)]
        if self.whole is not None:
            parts.append(self.whole[:, :2])
        return max((int(ids.max()) + 1 for ids in parts), default=0)

    def take(self, index: np.ndarray) -> Cloud:
        """The cloud of the points ``index`` (M,) int64 or a boolean mask (N,), in that order; a scene of its own."""

        def pick(part: np.ndarray | None) -> np.ndarray | None:
            return None if part is None else part[index]

        return Cloud(
            coord=self.coord[index],
            color=pick(self.color),
            gt=pick(self.gt),
            pred=pick(self.pred),
            confidence=pick(self.confidence),
            entropy=pick(self.entropy),
            pseudo=pick(self.pseudo),
            annotated=pick(self.annotated),
            normal=pick(self.normal),
            name=self.name,
            offset=self.offset,
        )


def _coordinates(coord: np.ndarray) -> np.ndarray:
    coord = np.asarray(coord)
    if coord.ndim != 2 or coord.shape[1] != 3 or coord.dtype.kind not in "fiu":
        raise InputError(f"coord must be numbers of shape (N, 3), got {coord.dtype} of shape {coord.shape}.")
    bad = int((~np.isfinite(coord).all(axis=1)).sum())
    if bad:
        raise InputError(f"coord holds {bad} points that are not finite; drop them before viewing.")
    small = np.ascontiguousarray(coord, dtype=np.float32)
    if coord.dtype.itemsize > 4 and len(coord):
        far = float(np.abs(coord).max())
        if np.spacing(np.float32(far)) > COARSEST_STEP:
            raise InputError(
                f"coord reaches {far:g} m, where float32 cannot hold a millimetre; subtract the scene's offset "
                "from coord and give it as offset."
            )
    return small


def _colors(color: np.ndarray, n: int) -> np.ndarray:
    color = np.asarray(color)
    if color.shape != (n, 3) or color.dtype != np.uint8:
        raise InputError(f"color must be uint8 of shape ({n}, 3), got {color.dtype} of shape {color.shape}.")
    return np.ascontiguousarray(color)


def _class_ids(ids: np.ndarray, n: int, part: str) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.shape != (n,) or ids.dtype.kind not in "iu":
        raise InputError(f"{part} must be integers of shape ({n},), got {ids.dtype} of shape {ids.shape}.")
    if n and (int(ids.min()) < IGNORED or int(ids.max()) > _MAX_ID):
        raise InputError(
            f"{part} holds class ids from {ids.min()} to {ids.max()}; allowed are -1 (ignored) to {_MAX_ID}."
        )
    return np.ascontiguousarray(ids, dtype=np.int16)


def _floats(values: np.ndarray, shape: tuple[int, ...], part: str, low: float, high: float) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != shape or values.dtype.kind != "f":
        raise InputError(f"{part} must be floats of shape {shape}, got {values.dtype} of shape {values.shape}.")
    # Written so that NaN is refused too.
    if values.size and not (values.min() >= low and values.max() <= high and np.isfinite(values.max())):
        limits = f"in [{low:g}, {high:g}]" if np.isfinite(high) else f"finite and at least {low:g}"
        first = tuple(np.argwhere(~((values >= low) & (values <= high) & np.isfinite(values)))[0])
        raise InputError(f"{part} is {values[first]:g} at point {first[0]} (the first is 0); it must be {limits}.")
    return np.ascontiguousarray(values, dtype=np.float32)
