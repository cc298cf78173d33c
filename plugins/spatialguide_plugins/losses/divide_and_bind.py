"""Divide & Bind's attendance: every object's map has contrast, in one place or in several (Li et al., arXiv 2307.10864)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.maps import layer_mean


class DivideAndBind(LossTerm):
    """-min over objects of TV(map), mean over the coarse layers; TV sums |differences| of neighbouring cells.

    This is the paper's attendance loss alone: its binding loss compares an object's map with its attribute's, which `binding`
    does in another way. Maps are probabilities over all tokens, not renormalised without the start-of-text token, and the
    gradient corrects the noise instead of updating the latent.
    """

    levels: tuple[str, ...] = ("coarse",)

    def applies(self, scene: Structure) -> bool:
        """To every scene with objects."""
        return bool(scene.counts)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Negative or zero. A flat map gets no gradient: it varies nowhere."""
        return layer_mean(-_total_variation(maps).amin(dim=1) for maps in statistics.maps)


def _total_variation(maps: Tensor) -> Tensor:
    """(images, objects)."""
    return maps.diff(dim=-1).abs().sum(dim=(-2, -1)) + maps.diff(dim=-2).abs().sum(dim=(-2, -1))


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """divide_and_bind."""
    register("divide_and_bind", DivideAndBind)
