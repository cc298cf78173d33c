"""Containment: inside, surrounding, surrounded_by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spatialguide.contracts import Predicate
from spatialguide.hookspecs import hookimpl
from spatialguide.terms.geometry import length

_REACH = 0.25


@dataclass(frozen=True)
class Concentric:
    """One of the two encloses the other, so that their centroids meet; centroids do not tell which is outside."""

    name: str
    phrases: tuple[str, ...]
    converse: str | None = None
    grounds: int = 1
    direction: tuple[float, float] | None = None

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """1/4 - |subject - ground|."""
        (ground,) = grounds
        return _REACH - length(subject - ground)


RELATIONS: tuple[Predicate, ...] = (
    Concentric("inside", ("inside", "inside of", "within", "in", "in the middle of")),
    Concentric(
        "surrounding",
        ("surrounding", "around", "all around", "encircling", "circling", "encircle", "surround", "surrounds", "encircles"),
        converse="surrounded_by",
    ),
    Concentric(
        "surrounded_by",
        ("surrounded by", "encircled by", "ringed by", "enclosed by", "surrounded with", "surrounded on all sides by"),
        converse="surrounding",
    ),
)


@hookimpl
def spatialguide_relations(register: Callable[[str, Predicate], None]) -> None:
    """inside, surrounding, surrounded_by."""
    for relation in RELATIONS:
        register(relation.name, relation)
