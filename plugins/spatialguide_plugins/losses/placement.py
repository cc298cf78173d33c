"""Placement: every object's attention into a box of its own, where all relations of the scene hold together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.constants import constant, index
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.boxes import BoxTerm, parts
from spatialguide.terms.maps import axis_masks, layer_mean, top_weights
from spatialguide.terms.projection import nearest_places


class Placement(BoxTerm):
    """inside + outside + extent, mean over objects and layers; M is the mask of the object's box.

    inside = 1 - mean of the largest values of map M, outside = mean of the largest values of map (1 - M), each the top
    `fraction` of the cells in question, as BoxDiff has them (arXiv 2307.10816). extent = mean over columns of |largest value
    of the map in the column - that of M|, and the same for rows: the object fills its box, and nothing lies beyond.

    The boxes are those of the scene's layout, moved as near to where each image has its objects as the relations allow
    (`spatialguide.terms.projection.nearest_places`); given boxes stay where they are. An object that is asked for n times gets
    n parts of its box, each with an inside of its own.

    slack: share of the layout's distances that two objects may give up to stay where they are; 0 keeps the layout's.
    """

    levels: tuple[str, ...] = ("coarse", "mid")
    slack: float = Field(default=0.1, ge=0, le=1)
    fraction: float = Field(default=0.2, gt=0, le=1)
    inside: float = Field(default=1.0, ge=0)
    outside: float = Field(default=1.0, ge=0)
    extent: float = Field(default=1.0, ge=0)

    def applies(self, scene: Structure) -> bool:
        """To scenes with relations, and with given boxes to all with objects."""
        return bool(scene.counts if self.boxes else scene.relations)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Zero for maps that equal their masks."""
        given = self.boxes_of(scene)
        middle = tuple(((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in given)
        half = constant(tuple(((x1 - x0) / 2, (y1 - y0) / 2) for x0, y0, x1, y1 in given), statistics.mass)
        if self.boxes is None:
            centres = nearest_places(statistics.place.mean(dim=1), scene, given, self.slack)
        else:
            centres = constant(middle, statistics.mass)[None]
        counts = tuple(count or 1 for count in scene.counts)
        return layer_mean(self._layer(maps, centres, half, counts) for maps in statistics.maps)

    def _layer(self, maps: Tensor, middle: Tensor, half: Tensor, counts: tuple[int, ...]) -> Tensor:
        """middle: of every object's box, (images, objects, 2); half: of its size, (objects, 2)."""
        columns, rows = axis_masks(middle, half, maps)
        masks = rows[..., :, None] * columns[..., None, :]  # (images, objects, height, width)
        within = part = maps * masks
        part_masks = masks
        if max(counts) > 1:
            owners, shifts, shares = parts(counts)
            owner, share = index(owners, maps), constant(shares, maps)
            columns_of_part, rows_of_part = axis_masks(
                middle[:, owner] + half[owner] * constant(shifts, maps), half[owner] * share, maps
            )
            part_masks = rows_of_part[..., :, None] * columns_of_part[..., None, :]
            part = maps[:, owner] * part_masks
        # One sort for both: the largest values within each part count against the loss, those beyond each box for it.
        regions = torch.cat([part, maps - within], dim=1).flatten(2).sort(dim=-1, descending=True).values
        cells = torch.cat([part_masks, 1 - masks], dim=1).sum(dim=(-2, -1))
        wanted, objects = sum(counts), len(counts)
        signs = constant(((-self.inside / wanted,),) * wanted + ((self.outside / objects,),) * objects, maps)
        inside_outside = (regions * (top_weights(cells, self.fraction, regions.shape[-1]) * signs)).sum(dim=(1, 2))
        # A mask's largest value in a column is the mask of the columns.
        profiles = torch.cat([maps.amax(dim=-2), maps.amax(dim=-1)], dim=-1)
        height, width = maps.shape[-2:]
        per_cell = constant((self.extent / (objects * width),) * width + (self.extent / (objects * height),) * height, maps)
        extent = ((profiles - torch.cat([columns, rows], dim=-1)).abs() * per_cell).sum(dim=(1, 2))
        return self.inside + inside_outside + extent


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """placement."""
    register("placement", Placement)
