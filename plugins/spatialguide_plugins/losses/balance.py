"""Representation balance: no object's map spreads at another's cost (InfSplign, arXiv 2512.17851)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure


class Balance(LossTerm):
    """Mean over object pairs of |sigma_i^2 - sigma_j^2|, mean over the mid layers; for two objects the paper's term."""

    levels: tuple[str, ...] = ("mid",)

    def applies(self, scene: Structure) -> bool:
        """To scenes with relations and at least two objects."""
        return bool(scene.relations) and len(scene.counts) > 1

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Variances are in squared image sides; a pair is counted both ways. Zero for a single object."""
        variance, objects = statistics.variance, len(scene.counts)
        apart = (variance[..., :, None] - variance[..., None, :]).abs()
        return apart.sum(dim=(-2, -1)).mean(dim=1) / max(objects * (objects - 1), 1)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """balance."""
    register("balance", Balance)
