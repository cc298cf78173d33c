"""Representation balance: no object's map spreads at another's cost (InfSplign, arXiv 2512.17851)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

from spatialguide.contracts import LossTerm, Relation
from spatialguide.hookspecs import hookimpl
from spatialguide.scene import Scene

if TYPE_CHECKING:
    from torch import Tensor

    from spatialguide.statistics import ObjectStatistics


class Balance(LossTerm):
    """Mean over object pairs of |sigma_i^2 - sigma_j^2|, mean over the mid layers; for two objects the paper's term."""

    wordless: ClassVar[bool] = True
    levels: tuple[str, ...] = ("mid",)

    def __call__(self, statistics: ObjectStatistics, scene: Scene, relations: Mapping[str, Relation]) -> Tensor:
        """Zero for a single object."""
        variance = statistics.variance
        pairs = [variance[..., i] - variance[..., j] for i, j in combinations(range(variance.shape[2]), 2)]
        if not pairs:
            return variance.new_zeros(variance.shape[0])
        return sum((pair.abs() for pair in pairs[1:]), pairs[0].abs()).mean(dim=1) / len(pairs)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """balance."""
    register("balance", Balance)
