"""Superiority: how surely one object comes before another along an axis, read off whole maps (after PSG, arXiv 2506.23418)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import networkx
import torch
from pydantic import Field
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.constants import Values, constant, index
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.checks import HIGH, LOW, axis_graph
from spatialguide.scenes.planned import Structure
from spatialguide.terms.maps import distributions, layer_mean, superiority

#: Chance that is left to the order that no map shows: it bounds the loss, and keeps its gradient.
_LEAST = 1e-4


class Superiority(LossTerm):
    """mean over orders of -log P, mean over layers; P = P(x_a + gap < x_b) + P(x_a + gap = x_b) / 2, x drawn from the maps.

    Maps are scaled to sum to one, so that P is the share of the pairs of places, one of each object, that stand as asked; 1 - P
    is the share on the wrong side. A centroid is blind to a map of two spots on either side, as doubled objects have, and to
    hollow things; P is not. Orders are those of directions, and with `closure` those that follow ("a left of b, b left of c").
    A place in the picture asks for the share of the map in that half, or in the middle half.

    gap: how far apart two places must be to count, in image sides, to the cell. log: False takes 1 - P instead of -log P, which
        gives orders that hold worst no greater weight.
    """

    gap: float = Field(default=0.0, ge=0, lt=1)
    log: bool = True
    closure: bool = True

    def applies(self, scene: Structure) -> bool:
        """To scenes with a direction, or with a place in the picture that has one."""
        return any(axis.first or axis.owner for axis in self._asked(scene))

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Between 0, all in order, and -log 0.0001 or 1, nothing."""
        asked = self._asked(scene)
        if not self.applies(scene):
            return statistics.mass.new_zeros(statistics.mass.shape[0])
        shares = [torch.cat(self._shares(distributions(maps), asked), dim=1) for maps in statistics.maps]
        return layer_mean((-(_LEAST + (1 - _LEAST) * share).log() if self.log else 1 - share).mean(dim=1) for share in shares)

    def _asked(self, scene: Structure) -> tuple[_Axis, ...]:
        return scene.remember(("superiority", self.closure), lambda: tuple(_axis(scene, axis, self.closure) for axis in (0, 1)))

    def _shares(self, maps: Tensor, asked: tuple[_Axis, ...]) -> list[Tensor]:
        """P of what is asked for along each axis, (images, orders)."""
        found = []
        for axis, along in enumerate(asked):
            marginal = maps.sum(dim=axis - 2)  # (images, objects, cells)
            cells = marginal.shape[-1]
            if along.first:
                first, second = (marginal[:, index(ends, maps)] for ends in (along.first, along.second))
                found.append(superiority(first, second, round(self.gap * cells)))
            if along.owner:
                halves = constant(tuple(_half(cells, side) for side in along.side), maps)
                found.append((marginal[:, index(along.owner, maps)] * halves).sum(dim=-1))
        return found


@dataclass(frozen=True)
class _Axis:
    """What a scene asks for along an axis: first[i] before second[i]; owner[j] in the half side[j], 0 for the middle."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    owner: tuple[int, ...]
    side: tuple[int, ...]


def _axis(scene: Structure, axis: int, closure: bool) -> _Axis:
    graph = axis_graph(scene.relations, axis)
    edges = networkx.transitive_closure(graph).edges if closure else graph.edges
    orders = [(one, other) for one, other in edges if not {one, other} & {LOW, HIGH}]
    places = [
        (relation.subject, int(direction[axis]))
        for relation in scene.relations
        if not relation.grounds and (direction := relation.predicate.direction) is not None
        if direction[axis] or not any(direction)
    ]
    return _Axis(*(tuple(each[end] for each in pairs) for pairs in (orders, places) for end in (0, 1)))


def _half(cells: int, side: int) -> Values:
    """1 for cells in the first (-1) or second (1) half, or in the middle one (0); 1/2 for one that the border halves."""
    middles = [(2 * cell + 1) / cells - 1 for cell in range(cells)]  # from -1 to 1
    inside = [side * x if side else 0.5 - abs(x) for x in middles]
    return tuple((1 + (x > 0) - (x < 0)) / 2 for x in inside)


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """superiority."""
    register("superiority", Superiority)
