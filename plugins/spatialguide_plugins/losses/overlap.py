"""Overlap: no two objects' maps in one place, unless their relation wants them there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.constants import index
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.maps import distributions, layer_mean


class Overlap(LossTerm):
    """Mean over pairs of objects of sum over cells of min(p_i, p_j), mean over layers; p is a map scaled to sum to one.

    0 for maps that are apart, 1 for equal ones. Pairs whose boxes in the scene's layout overlap ("inside") do not count.
    """

    levels: tuple[str, ...] = ("mid",)

    def applies(self, scene: Structure) -> bool:
        """To every scene with two objects that the layout does not put in one place."""
        return bool(_pairs(scene))

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Zero for maps that are apart."""
        pairs = _pairs(scene)
        if not pairs:
            return statistics.mass.new_zeros(statistics.mass.shape[0])
        first, second = (index(tuple(pair[end] for pair in pairs), statistics.mass) for end in (0, 1))
        shares = (distributions(maps) for maps in statistics.maps)
        return layer_mean(torch.minimum(p[:, first], p[:, second]).sum(dim=(-2, -1)).mean(dim=1) for p in shares)


def _pairs(scene: Structure) -> list[tuple[int, int]]:
    return [pair for pair in combinations(range(len(scene.counts)), 2) if pair not in scene.together]


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """overlap."""
    register("overlap", Overlap)
