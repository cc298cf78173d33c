"""Layout guidance: the share of an object's attention that lies in its box (Chen et al., arXiv 2304.03373)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.boxes import BoxTerm
from spatialguide.terms.maps import box_masks, distributions, layer_mean


class LayoutGuidance(BoxTerm):
    """(1 - sum of the map in the box / sum of the map)^2, mean over objects and layers: the paper's backward guidance.

    The paper reads the middle block and the decoder's first, for each token of an object, and updates the latent up to five
    times a step. Here the middle block is not observed, an object's tokens share a map, and the gradient corrects the noise
    once.
    """

    levels: tuple[str, ...] = ("coarse",)

    def applies(self, scene: Structure) -> bool:
        """To every scene with objects."""
        return bool(scene.counts)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Between 0, all inside, and 1, all outside."""
        boxes = self.boxes_of(scene)
        inside = ((distributions(maps) * box_masks(boxes, maps)).sum(dim=(-2, -1)) for maps in statistics.maps)
        return layer_mean((1 - share).square().mean(dim=1) for share in inside)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """layout_guidance."""
    register("layout_guidance", LayoutGuidance)
