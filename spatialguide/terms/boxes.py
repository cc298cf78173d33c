"""Loss terms that want every object in a box."""

from __future__ import annotations

from pydantic import field_validator

from spatialguide.contracts import LossTerm
from spatialguide.errors import ConfigError
from spatialguide.scenes.layout import Box
from spatialguide.scenes.planned import Structure


class BoxTerm(LossTerm):
    """A loss term that wants every object in a box.

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
