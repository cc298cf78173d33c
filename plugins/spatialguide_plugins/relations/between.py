"""Between: one subject and two grounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spatialguide.contracts import Predicate
from spatialguide.hookspecs import hookimpl
from spatialguide.terms.geometry import length, smaller


@dataclass(frozen=True)
class Between:
    """Subject on the way from one ground to the other."""

    name: str = "between"
    phrases: tuple[str, ...] = (
        "between",
        "in between",
        "among",
        "amongst",
        "in-between",
        "inbetween",
        "midway between",
        "in the middle between",
        "in the gap between",
        "in the space between",
    )
    grounds: int = 2
    converse: str | None = None
    direction: tuple[float, float] | None = None

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """min(s, L - s) - r: s along the line of the grounds (L long), r away from it.

        Positive inside the square whose diagonal joins the grounds. Where one object stands for both grounds ("between two
        trees") it is -|subject - object|: between them is where the centroid of both lies.
        """
        first, second = grounds
        line = second - first
        span = length(line)[..., None]
        unit = line / (span + 1e-6)
        offset = subject - first
        along = (offset * unit).sum(-1)
        away = length(offset - along[..., None] * unit)
        return smaller(along, span[..., 0] - along) - away


@hookimpl
def spatialguide_relations(register: Callable[[str, Predicate], None]) -> None:
    """between."""
    relation = Between()
    register(relation.name, relation)
