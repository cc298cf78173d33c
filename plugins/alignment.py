"""Spatial alignment: pull centroids to the side that the relation asks for (InfSplign, arXiv 2512.17851)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from spatialguide.contracts import LossTerm, Relation
from spatialguide.hookspecs import hookimpl
from spatialguide.planning import HIGH, LOW, axis_graph
from spatialguide.scene import Scene

if TYPE_CHECKING:
    from torch import Tensor

    from spatialguide.statistics import ObjectStatistics

Activation = Literal["gelu", "relu", "squared_relu", "leaky_relu", "sigmoid", "softplus", "silu", "elu", "identity"]


class Alignment(LossTerm):
    """activation(alpha * (margin - d)), weighted mean over relations, mean over layers.

    d is the relation's signed centroid distance, positive when it holds; margin and d are in image sides.

    focus: weights are softmax(focus * (margin - d)) over the relations, without a gradient: above 0, of relations that pull one
        object different ways the one that is farther from holding wins. 0 weighs all alike, as the paper does for its one.
    closure: also ask for what directions imply ("a left of b, b left of c": a left of c).
    """

    wordless: ClassVar[bool] = True
    alpha: float = 0.75
    margin: float = 0.25
    activation: Activation = "gelu"
    focus: float = Field(default=0.0, ge=0)
    closure: bool = False

    def __call__(self, statistics: ObjectStatistics, scene: Scene, relations: Mapping[str, Relation]) -> Tensor:
        """Zero for a scene without relations."""
        if not scene.relations:
            return statistics.mass.new_zeros(statistics.mass.shape[0])
        import torch

        centroid = statistics.centroid
        distances = []
        for edge in scene.relations:
            grounds = (centroid[:, :, ground] for ground in edge.objects)
            distances.append(relations[edge.predicate].distance(centroid[:, :, edge.subject], *grounds))
        for axis, before, after in implied(scene, relations) if self.closure else ():
            distances.append(centroid[:, :, after, axis] - centroid[:, :, before, axis])
        short = self.margin - torch.stack(distances, dim=-1)
        weights = (self.focus * short.detach()).softmax(dim=-1)
        return (weights * activation(self.activation)(self.alpha * short)).sum(dim=-1).mean(dim=1)


def implied(scene: Scene, relations: Mapping[str, Relation]) -> Iterator[tuple[int, int, int]]:
    """(axis, what comes before, what comes after) of the orders that follow from the scene's directions and are not stated."""
    import networkx

    for axis in (0, 1):
        stated = axis_graph(scene, relations, axis)
        implied_edges = networkx.transitive_closure_dag(stated).edges - stated.edges
        for before, after in sorted(edge for edge in implied_edges if LOW not in edge and HIGH not in edge):
            yield axis, before, after


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
