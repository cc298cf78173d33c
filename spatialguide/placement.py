"""Where the objects of each image are to go: the nearest places to where they are in which all relations hold together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import networkx
import torch
from torch import Tensor

from spatialguide.contracts import Relation
from spatialguide.layout import Box
from spatialguide.planning import axis_graph
from spatialguide.scene import Scene

#: Rounds of moving objects apart; each takes away most of what is still missing.
_ROUNDS = 40
#: Distances along an axis below this are no distances.
_SAME = 1e-6

#: A coordinate that comes before another by at least so much; coordinates are places in the flattened (objects, 2).
Gap = tuple[int, int, float]


def nearest_boxes(
    centres: Tensor, scene: Scene, relations: Mapping[str, Relation], boxes: Sequence[Box], slack: float
) -> Tensor:
    """Boxes of the given sizes, as near to `centres` as can be, in which the scene's relations hold as in the given ones.

    Along an axis on which the scene orders two objects, by a direction or by what several directions imply, they keep at least
    (1 - slack) of the distance that their given boxes' centres have there. Members of a relation of another kind ("inside",
    "between") keep the given offset, and objects that have a place in the picture keep it. Others only stand apart, in the
    given order, or in the image's where the scene asks for no order at all and the given boxes are in a row ("a cat next to
    a dog"). So the given boxes are one solution, and what the scene leaves open follows the image. Solved by projecting on
    one distance after another until all hold (projections onto convex sets).

    Args:
        centres: (..., objects, 2), in image sides.
        boxes: one per object, from `spatialguide.layout.boxes`.

    Returns:
        (..., objects, 4), inside the picture, without a graph.
    """
    # On the CPU, wherever the maps are: these are hundreds of operations on a few numbers.
    device, centres = centres.device, centres.detach().cpu()
    given = centres.new_tensor(list(boxes)).reshape(-1, 4)
    wanted, half = (given[:, :2] + given[:, 2:]) / 2, (given[:, 2:] - given[:, :2]) / 2
    rows = list(_gaps(scene, relations, wanted.tolist(), half[:, 0].tolist(), slack))
    first, second = (torch.tensor([row[end] for row in rows], dtype=torch.long) for end in (0, 1))
    gaps = centres.new_tensor([row[2] for row in rows])
    open_order = torch.tensor(_is_open(scene, relations, rows))
    # A coordinate moves by the mean of what the distances ask of it.
    asking = torch.cat([first, second]).bincount(minlength=wanted.numel()).clamp(min=1)
    low, high = half.clone(), 1 - half
    for edge in scene.relations:
        if not edge.objects:
            axes = _placed_axes(relations[edge.predicate])
            low[edge.subject, axes] = high[edge.subject, axes] = wanted[edge.subject, axes]
    places = centres.flatten(-2)
    sign = torch.where(open_order & (places[..., second] < places[..., first]), -1.0, 1.0)
    for _ in range(_ROUNDS):
        # Each end goes half the way.
        missing = sign * (gaps - sign * (places[..., second] - places[..., first])).relu() / 2
        moves = torch.zeros_like(places).index_add(-1, second, missing).index_add(-1, first, -missing)
        places = (places + moves / asking).clamp(low.flatten(), high.flatten())
    places = places.view(*places.shape[:-1], -1, 2)
    return torch.cat([places - half, places + half], dim=-1).to(device)


def _gaps(
    scene: Scene, relations: Mapping[str, Relation], wanted: list[list[float]], half: list[float], slack: float
) -> Iterator[Gap]:
    tied: set[frozenset[int]] = set()
    for edge in scene.relations:
        relation = relations[edge.predicate]
        if relation.direction is None and relation.converse != edge.predicate:
            for ground in edge.objects:
                tied.add(frozenset((edge.subject, ground)))
                for axis in (0, 1):
                    offset = wanted[ground][axis] - wanted[edge.subject][axis]
                    yield 2 * edge.subject + axis, 2 * ground + axis, offset
                    yield 2 * ground + axis, 2 * edge.subject + axis, -offset
    for axis in (0, 1):
        for before, after in networkx.transitive_closure(axis_graph(scene, relations, axis)).edges:
            if isinstance(before, int) and isinstance(after, int) and before != after:
                tied.add(frozenset((before, after)))
                distance = wanted[after][axis] - wanted[before][axis]
                if distance > _SAME:
                    yield 2 * before + axis, 2 * after + axis, (1 - slack) * distance
    for i, j in combinations(range(len(wanted)), 2):
        if frozenset((i, j)) not in tied:
            axis = max((0, 1), key=lambda axis: abs(wanted[j][axis] - wanted[i][axis]))
            distance = wanted[j][axis] - wanted[i][axis]
            if abs(distance) > _SAME:
                ends = (2 * i + axis, 2 * j + axis) if distance > 0 else (2 * j + axis, 2 * i + axis)
                yield *ends, min(abs(distance), half[i] + half[j])


def _is_open(scene: Scene, relations: Mapping[str, Relation], gaps: Sequence[Gap]) -> bool:
    """Whether the scene leaves the order of its objects to the image; only in a row is there room for every order."""
    unordered = all(edge.objects and relations[edge.predicate].converse == edge.predicate for edge in scene.relations)
    return unordered and len({first % 2 for first, _, _ in gaps}) <= 1


def _placed_axes(relation: Relation) -> list[int]:
    """Axes on which a place in the picture says something; both for the centre and for places of unknown direction."""
    if relation.direction is None or not any(relation.direction):
        return [0, 1]
    return [axis for axis in (0, 1) if relation.direction[axis]]


def parts(boxes: Tensor, counts: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Each object's box cut into as many columns as the object is asked for.

    Args:
        boxes: (..., objects, 4).
        counts: per object.

    Returns:
        (..., parts, 4), and the object that each part belongs to.
    """
    owners = [index for index, count in enumerate(counts) for _ in range(count)]
    number = [part for count in counts for part in range(count)]
    of = boxes.new_tensor([counts[owner] for owner in owners])
    x0, y0, x1, y1 = boxes[..., owners, :].unbind(dim=-1)
    width = (x1 - x0) / of
    left = x0 + width * boxes.new_tensor(number)
    return torch.stack([left, y0, left + width, y1], dim=-1), owners
