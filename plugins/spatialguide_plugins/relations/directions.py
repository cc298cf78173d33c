"""Spatial relations: the four directions, support, and nearness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spatialguide.contracts import DirectionalPredicate, Predicate
from spatialguide.hookspecs import hookimpl


@dataclass(frozen=True)
class Beside:
    """Subject and ground side by side, in either order: the InfSplign reference scores |dx|."""

    name: str = "next_to"
    phrases: tuple[str, ...] = (
        "next to",
        "beside",
        "near",
        "near to",
        "by",
        "close to",
        "close by",
        "alongside",
        "adjacent to",
        "on side of",
        "on the side of",
        "at the side of",
        "to the side of",
        "by the side of",
        "over by",
        "on either side of",
        "on both sides of",
        "on each side of",
        "in the vicinity of",
        "side by side",
        "side by side with",
        "flanked by",
    )
    grounds: int = 1
    converse: str | None = "next_to"
    direction: tuple[float, float] | None = None

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """Horizontal distance of the centroids."""
        (ground,) = grounds
        return abs(subject[..., 0] - ground[..., 0])


RELATIONS: tuple[Predicate, ...] = (
    DirectionalPredicate("left_of", ("to the left of", "left of"), (-1.0, 0.0), converse="right_of"),
    DirectionalPredicate("right_of", ("to the right of", "right of"), (1.0, 0.0), converse="left_of"),
    DirectionalPredicate("above", ("above", "over", "higher than", "up above"), (0.0, -1.0), converse="below"),
    DirectionalPredicate(
        "below",
        ("below", "under", "underneath", "beneath", "lower than", "on the bottom of", "down below"),
        (0.0, 1.0),
        converse="above",
    ),
    DirectionalPredicate(
        "on", ("on", "on top of", "ontop of", "atop", "atop of", "upon", "onto", "on the edge of", "on the rim of"), (0.0, -1.0)
    ),
    Beside(),
)


@hookimpl
def spatialguide_relations(register: Callable[[str, Predicate], None]) -> None:
    """left_of, right_of, above, below, on, next_to."""
    for relation in RELATIONS:
        register(relation.name, relation)
