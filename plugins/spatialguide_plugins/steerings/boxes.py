"""Boxes: every object's words are looked at inside a box of its own, and not outside."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field
from torch import Tensor

from spatialguide.contracts import Steering
from spatialguide.guidance.constants import constant, index
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.boxes import Boxed, parts
from spatialguide.terms.maps import axis_masks
from spatialguide.terms.projection import nearest_places

#: Of the width of a part of a box, for there to be a gap between things of one kind.
_PART = 0.8


class Boxes(Boxed, Steering):
    """inside * M - outside * (1 - M), where M is the mask of the object's box.

    The boxes are those of the scene's layout; with `follow` moved as near to where each image has its objects as the relations
    allow (`spatialguide.terms.projection.nearest_places`); given boxes stay where they are. The box of an object that is asked
    for n times is cut into n columns with gaps between.

    slack: as of the loss term placement.
    """

    inside: float = Field(default=2.0, ge=0, le=100)
    outside: float = Field(default=2.0, ge=0, le=100)
    follow: bool = True
    slack: float = Field(default=0.1, ge=0, le=1)

    def applies(self, scene: Structure) -> bool:
        """To scenes with relations, and with given boxes to all with objects."""
        return bool(scene.counts if self.boxes else scene.relations)

    def __call__(self, places: Tensor, scene: Structure, size: tuple[int, int]) -> Tensor:
        """(images, objects, height, width)."""
        given = self.boxes_of(scene)
        half = constant(tuple(((x1 - x0) / 2, (y1 - y0) / 2) for x0, y0, x1, y1 in given), places)
        if self.follow and self.boxes is None:
            centres = nearest_places(places, scene, given, self.slack)
        else:
            centres = constant(tuple(((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in given), places)[None]
        grid, counts = places.new_empty(size), tuple(count or 1 for count in scene.counts)
        if max(counts) == 1:
            return self._bias(*axis_masks(centres, half, grid))
        owners, shifts, shares = parts(counts)
        owner = index(owners, places)
        widths = tuple((share if share == 1 else share * _PART, height) for share, height in shares)
        columns, rows = axis_masks(
            centres[:, owner] + half[owner] * constant(shifts, places), half[owner] * constant(widths, places), grid
        )
        # Parts of one object are apart, so their masks add up to at most 1.
        own = (owner == index(tuple(range(len(counts))), places)[:, None]).to(places.dtype)  # (objects, parts)
        return self._bias((own @ columns).clamp(max=1), (own @ rows).clamp(max=1))

    def _bias(self, columns: Tensor, rows: Tensor) -> Tensor:
        return rows[..., :, None] * columns[..., None, :] * (self.inside + self.outside) - self.outside


@hookimpl
def spatialguide_steerings(register: Callable[[str, type[Steering]], None]) -> None:
    """boxes."""
    register("boxes", Boxes)
