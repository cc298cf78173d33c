"""STORM: carry each object's attention to its side of the other (Han et al., arXiv 2503.22168)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.planned import Structure
from spatialguide.terms.boxes import BoxTerm
from spatialguide.terms.maps import distributions, layer_mean


@dataclass(frozen=True)
class _Errand:
    """An object, the object that it must keep to one side of, and that side's direction."""

    index: int
    other: int
    direction: tuple[float, float]


class Storm(BoxTerm):
    """OT(a, t) + position sum(a wrong) + overlap sum(a b / max b), mean over errands and the coarse layers.

    An errand is an object and another that a relation puts it to one side of; a relation has two, its subject's and its
    ground's. a and b are the two objects' maps, a scaled to sum to one. The target t is a Gaussian of standard deviation
    `spread` image sides: along the relation's axis half-way between the other's centroid and the edge of the picture, across
    it in the middle. OT is the optimal transport cost of squared distance with entropic regularisation `epsilon`. wrong is how
    far a cell lies on the wrong side of the other's centroid. Objects without errand are carried to their boxes; all are
    where `boxes` is given. Targets, centroids and b are held fixed.

    The authors' code weighs distances and overlap in one cost, ever more as steps go by, truncates the Gaussian, carries
    objects that no direction parts to random places, and compares maps of attributes; here the costs add up, no step is known,
    boxes stand in for random places, and attributes have no maps. The gradient corrects the noise instead of updating the
    latent.
    """

    levels: tuple[str, ...] = ("coarse",)
    spread: float = Field(default=3 / 16, gt=0)
    position: float = Field(default=1.0, ge=0)
    overlap: float = Field(default=1.0, ge=0)
    epsilon: float = Field(default=0.05, ge=0.03)  # below, float32 has no number for the kernel at the far corner
    iterations: int = Field(default=20, ge=1)

    def applies(self, scene: Structure) -> bool:
        """To every scene with objects."""
        return bool(scene.counts)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        """Above 0 even for maps that equal their targets: regularisation leaves a remainder."""
        errands = [] if self.boxes is not None else _errands(scene)
        settled = {errand.index for errand in errands}
        rest = [index for index in range(len(scene.counts)) if index not in settled]
        centres = statistics.centroid.detach()
        goals = [_goal(centres[:, :, errand.other], errand.direction) for errand in errands]
        if rest:
            for index, (x0, y0, x1, y1) in enumerate(self.boxes_of(scene)):
                if index in rest:
                    cells = centres.new_tensor([[m.shape[-1], m.shape[-2]] for m in statistics.maps])
                    # Boxes are counted from edge to edge, centroids from the first cell's middle to the last's.
                    goal = (centres.new_tensor([(x0 + x1) / 2, (y0 + y1) / 2]) * cells - 0.5) / (cells - 1).clamp(min=1)
                    goals.append(goal.expand_as(centres[:, :, 0]))
        return layer_mean(
            self._layer(maps, errands, rest, [goal[:, layer] for goal in goals], centres[:, layer])
            for layer, maps in enumerate(statistics.maps)
        )

    def _layer(self, maps: Tensor, errands: list[_Errand], rest: list[int], goals: list[Tensor], centres: Tensor) -> Tensor:
        movers = distributions(maps)[:, [errand.index for errand in errands] + rest]
        y, x = (torch.linspace(0, 1, cells, device=maps.device, dtype=maps.dtype) for cells in maps.shape[-2:])
        goal_x, goal_y = torch.stack(goals, dim=1)[..., None].unbind(dim=2)
        # A Gaussian on a grid is the outer product of two.
        along_x = (-((x - goal_x) / self.spread).square() / 2).softmax(dim=-1)
        along_y = (-((y - goal_y) / self.spread).square() / 2).softmax(dim=-1)
        cost = transport(movers, along_y[..., :, None] * along_x[..., None, :], self.epsilon, self.iterations)
        extra = [
            (movers[:, number] * self._obstacles(maps[:, errand.other].detach(), centres[:, errand.other], errand, x, y)).sum(
                dim=(-2, -1)
            )
            for number, errand in enumerate(errands)
        ]
        extra += [torch.zeros_like(cost[:, 0])] * len(rest)
        return (cost + torch.stack(extra, dim=1)).mean(dim=1)

    def _obstacles(self, other: Tensor, centre: Tensor, errand: _Errand, x: Tensor, y: Tensor) -> Tensor:
        """Cost of every cell, (images, height, width): on the wrong side of the other's centroid, or under its map."""
        dx, dy = errand.direction
        wrong = ((centre[:, 0, None, None] - x) * dx + (centre[:, 1, None, None] - y[:, None]) * dy).relu()
        peak = other.amax(dim=(-2, -1), keepdim=True)
        return self.position * wrong + self.overlap * other / peak.masked_fill(peak == 0, 1)


def _errands(scene: Structure) -> list[_Errand]:
    errands = []
    for edge in scene.relations:
        direction = edge.predicate.direction
        if direction is None:
            continue
        for ground in edge.grounds:
            errands.append(_Errand(edge.subject, ground, direction))
            errands.append(_Errand(ground, edge.subject, (-direction[0], -direction[1])))
    return errands


def _goal(other: Tensor, direction: tuple[float, float]) -> Tensor:
    """Where an object belongs, (images, layers, 2), given the centroid of the other."""
    along = [
        (other[..., axis] + (step > 0)) / 2 if step else torch.full_like(other[..., axis], 0.5)
        for axis, step in enumerate(direction)
    ]
    return torch.stack(along, dim=-1)


def transport(source: Tensor, target: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Entropic optimal transport cost of squared distance between maps that sum to one, by Sinkhorn's iterations.

    min over plans P of sum(P |x - y|^2) + epsilon KL(P | source target). The gradient with respect to the source is the dual
    potential, so that no iteration needs a graph.

    Args:
        source, target: (..., height, width).

    Returns:
        (...).
    """
    with torch.no_grad():
        # The kernel of a squared distance is a product over the axes: two small products instead of one of all pairs of cells.
        kernels = []
        for cells in source.shape[-2:]:
            axis = torch.linspace(0, 1, cells, device=source.device, dtype=source.dtype)
            kernels.append((-(axis[:, None] - axis).square() / epsilon).exp())
        rows, columns = kernels
        u = torch.ones_like(source)
        for _ in range(iterations):
            v = (rows @ (source * u) @ columns).reciprocal()
            u = (rows @ (target * v) @ columns).reciprocal()
    return epsilon * ((source * u.log()).sum(dim=(-2, -1)) + (target * v.log()).sum(dim=(-2, -1)))


@hookimpl
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """storm."""
    register("storm", Storm)
