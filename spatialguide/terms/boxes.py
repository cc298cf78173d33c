"""Loss terms that want every object in a box."""

from __future__ import annotations

from pydantic import BaseModel, field_validator

from spatialguide.contracts import LossTerm
from spatialguide.errors import ConfigError
from spatialguide.scenes.layout import Box
from spatialguide.scenes.planned import Structure


class Boxed(BaseModel):
    """Options of what wants every object in a box.

    boxes: one (x0, y0, x1, y1) per object of the scene, in image sides; None derives them from the scene (`boxes`).
    """

    boxes: tuple[Box, ...] | None = None

    @field_validator("boxes")
    @classmethod
    def _inside_the_picture(cls, given: tuple[Box, ...] | None) -> tuple[Box, ...] | None:
        for x0, y0, x1, y1 in given or ():
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise ValueError("a box is (x0, y0, x1, y1) in image sides, with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
        return given

    def boxes_of(self, scene: Structure) -> tuple[Box, ...]:
        """The box of every object of the scene.

        Raises:
            ConfigError: the option gives another number of boxes than the scene has objects.
        """
        if self.boxes is None:
            return scene.boxes
        if len(self.boxes) != len(scene.counts):
            raise ConfigError(
                f"boxes: {len(self.boxes)} given for a scene of {len(scene.counts)} objects; give one for each, in the order "
                "of `spatialguide parse`, or none to derive them from the prompt"
            )
        return self.boxes


class BoxTerm(Boxed, LossTerm):
    """A loss term that wants every object in a box."""


def parts(counts: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]:
    """The boxes cut into as many columns as objects are asked for: of each part its owner, by how much of the box's half it
    stands to the right of the middle, and its share of the box's size."""
    rows = [(owner, part, count) for owner, count in enumerate(counts) for part in range(count)]
    shifts = tuple(((2 * part + 1) / count - 1, 0.0) for _, part, count in rows)
    return tuple(owner for owner, _, _ in rows), shifts, tuple((1 / count, 1.0) for _, _, count in rows)
