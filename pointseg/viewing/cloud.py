"""A cloud with whatever is known about its points: the one thing every export and view takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.errors import InputError

IGNORED = -1
_MAX_ID = np.iinfo(np.int16).max
_LOST_PRECISION = 1e-3  # metres a float32 may be off before a picture or a measurement shows it


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points of one scene with their colours and labels; checked on construction, absent parts are ``None``.

    Attributes:
        coord: (N, 3) float32 metres, relative to ``offset``.
        color: (N, 3) uint8 RGB.
        gt: (N,) int16 true class, -1 where the point is ignored.
        pred: (N,) int16 predicted class, -1 where nothing was predicted.
        confidence: (N,) float32 in [0, 1], the probability of the predicted class.
        annotated: (N,) int16 class the point was annotated with for training, -1 where it was not.
        name: the scene's name as shown to people.
        offset: metres (x, y, z) to add to ``coord`` to come back to the scan's own coordinates.

    Raises:
        InputError: if the parts disagree in length or hold values outside the ranges above.
    """

    coord: np.ndarray
    color: np.ndarray | None = None
    gt: np.ndarray | None = None
    pred: np.ndarray | None = None
    confidence: np.ndarray | None = None
    annotated: np.ndarray | None = None
    name: str = ""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        coord = _coordinates(self.coord)
        object.__setattr__(self, "coord", coord)
        n = len(coord)
        if self.color is not None:
            object.__setattr__(self, "color", _colors(self.color, n))
        for part in ("gt", "pred", "annotated"):
            ids = getattr(self, part)
            if ids is not None:
                object.__setattr__(self, part, _class_ids(ids, n, part))
        if self.confidence is not None:
            object.__setattr__(self, "confidence", _confidences(self.confidence, n))
        offset = np.asarray(self.offset, dtype=np.float64)
        if offset.shape != (3,) or not np.isfinite(offset).all():
            raise InputError(f"offset must be three finite numbers (metres), got {self.offset!r}.")
        object.__setattr__(self, "offset", (float(offset[0]), float(offset[1]), float(offset[2])))

    @property
    def num_points(self) -> int:
        """N."""
        return len(self.coord)

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
    def num_classes(self) -> int:
        """The smallest number of classes that covers every id in the cloud; 0 without any."""
        parts = [ids for ids in (self.gt, self.pred, self.annotated) if ids is not None and len(ids)]
        return max((int(ids.max()) + 1 for ids in parts), default=0)

    def take(self, index: np.ndarray) -> Cloud:
        """The cloud of the points ``index`` (M,) int64 or a boolean mask (N,), in that order."""

        def pick(part: np.ndarray | None) -> np.ndarray | None:
            return None if part is None else part[index]

        return Cloud(
            coord=self.coord[index],
            color=pick(self.color),
            gt=pick(self.gt),
            pred=pick(self.pred),
            confidence=pick(self.confidence),
            annotated=pick(self.annotated),
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
        if np.spacing(np.float32(far)) > _LOST_PRECISION:
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


def _confidences(confidence: np.ndarray, n: int) -> np.ndarray:
    confidence = np.asarray(confidence)
    if confidence.shape != (n,) or confidence.dtype.kind != "f":
        raise InputError(
            f"confidence must be floats of shape ({n},), got {confidence.dtype} of shape {confidence.shape}."
        )
    if n and not (confidence.min() >= 0 and confidence.max() <= 1):
        raise InputError(
            f"confidence goes from {confidence.min():g} to {confidence.max():g}; it must be a probability in [0, 1]."
        )
    return np.ascontiguousarray(confidence, dtype=np.float32)
