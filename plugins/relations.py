"""Spatial relations: the four directions, support, and nearness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spatialguide.contracts import DirectionalRelation, Relation
from spatialguide.hookspecs import hookimpl


@dataclass(frozen=True)
class Beside:
    """Subject and ground side by side, in either order: the InfSplign reference scores |dx|."""

    name: str = "next_to"
    phrases: tuple[str, ...] = (
        "next to",
        "beside",
        "near",
        "by",
        "close to",
        "alongside",
        "adjacent to",
        "on side of",
        "on the side of",
        "by the side of",
    )
    grounds: int = 1
    converse: str | None = "next_to"
    direction: tuple[float, float] | None = None

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """Horizontal distance of the centroids."""
        (ground,) = grounds
        return abs(subject[..., 0] - ground[..., 0])


def _sides(side: str) -> tuple[str, ...]:
    return (
        f"to the {side} of",
        f"on the {side} of",
        f"at the {side} of",
        f"to {side} of",
        f"{side} of",
        f"on the {side} side of",
        f"to the {side} side of",
        f"on the {side}-hand side of",
        f"on the {side} hand side of",
    )


RELATIONS: tuple[Relation, ...] = (
    DirectionalRelation("left_of", _sides("left"), (-1.0, 0.0), converse="right_of"),
    DirectionalRelation("right_of", _sides("right"), (1.0, 0.0), converse="left_of"),
    DirectionalRelation("above", ("above", "over", "higher than"), (0.0, -1.0), converse="below"),
    DirectionalRelation(
        "below",
        ("below", "under", "underneath", "beneath", "lower than", "on the bottom of", "at the bottom of"),
        (0.0, 1.0),
        converse="above",
    ),
    DirectionalRelation("on", ("on", "on top of", "on the top of", "atop"), (0.0, -1.0)),
    Beside(),
)


@hookimpl
def spatialguide_relations(register: Callable[[str, Relation], None]) -> None:
    """left_of, right_of, above, below, on, next_to."""
    for relation in RELATIONS:
        register(relation.name, relation)
