"""Spatial alignment: pull centroids to the side that the relation asks for (InfSplign, arXiv 2512.17851)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure

#: The paper's, and those of its ablation.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "squared_relu": lambda x: functional.relu(x).square(),
    "leaky_relu": functional.leaky_relu,
    "sigmoid": functional.sigmoid,
    "softplus": functional.softplus,
}


class Alignment(LossTerm):
    """activation(alpha * (margin - d)), weighted mean over relations, mean over layers.

    d is the relation's signed centroid distance, positive when it holds; margin and d are in image sides.

    focus: weights are softmax(focus * (margin - d)) over the relations, without a gradient: above 0, of relations that pull one
        object different ways the one that is farther from holding wins. 0 weighs all alike, as the paper does for its one.
    """

    alpha: float = 0.75
    margin: float = 0.25
    activation: Literal["gelu", "relu", "squared_relu", "leaky_relu", "sigmoid", "softplus"] = "gelu"
    focus: float = Field(default=0.0, ge=0)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Distances are (images, layers, relations); zero for a scene without any."""
        if not scene.relations:
            return statistics.mass.new_zeros(statistics.mass.shape[0])
        short = self.margin - statistics.distances
        pulls = ACTIVATIONS[self.activation](self.alpha * short)
        if self.focus:
            return ((self.focus * short.detach()).softmax(dim=-1) * pulls).sum(dim=-1).mean(dim=1)
        return pulls.mean(dim=(1, 2))


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """alignment."""
    register("alignment", Alignment)
