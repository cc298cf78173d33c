"""Placement: every object's attention into a box of its own, where all relations of the scene hold together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from spatialguide.contracts import LossTerm, Relation
from spatialguide.hookspecs import hookimpl
from spatialguide.layout import BoxTerm
from spatialguide.scene import Scene

if TYPE_CHECKING:
    from torch import Tensor

    from spatialguide.statistics import ObjectStatistics


class Placement(BoxTerm):
    """inside + outside + extent, mean over objects and layers; M is the mask of the object's box.

    inside = 1 - mean of the largest values of map M, outside = mean of the largest values of map (1 - M), each the top
    `fraction` of the cells in question, as BoxDiff has them (arXiv 2307.10816). extent = mean over columns of |largest value
    of the map in the column - that of M|, and the same for rows: the object fills its box, and nothing lies beyond.

    The boxes are those of the scene's layout, moved as near to where each image has its objects as the relations allow
    (`spatialguide.placement.nearest_boxes`); given boxes stay where they are. An object that is asked for n times gets n parts
    of its box, each with an inside of its own.

    slack: share of the layout's distances that two objects may give up to stay where they are; 0 keeps the layout's.
    """

    wordless: ClassVar[bool] = True
    levels: tuple[str, ...] = ("coarse", "mid")
    slack: float = Field(default=0.1, ge=0, le=1)
    fraction: float = Field(default=0.2, gt=0, le=1)
    inside: float = Field(default=1.0, ge=0)
    outside: float = Field(default=1.0, ge=0)
    extent: float = Field(default=1.0, ge=0)

    def applies(self, scene: Scene) -> bool:
        """To scenes with relations, and with given boxes to all with objects."""
        return bool(scene.objects if self.boxes else scene.relations)

    def __call__(self, statistics: ObjectStatistics, scene: Scene, relations: Mapping[str, Relation]) -> Tensor:
        """Zero for maps that equal their masks."""
        from spatialguide.maps import box_masks, layer_mean
        from spatialguide.placement import nearest_boxes, parts

        given = self.boxes_of(scene, relations)
        if self.boxes is None:
            boxes = nearest_boxes(statistics.place.mean(dim=1), scene, relations, given, self.slack)
        else:
            boxes = statistics.mass.new_tensor(given)
        split, owners = parts(boxes, [item.count or 1 for item in scene.objects])
        return layer_mean(
            self._layer(maps, box_masks(boxes, maps), maps[:, owners], box_masks(split, maps)) for maps in statistics.maps
        )

    def _layer(self, maps: Tensor, masks: Tensor, part_maps: Tensor, part_masks: Tensor) -> Tensor:
        """maps and masks: per object. part_maps and part_masks: per part of a box, the map of its object and its mask."""
        from spatialguide.maps import top_mean

        inside = 1 - top_mean(part_maps * part_masks, part_masks, self.fraction)
        outside = top_mean(maps * (1 - masks), 1 - masks, self.fraction)
        extents = [(maps.amax(dim=axis) - masks.amax(dim=axis)).abs().mean(dim=-1) for axis in (-2, -1)]
        return (
            self.inside * inside.mean(dim=1)
            + self.outside * outside.mean(dim=1)
            + self.extent * sum(each.mean(dim=1) for each in extents)
        )


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """placement."""
    register("placement", Placement)
