"""What the keys of a desktop view do, without any window: the state, and how each key changes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import IGNORED, Cloud
from pointseg.viewing.colors import MODES, available_modes, check_classes, colorize
from pointseg.viewing.opening import cut_ceiling

MODE_KEYS = "1234567890"
SIZES = (1.0, 20.0)  # pixels of a point
_START_SIZE = 3.0
_SHOWN_BY = {"pred": "pred", "confidence": "pred", "entropy": "pred", "pseudo": "pseudo"}
_LABELS = {"gt": "ground truth", "pred": "prediction", "pseudo": "pseudo-label", "annotated": "annotation"}
_NO_LABELS = "this cloud has no labels, so no class can be hidden"

KEYS = {
    "1 to 9, 0": "colourings, in the order listed",
    ", .": "choose the class before, the class after",
    "space": "show or hide the chosen class",
    "o": "show the chosen class only, or all",
    "c": "ceiling cut on and off",
    "x": "wrong points only",
    "+ -": "point size",
    "b": "dark background",
    "s t": "view from the side, from above",
    "p": "save the picture",
    "r": "back to the start, but for colouring and background",
    "h": "this list, and the classes",
    "q": "close",
}


@dataclass(frozen=True)
class Reaction:
    """What a window has to do after a key.

    Attributes:
        do: "points" (other points or colours), "look" (background, point size), "top", "side", "picture", "start"
            (points, look and the view from the side) or "nothing".
        say: a line for the user.
    """

    do: str
    say: str


class Controls:
    """The state of a view: colouring, hidden classes, ceiling, wrong points only, background and point size.

    Args:
        cloud: N points.
        classes: names and colours of the class ids.
        mode: the first colouring; "" for the first the cloud has.

    Raises:
        InputError: if the cloud has no points or not what ``mode`` shows, or ``classes`` does not cover its ids.
    """

    def __init__(self, cloud: Cloud, classes: Classes, mode: str = "") -> None:
        if cloud.num_points == 0:
            raise InputError(f"the cloud {cloud.name!r} has no points, so there is nothing to show.")
        check_classes(cloud, classes)
        self.modes = available_modes(cloud)
        if mode and mode not in self.modes:
            raise InputError(f"the cloud {cloud.name!r} cannot be shown as {mode!r}; it has {', '.join(self.modes)}.")
        self.cloud, self.classes = cloud, classes
        self.mode = mode or self.modes[0]
        self._opening = cut_ceiling(cloud.coord)
        self.chosen = 0
        self.dark = False
        self._start()

    def _start(self) -> None:
        self.hidden: set[int] = set()
        self.cut = self._opening.height is not None
        self.wrong_only = False
        self.size = _START_SIZE

    def press(self, key: str) -> Reaction:
        """Change the state as a key asks: a digit, a lower-case letter, "+", "-", ",", "." or " "."""
        if key in MODE_KEYS:
            return self._choose_mode(MODE_KEYS.index(key))
        actions: dict[str, Callable[[], Reaction]] = {
            ",": lambda: self._choose_class(-1),
            ".": lambda: self._choose_class(1),
            " ": self._switch_class,
            "o": self._only_class,
            "c": self._switch_ceiling,
            "x": self._switch_wrong,
            "+": lambda: self._resize(1.25),
            "-": lambda: self._resize(1 / 1.25),
            "b": self._switch_background,
            "s": lambda: Reaction("side", "from the side"),
            "t": lambda: Reaction("top", "from above"),
            "p": lambda: Reaction("picture", ""),
            "r": self._restart,
            "h": lambda: Reaction("nothing", self.help()),
        }
        return actions[key]() if key in actions else Reaction("nothing", "")

    def help(self) -> str:
        """The keys, the colourings and the classes that have points, a line each."""
        modes = [
            f"  {key}  {MODES[mode].title}{' (shown)' if mode == self.mode else ''}"
            for key, mode in zip(MODE_KEYS, self.modes, strict=False)
        ]
        keys = [f"  {key:<10} {what}" for key, what in KEYS.items()]
        return "\n".join(["keys:", *keys, "colourings:", *modes, *self._class_list()])

    def keep(self) -> np.ndarray:
        """(N,) bool: the points to show."""
        keep = self._opening.keep.copy() if self.cut else np.ones(self.cloud.num_points, dtype=bool)
        ids = None if self._by is None else getattr(self.cloud, self._by)
        error = self.cloud.error
        if ids is not None and self.hidden:
            keep &= ~np.isin(ids, list(self.hidden))
        if self.wrong_only and error is not None:
            keep &= error == 1
        return keep

    def colors(self) -> np.ndarray:
        """(N, 3) uint8 in the chosen colouring."""
        return colorize(self.cloud, self.mode, self.classes)

    def enlarged(self) -> np.ndarray:
        """(N,) bool: the points to draw larger than others, of those shown."""
        if self.mode != "annotated" or self.cloud.annotated is None:
            return np.zeros(self.cloud.num_points, dtype=bool)
        return self.keep() & (self.cloud.annotated != IGNORED)

    @property
    def _by(self) -> str | None:
        """The labels that the class switches act on: those shown, else what is known best; None without any."""
        wanted = (_SHOWN_BY.get(self.mode, "gt"), *_LABELS)
        return next((name for name in wanted if getattr(self.cloud, name) is not None), None)

    @cached_property
    def _counts(self) -> dict[str, np.ndarray]:
        """(K,) points of each class, by each of the labels there are."""
        there = {name: ids for name in _LABELS if (ids := getattr(self.cloud, name)) is not None}
        return {name: np.bincount(ids[ids >= 0], minlength=self.classes.num_classes) for name, ids in there.items()}

    def _class_list(self) -> list[str]:
        """A line for each class that has points, with its colour as web pages write it, under a heading."""
        if self._by is None:
            return []
        there = np.flatnonzero(self._counts[self._by]).tolist()
        lines = [f"  #{bytes(self.classes.colors[k]).hex()}  {self._named(k)}" for k in there]
        return [f"classes by {_LABELS[self._by]}:", *lines]

    def _choose_mode(self, place: int) -> Reaction:
        if place >= len(self.modes):
            return Reaction("nothing", f"this cloud has {len(self.modes)} colourings; h lists them")
        self.mode = self.modes[place]
        return Reaction("points", MODES[self.mode].title)

    def _choose_class(self, step: int) -> Reaction:
        if self._by is None:
            return Reaction("nothing", _NO_LABELS)
        self.chosen = (self.chosen + step) % self.classes.num_classes
        return Reaction("nothing", f"class {self._named(self.chosen)}; space shows or hides it")

    def _named(self, k: int) -> str:
        """A class, how many points it has, where annotated points are shown how many of those, and whether it shows."""
        told = [] if self._by in (None, "annotated") else [f"{self._counts[self._by][k]:,} points"]
        if "annotated" in (self._by, self.mode):
            told.append(f"{self._counts['annotated'][k]:,} annotated")
        told.append("hidden" if k in self.hidden else "shown")
        return f"{self.classes.names[k]} ({', '.join(told)})"

    def _switch_class(self) -> Reaction:
        if self._by is None:
            return Reaction("nothing", _NO_LABELS)
        self.hidden ^= {self.chosen}
        return Reaction("points", self._named(self.chosen))

    def _only_class(self) -> Reaction:
        if self._by is None:
            return Reaction("nothing", _NO_LABELS)
        others = {k for k in range(IGNORED, self.classes.num_classes) if k != self.chosen}
        self.hidden = set() if self.hidden == others else others
        return Reaction("points", f"only {self._named(self.chosen)}" if self.hidden else "all classes")

    def _switch_ceiling(self) -> Reaction:
        if self._opening.height is None:
            return Reaction("nothing", "this cloud has no ceiling to cut")
        self.cut = not self.cut
        return Reaction("points", f"cut {self._opening.height:.1f} m above the floor" if self.cut else "ceiling shown")

    def _switch_wrong(self) -> Reaction:
        if self.cloud.error is None:
            return Reaction("nothing", "what is wrong is known only with a ground truth and a prediction")
        self.wrong_only = not self.wrong_only
        return Reaction("points", "wrong points only" if self.wrong_only else "right and wrong points")

    def _resize(self, factor: float) -> Reaction:
        self.size = float(np.clip(self.size * factor, *SIZES))
        return Reaction("look", f"points of {self.size:.1f} pixels")

    def _switch_background(self) -> Reaction:
        self.dark = not self.dark
        return Reaction("look", "dark background" if self.dark else "light background")

    def _restart(self) -> Reaction:
        self._start()
        return Reaction("start", "back to the start")
