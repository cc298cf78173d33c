"""Elbow room: a loss that keeps every pair of objects apart, whatever the relations say."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from spatialguide import LossTerm, hookimpl
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.scenes.planned import Structure


class ElbowRoom(LossTerm):
    """relu(distance - |c_i - c_j|), mean over pairs of objects and over layers; c are centroids in image sides."""

    distance: float = Field(default=0.4, gt=0)

    def applies(self, scene: Structure) -> bool:
        """To every scene with two objects or more."""
        return len(scene.counts) > 1

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """One number per image; zero for fewer than two objects."""
        centroid = statistics.centroid  # (images, layers, objects, 2)
        first, second = torch.triu_indices(len(scene.counts), len(scene.counts), offset=1, device=centroid.device)
        gaps = (centroid[:, :, first] - centroid[:, :, second]).norm(dim=-1)
        return (self.distance - gaps).relu().mean(dim=1).sum(dim=1) / max(len(first), 1)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """elbow_room."""
    register("elbow_room", ElbowRoom)
