"""What the settings of methods may be; a refusal names the method, the setting, its value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pointseg.errors import InputError


@dataclass(frozen=True)
class SettingChecks:
    """Checks for the ``__post_init__`` of a method's settings; each raises ``InputError``.

    Attributes:
        owner: the method's name in a sentence.
        config: the settings.
    """

    owner: str
    config: Any

    def that(self, name: str, holds: bool, allowed: str) -> None:
        """Refuse a setting for a reason of its own."""
        if not holds:
            value = getattr(self.config, name)
            raise InputError(f"{self.owner}'s {name} is {value!r}; it must be {allowed}")

    def at_least(self, low: float, *names: str) -> None:
        """``low`` or more, and finite."""
        for name in names:
            self.that(name, low <= getattr(self.config, name) < math.inf, f"{low} or more")

    def above_zero(self, *names: str) -> None:
        """More than 0, and finite."""
        for name in names:
            self.that(name, 0 < getattr(self.config, name) < math.inf, "above 0")

    def below_one(self, *names: str) -> None:
        """0 to less than 1, as a momentum."""
        for name in names:
            self.that(name, 0 <= getattr(self.config, name) < 1, "at least 0 and below 1")

    def shares(self, *names: str) -> None:
        """0 to 1."""
        for name in names:
            self.that(name, 0 <= getattr(self.config, name) <= 1, "a share, 0 to 1")

    def one_of(self, allowed: Collection[str], name: str) -> None:
        """One of some words."""
        self.that(name, getattr(self.config, name) in allowed, f"one of {', '.join(allowed)}")
