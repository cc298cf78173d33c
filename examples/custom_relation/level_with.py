"""A relation of one's own: "level with", two objects at the same height and side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spatialguide import Predicate, hookimpl


@dataclass(frozen=True)
class LevelWith:
    """Farther apart across than they differ in height."""

    name: str = "level_with"
    phrases: tuple[str, ...] = ("level with", "at the same height as")
    grounds: int = 1
    converse: str | None = "level_with"
    direction: tuple[float, float] | None = None  # no side: it takes part in no contradiction check

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """|dx| - 2 |dy| in image sides; centroids are (..., 2), x to the right and y down."""
        (ground,) = grounds
        apart = abs(subject - ground)
        return apart[..., 0] - 2 * apart[..., 1]


@hookimpl
def spatialguide_relations(register: Callable[[str, Predicate], None]) -> None:
    """level_with."""
    register("level_with", LevelWith())
