"""Spatial alignment: pull centroids to the side that the relation asks for (InfSplign, arXiv 2512.17851)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from spatialguide.contracts import LossTerm, Relation
from spatialguide.hookspecs import hookimpl
from spatialguide.scene import Scene

if TYPE_CHECKING:
    from torch import Tensor

    from spatialguide.statistics import ObjectStatistics

Activation = Literal["gelu", "relu", "squared_relu", "leaky_relu", "sigmoid", "softplus", "silu", "elu", "identity"]


class Alignment(LossTerm):
    """activation(alpha * (margin - d)), mean over relations and layers.

    d is the relation's signed centroid distance, positive when it holds; margin and d are in image sides.
    """

    alpha: float = 0.75
    margin: float = 0.25
    activation: Activation = "gelu"

    def __call__(self, statistics: ObjectStatistics, scene: Scene, relations: Mapping[str, Relation]) -> Tensor:
        """Zero for a scene without relations."""
        if not scene.relations:
            return statistics.mass.new_zeros(statistics.mass.shape[0])
        activate = activation(self.activation)
        centroid = statistics.centroid
        terms = []
        for edge in scene.relations:
            grounds = (centroid[:, :, ground] for ground in edge.objects)
            distance = relations[edge.predicate].distance(centroid[:, :, edge.subject], *grounds)
            terms.append(activate(self.alpha * (self.margin - distance)))
        return sum(terms[1:], terms[0]).mean(dim=1) / len(terms)


def activation(name: Activation) -> Callable[[Tensor], Tensor]:
    """The named activation, element-wise."""
    # Imported here: listing plugins and parsing prompts must not load torch.
    from torch.nn import functional

    functions: dict[Activation, Callable[[Tensor], Tensor]] = {
        "gelu": functional.gelu,
        "relu": functional.relu,
        "squared_relu": lambda x: functional.relu(x).square(),
        "leaky_relu": functional.leaky_relu,
        "sigmoid": lambda x: x.sigmoid(),
        "softplus": functional.softplus,
        "silu": functional.silu,
        "elu": functional.elu,
        "identity": lambda x: x,
    }
    return functions[name]


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """alignment."""
    register("alignment", Alignment)
