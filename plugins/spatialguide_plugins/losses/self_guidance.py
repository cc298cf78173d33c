"""Diffusion self-guidance: where an object is and how large it is (Epstein et al., arXiv 2306.00986)."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.boxes import BoxTerm
from spatialguide.terms.maps import layer_mean, stretched


class SelfGuidance(BoxTerm):
    """centroid |mu - centre of the box|_1 + size |mean of S - area of the box|, mean over objects and layers.

    S = stretch(sigmoid(sharpness (stretch(map) - 1/2))) is the paper's soft threshold; stretch scales a map to reach from 0
    to 1. The paper's targets come from another picture or from moves and scalings of one; here they are boxes. Its shape and
    appearance terms, which compare with another picture, are left out. Its sum over object properties is scaled by a guidance
    weight of its own and added to classifier-free guidance's noise, as it is here.
    """

    centroid: float = Field(default=1.0, ge=0)
    size: float = Field(default=1.0, ge=0)
    sharpness: float = Field(default=10.0, gt=0)

    def applies(self, scene: Structure) -> bool:
        """To every scene with objects."""
        return bool(scene.counts)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Zero where every object is centred in its box and as large as it."""
        x0, y0, x1, y1 = statistics.centroid.new_tensor(self.boxes_of(scene)).unbind(dim=1)
        area = (x1 - x0) * (y1 - y0)
        place = statistics.place
        off = (place[..., 0] - (x0 + x1) / 2).abs() + (place[..., 1] - (y0 + y1) / 2).abs()
        shapes = (stretched((self.sharpness * (stretched(maps) - 0.5)).sigmoid()) for maps in statistics.maps)
        unlike = layer_mean((shape.mean(dim=(-2, -1)) - area).abs().mean(dim=1) for shape in shapes)
        return self.centroid * off.mean(dim=(1, 2)) + self.size * unlike


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """self_guidance."""
    register("self_guidance", SelfGuidance)
