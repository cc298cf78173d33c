"""Attend-and-Excite: no object may go without a strong spot of attention (Chefer et al., arXiv 2301.13826)."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field, field_validator
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.maps import layer_mean, smoothed


class AttendAndExcite(LossTerm):
    """max over objects of (1 - peak of the Gaussian-smoothed map), mean over the coarse layers.

    The paper averages its layers' maps first, renormalises them without the start-of-text token, and updates the latent,
    several times at some steps. Here maps are probabilities over all tokens, so that peaks are lower, each layer has its own
    worst object, and the gradient corrects the noise once.
    """

    levels: tuple[str, ...] = ("coarse",)
    sigma: float = Field(default=0.5, ge=0)
    kernel_size: int = Field(default=3, ge=1)

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("the kernel needs a middle: give an odd number of cells")
        return size

    def applies(self, scene: Structure) -> bool:
        """To every scene with objects."""
        return bool(scene.counts)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Only the most neglected object of each layer gets a gradient."""
        peaks = (smoothed(maps, self.sigma, self.kernel_size).amax(dim=(-2, -1)) for maps in statistics.maps)
        return layer_mean((1 - peak).amax(dim=1) for peak in peaks)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """attend_and_excite."""
    register("attend_and_excite", AttendAndExcite)
