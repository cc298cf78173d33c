"""Object presence: keep every object's map compact, so that the object gets drawn (InfSplign, arXiv 2512.17851)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure


class Presence(LossTerm):
    """Sum over objects of the map's variance, mean over the coarse layers; for two objects sigma_A^2 + sigma_B^2."""

    levels: tuple[str, ...] = ("coarse",)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Variances are in squared image sides."""
        return statistics.variance.sum(dim=2).mean(dim=1)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """presence."""
    register("presence", Presence)
