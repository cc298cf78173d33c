"""Depth: what is on, in, behind or in front of another, as overlap and order of whole maps instead of centroids."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.bound import BoundRelation
from spatialguide.scenes.planned import Structure
from spatialguide.terms.maps import distributions, layer_mean, superiority

#: Relations in which one of the two stands higher in the picture: whether that is the subject.
_HIGHER = {"on": True, "behind": True, "in_front_of": False}
_INSIDE = "inside"
_TINY = 1e-8


class Depth(LossTerm):
    """mean over relations of 1 - cover, or of (1 - cover + 1 - P) / 2, mean over layers; ours.

    inside: cover = sum over cells of p_a q_b, p a map scaled to sum to one, q one scaled to reach one: the share of the
    subject's attention where the ground's is strong. on, behind, in_front_of: cover is the same over columns, maps summed along
    each; P is the share of pairs of places that stand in order from top to bottom (see superiority), the farther thing and the
    one on top being higher. Centroids of a thing and of what it is in meet, whichever is in the other; cover knows. That the
    nearer thing hides the other is nowhere in the maps, and not here.
    """

    def applies(self, scene: Structure) -> bool:
        """To scenes with such a relation."""
        return bool(_speaks_of(scene))

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Between 0 and 1."""
        edges = _speaks_of(scene)
        if not edges:
            return statistics.mass.new_zeros(statistics.mass.shape[0])
        return layer_mean(
            torch.stack([_unlike(p, edge) for edge in edges]).mean(dim=0) for p in map(distributions, statistics.maps)
        )


def _speaks_of(scene: Structure) -> list[BoundRelation]:
    return [relation for relation in scene.relations if relation.name == _INSIDE or relation.name in _HIGHER]


def _unlike(maps: Tensor, edge: BoundRelation) -> Tensor:
    """Of one relation on one layer, (images,)."""
    subject, ground = maps[:, edge.subject], maps[:, edge.grounds[0]]
    if edge.name == _INSIDE:
        return 1 - _cover(subject.flatten(1), ground.flatten(1))
    subject_rows, ground_rows = subject.sum(dim=-1), ground.sum(dim=-1)
    rows = (subject_rows, ground_rows) if _HIGHER[edge.name] else (ground_rows, subject_rows)
    return 1 - (_cover(subject.sum(dim=-2), ground.sum(dim=-2)) + superiority(*rows)) / 2


def _cover(of: Tensor, by: Tensor) -> Tensor:
    return (of * by).sum(dim=1) / by.amax(dim=1).clamp(min=_TINY)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """depth."""
    register("depth", Depth)
