"""BoxDiff: much attention in the box, little outside, and edges where the box has its own (Xie et al., arXiv 2307.10816)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.boxes import BoxTerm
from spatialguide.terms.maps import box_masks, layer_mean, top_mean


class BoxDiff(BoxTerm):
    """inner + outer + corner, mean over objects and the coarse layers; M is the box's mask.

    inner = 1 - mean of the largest values of map M; outer = mean of the largest values of map (1 - M), each the top `fraction`
    of the cells in question. corner = mean |max of the map over rows - max of M over rows| over columns within `reach` cells of
    the box's first and last, and the same for rows.

    Defaults are the authors' released ones. The paper sums over objects and renormalises maps without the start-of-text
    token, which brings them near 1; here maps are probabilities over all tokens, so that inner and corner stay well above 0.
    That shifts the loss, not its gradient's direction. The gradient corrects the noise instead of updating the latent.
    """

    levels: tuple[str, ...] = ("coarse",)
    fraction: float = Field(default=0.2, gt=0, le=1)
    reach: int = Field(default=1, ge=0)
    inner: float = Field(default=1.0, ge=0)
    outer: float = Field(default=1.0, ge=0)
    corner: float = Field(default=1.0, ge=0)

    def applies(self, scene: Structure) -> bool:
        """To every scene with objects."""
        return bool(scene.counts)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Zero for maps that equal their masks."""
        boxes = self.boxes_of(scene)
        return layer_mean(self._layer(maps, box_masks(boxes, maps)) for maps in statistics.maps)

    def _layer(self, maps: Tensor, masks: Tensor) -> Tensor:
        inner = 1 - top_mean(maps * masks, masks, self.fraction)
        outer = top_mean(maps * (1 - masks), 1 - masks, self.fraction)
        corner = sum(self._corner(maps.amax(dim=axis), masks.amax(dim=axis)) for axis in (-2, -1))
        return (self.inner * inner + self.outer * outer + self.corner * corner).mean(dim=1)

    def _corner(self, profile: Tensor, wanted: Tensor) -> Tensor:
        """Mean distance of profiles (images, objects, cells) from 0 or 1 near the ends of a box; (images, objects)."""
        cells = torch.arange(wanted.shape[1], device=wanted.device)
        first = wanted.argmax(dim=1, keepdim=True)
        last = first + wanted.sum(dim=1, keepdim=True) - 1
        near = ((cells - first).abs() <= self.reach) | ((cells - last).abs() <= self.reach)
        return ((profile - wanted).abs() * near).sum(dim=-1) / near.sum(dim=1)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """boxdiff."""
    register("boxdiff", BoxDiff)
