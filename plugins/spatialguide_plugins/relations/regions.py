"""Places in the picture: in_region, nine of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from spatialguide.contracts import Predicate
from spatialguide.hookspecs import hookimpl
from spatialguide.terms.geometry import larger, smaller

_MIDDLE = 0.5
_CENTRAL = 0.25


@dataclass(frozen=True)
class Region:
    """A relation without grounds: the subject lies on one side of the picture's centre, in a quarter of it, or near it.

    direction: from the centre towards the region; (0, 0) is the centre itself.
    """

    name: str
    phrases: tuple[str, ...]
    direction: tuple[float, float]
    grounds: int = field(default=0, init=False)
    converse: str | None = field(default=None, init=False)

    def distance(self, subject: Any, *grounds: Any) -> Any:
        """How far past the middle lines of the picture; for the centre, how far inside its middle half."""
        x, y = subject[..., 0] - _MIDDLE, subject[..., 1] - _MIDDLE
        dx, dy = self.direction
        if dx and dy:
            return smaller(x * dx, y * dy)
        if dx or dy:
            return x * dx if dx else y * dy
        return _CENTRAL - larger(abs(x), abs(y))


def _corner(vertical: str, side: str) -> tuple[str, ...]:
    high = {"top": "upper", "bottom": "lower"}[vertical]
    return (f"{vertical} {side}", f"{high} {side}", f"{side} {vertical}", f"{vertical}-{side}", f"{high}-{side}")


def _middle_of(side: str) -> tuple[str, ...]:
    return (
        f"{side} center",
        f"{side} centre",
        f"{side} middle",
        f"middle {side}",
        f"center {side}",
        f"{side}-center",
        f"{side}-centre",
    )


REGIONS: tuple[Predicate, ...] = (
    Region("in_region:left", ("left", *_middle_of("left")), (-1.0, 0.0)),
    Region("in_region:right", ("right", *_middle_of("right")), (1.0, 0.0)),
    Region("in_region:top", ("top", "upper", *_middle_of("top"), *_middle_of("upper")), (0.0, -1.0)),
    Region("in_region:bottom", ("bottom", "lower", *_middle_of("bottom"), *_middle_of("lower")), (0.0, 1.0)),
    Region("in_region:center", ("center", "centre", "middle", "dead center", "dead centre", "very middle"), (0.0, 0.0)),
    Region("in_region:top_left", _corner("top", "left"), (-1.0, -1.0)),
    Region("in_region:top_right", _corner("top", "right"), (1.0, -1.0)),
    Region("in_region:bottom_left", _corner("bottom", "left"), (-1.0, 1.0)),
    Region("in_region:bottom_right", _corner("bottom", "right"), (1.0, 1.0)),
)


@hookimpl
def spatialguide_relations(register: Callable[[str, Predicate], None]) -> None:
    """in_region:left, right, top, bottom, center, top_left, top_right, bottom_left, bottom_right."""
    for region in REGIONS:
        register(region.name, region)
