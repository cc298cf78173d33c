"""Elbow room: a loss that keeps every pair of objects apart, whatever the relations say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from spatialguide import LossTerm, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from spatialguide.contracts import Relation
    from spatialguide.scene import Scene
    from spatialguide.statistics import ObjectStatistics


class ElbowRoom(LossTerm):
    """relu(distance - |c_i - c_j|), mean over pairs of objects and over layers; c are centroids in image sides."""

    distance: float = Field(default=0.4, gt=0)

    def __call__(self, statistics: ObjectStatistics, scene: Scene, relations: Mapping[str, Relation]) -> Tensor:
        """One number per image; zero for fewer than two objects."""
        import torch

        centroid = statistics.centroid  # (images, layers, objects, 2)
        first, second = torch.triu_indices(len(scene.objects), len(scene.objects), offset=1)
        if not len(first):
            return statistics.mass.new_zeros(statistics.mass.shape[0])
        gaps = (centroid[:, :, first] - centroid[:, :, second]).norm(dim=-1)
        return (self.distance - gaps).relu().mean(dim=(1, 2))


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """elbow_room."""
    register("elbow_room", ElbowRoom)
