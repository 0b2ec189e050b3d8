"""Which rooms an area has, decided before anything is built.

Rooms come in blocks of four with every rare thing planned into at least one room of each block, so that a class is
missing from most rooms and yet from no area of four rooms or more. A room's plan depends on the seed, its area and
its place in the area alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK = 4
TYPES = ("office", "conferenceRoom", "hallway", "lobby", "lounge", "storage", "copyRoom", "pantry")

# metres: shorter side, longer side
SIZES: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "office": ((3.0, 4.2), (3.8, 5.6)),
    "conferenceRoom": ((3.9, 5.2), (5.2, 7.0)),
    "hallway": ((1.8, 2.4), (7.0, 10.0)),
    "lobby": ((4.2, 5.4), (5.4, 7.4)),
    "lounge": ((4.0, 5.2), (4.8, 6.6)),
    "storage": ((2.8, 3.8), (3.6, 5.2)),
    "copyRoom": ((2.8, 3.8), (3.6, 5.0)),
    "pantry": ((3.4, 4.4), (4.2, 5.6)),
}
CAN_BEND = ("office", "hallway", "lobby", "lounge", "pantry")


@dataclass(frozen=True)
class RoomPlan:
    """What one room will be.

    Attributes:
        area: Area number, from 1.
        index: Place in the area, from 0.
        kind: One of ``TYPES``.
        number: The n of its folder ``<kind>_<n>``, from 1.
        l_shaped: Whether a corner is cut away.
        columns: How many columns are tried.
        beams: How many beams.
        boards: How many boards.
        sofas: How many sofas.
    """

    area: int
    index: int
    kind: str
    number: int
    l_shaped: bool
    columns: int
    beams: int
    boards: int
    sofas: int

    @property
    def folder(self) -> str:
        """Path of the room below the output root."""
        return f"Area_{self.area}/{self.kind}_{self.number}"


def plan_area(area: int, rooms: int, seed: int) -> list[RoomPlan]:
    """Plan the rooms of one area.

    Args:
        area: Area number, from 1.
        rooms: How many.
        seed: The data set's seed.
    """
    plans: list[RoomPlan] = []
    counts = dict.fromkeys(TYPES, 0)
    for index in range(rooms):
        block = _block(area, index // BLOCK, seed)[index % BLOCK]
        counts[str(block["kind"])] += 1
        plans.append(RoomPlan(area=area, index=index, number=counts[str(block["kind"])], **block))
    return plans


def _block(area: int, block: int, seed: int) -> list[dict]:
    rng = np.random.default_rng(np.random.SeedSequence([seed, area, block, 1]))
    passage = str(rng.choice(["hallway", "lobby"], p=[0.7, 0.3]))
    other = str(rng.choice(["lounge", "storage", "copyRoom", "pantry"], p=[0.4, 0.2, 0.2, 0.2]))
    kinds = ["office", "conferenceRoom", passage, other]
    column_room, beam_room = (int(rng.integers(BLOCK)) for _ in range(2))
    can_bend = [place for place, kind in enumerate(kinds) if kind in CAN_BEND]
    bent = int(rng.choice(can_bend)) if rng.random() < 0.7 else -1
    soft = [place for place, kind in enumerate(kinds) if kind in ("lobby", "lounge")] or [0]
    plans = []
    for place, kind in enumerate(kinds):
        board_odds = {"conferenceRoom": 1.0, "office": 0.5, "hallway": 0.3, "copyRoom": 0.4}.get(kind, 0.1)
        plans.append(
            {
                "kind": kind,
                "l_shaped": place == bent,
                "columns": int(place == column_room) + int(rng.random() < 0.15),
                "beams": int(place == beam_room) + int(rng.random() < 0.15),
                "boards": int(rng.random() < board_odds),
                "sofas": int(place in soft) + int(kind == "lounge") * int(rng.random() < 0.4),
            }
        )
    return [plans[place] for place in rng.permutation(BLOCK)]
