"""Presence first: raise what is hardly there, and place what is there; per object and per image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure


class PresenceFirst(LossTerm):
    """mean over objects of (1 - open) (2 - peak - mass) + mean over relations of open (margin - d)+, mean over layers.

    An object's gate opens from 0 to 1 as its peak comes from nothing to `gate` times the highest peak among the image's
    objects; a relation is as open as the least open of its objects. So a neglected object is first raised where it is
    strongest (Attend-and-Excite's idea, arXiv 2301.13826), and its relations pull once it is there. Gates have no gradient.

    gate: peak at which an object counts as present, as a share of the image's strongest.
    margin: as in alignment, in image sides.
    """

    gate: float = Field(default=0.75, gt=0, le=1)
    margin: float = 0.25

    def applies(self, scene: Structure) -> bool:
        """To every scene with relations, or with two objects, whose peaks can be compared."""
        return bool(scene.relations) or len(scene.counts) > 1

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Zero where every object is present and every relation holds with the margin."""
        peak = statistics.peak.detach()
        wanted = self.gate * peak.amax(dim=2, keepdim=True).clamp(min=1e-8)
        opened = (peak / wanted).clamp(max=1)
        loss = ((1 - opened) * (2 - statistics.peak - statistics.mass)).mean(dim=2)
        pulls = []
        for number, edge in enumerate(scene.relations):
            members = [edge.subject, *edge.grounds]
            short = (self.margin - statistics.distances[..., number]).relu()
            pulls.append(opened[:, :, members].amin(dim=2) * short)
        if pulls:
            loss = loss + torch.stack(pulls).mean(dim=0)
        return loss.mean(dim=1)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """presence_first."""
    register("presence_first", PresenceFirst)
