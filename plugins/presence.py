"""Object presence: keep every object's map compact, so that the object gets drawn (InfSplign, arXiv 2512.17851)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from spatialguide.contracts import LossTerm, Relation
from spatialguide.hookspecs import hookimpl
from spatialguide.scene import Scene

if TYPE_CHECKING:
    from torch import Tensor

    from spatialguide.statistics import ObjectStatistics


class Presence(LossTerm):
    """Sum over objects of the map's variance, mean over the coarse layers; for two objects sigma_A^2 + sigma_B^2."""

    wordless: ClassVar[bool] = True
    levels: tuple[str, ...] = ("coarse",)

    def __call__(self, statistics: ObjectStatistics, scene: Scene, relations: Mapping[str, Relation]) -> Tensor:
        """Variances are in squared image sides."""
        return statistics.variance.sum(dim=2).mean(dim=1)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """presence."""
    register("presence", Presence)
