"""Depth: in_front_of, behind, foreground and background, as far as a flat picture shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spatialguide.contracts import Predicate
from spatialguide.hookspecs import hookimpl
from spatialguide.terms.geometry import smaller

_OVERLAP = 0.25


@dataclass(frozen=True)
class Depth:
    """Subject nearer to the viewer than its ground (`nearer`), or farther away.

    On a ground plane seen from above it, the nearer of two things stands lower in the picture; and one hides the other only
    where they meet across. This is a stand-in for depth, which centroids do not hold.
    """

    name: str
    phrases: tuple[str, ...]
    converse: str | None
    nearer: bool
    grounds: int = 1
    direction: tuple[float, float] | None = None

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """min(1/4 - |dx|, dy), with dy the way down from the farther centroid to the nearer one."""
        (ground,) = grounds
        down = subject[..., 1] - ground[..., 1]
        return smaller(_OVERLAP - abs(subject[..., 0] - ground[..., 0]), down if self.nearer else -down)


@dataclass(frozen=True)
class Plane:
    """The foreground (`nearer`) or the background: the same stand-in, against the middle of the picture.

    It has no direction, since a thing in the background may well stand in the lower half: nothing contradicts it.
    """

    name: str
    phrases: tuple[str, ...]
    nearer: bool
    grounds: int = 0
    converse: str | None = None
    direction: tuple[float, float] | None = None

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """y - 1/2 for the foreground, the reverse for the background."""
        down = subject[..., 1] - 0.5
        return down if self.nearer else -down


RELATIONS: tuple[Predicate, ...] = (
    Depth("in_front_of", ("in front of", "infront of", "at the front of"), "behind", nearer=True),
    Depth(
        "behind",
        (
            "behind",
            "hidden by",
            "hidden behind",
            "concealed by",
            "concealed behind",
            "obscured by",
            "at the back of",
            "at the rear of",
            "in back of",
            "to the rear of",
        ),
        "in_front_of",
        nearer=False,
    ),
    Plane("in_region:foreground", ("in the foreground",), nearer=True),
    Plane("in_region:background", ("in the background",), nearer=False),
)


@hookimpl
def spatialguide_relations(register: Callable[[str, Predicate], None]) -> None:
    """in_front_of, behind, in_region:foreground, in_region:background."""
    for relation in RELATIONS:
        register(relation.name, relation)
