"""Overlap: no two objects' maps in one place, unless their relation wants them there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

from spatialguide.contracts import LossTerm, Relation
from spatialguide.hookspecs import hookimpl
from spatialguide.layout import Box
from spatialguide.scene import Scene

if TYPE_CHECKING:
    from torch import Tensor

    from spatialguide.statistics import ObjectStatistics


class Overlap(LossTerm):
    """Mean over pairs of objects of sum over cells of min(p_i, p_j), mean over layers; p is a map scaled to sum to one.

    0 for maps that are apart, 1 for equal ones. Pairs whose boxes in the scene's layout overlap ("inside") do not count.
    """

    wordless: ClassVar[bool] = True
    levels: tuple[str, ...] = ("mid",)

    def __call__(self, statistics: ObjectStatistics, scene: Scene, relations: Mapping[str, Relation]) -> Tensor:
        """Zero for a single object."""
        import torch

        from spatialguide.layout import boxes
        from spatialguide.maps import distributions, layer_mean

        places = boxes(scene, relations)
        pairs = [(i, j) for i, j in combinations(range(len(places)), 2) if _apart(places[i], places[j])]
        if not pairs:
            return statistics.mass.new_zeros(statistics.mass.shape[0])
        first, second = ([pair[end] for pair in pairs] for end in (0, 1))
        shares = (distributions(maps) for maps in statistics.maps)
        return layer_mean(torch.minimum(p[:, first], p[:, second]).sum(dim=(-2, -1)).mean(dim=1) for p in shares)


def _apart(one: Box, other: Box) -> bool:
    return any(max(one[axis], other[axis]) >= min(one[axis + 2], other[axis + 2]) for axis in (0, 1))


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """overlap."""
    register("overlap", Overlap)
