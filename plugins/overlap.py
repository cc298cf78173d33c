"""Overlap: no two objects' maps in one place, unless their relation wants them there."""

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


class Overlap(LossTerm):
    """Mean over pairs of objects of sum over cells of min(p_i, p_j), mean over layers; p is a map scaled to sum to one.

    0 for maps that are apart, 1 for equal ones. Pairs whose boxes in the scene's layout overlap ("inside") do not count.
    """

    wordless: ClassVar[bool] = True
    levels: tuple[str, ...] = ("mid",)

    def applies(self, scene: Scene) -> bool:
        """To every scene with two objects or more."""
        return len(scene.objects) > 1

    def __call__(self, statistics: ObjectStatistics, scene: Scene, relations: Mapping[str, Relation]) -> Tensor:
        """Zero for a single object."""
        import torch

        from spatialguide.layout import together
        from spatialguide.maps import distributions, layer_mean

        met = together(scene, relations)
        pairs = [pair for pair in combinations(range(len(scene.objects)), 2) if pair not in met]
        if not pairs:
            return statistics.mass.new_zeros(statistics.mass.shape[0])
        first, second = ([pair[end] for pair in pairs] for end in (0, 1))
        shares = (distributions(maps) for maps in statistics.maps)
        return layer_mean(torch.minimum(p[:, first], p[:, second]).sum(dim=(-2, -1)).mean(dim=1) for p in shares)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """overlap."""
    register("overlap", Overlap)
