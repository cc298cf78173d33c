"""Where the objects of each image are to go: places near where they are in which all relations hold together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import networkx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spatialguide.guidance.constants import Values, constant, values_of
from spatialguide.scenes.bound import BoundRelation
from spatialguide.scenes.checks import HIGH, LOW, axis_graph
from spatialguide.scenes.layout import Box
from spatialguide.scenes.planned import Structure

#: Distances along an axis below this are no distances.
_SAME = 1e-6
_NONE = float("-inf")


def nearest_places(centres: Tensor, scene: Structure, boxes: Sequence[Box], slack: float) -> Tensor:
    """Centres near to `centres` for boxes of the given sizes, such that the scene's relations hold as in the given ones.

    Along an axis on which the scene orders two objects, by a direction or by what several directions imply, they keep at least
    (1 - slack) of the distance that their given boxes' centres have there. Members of a relation of another kind ("inside",
    "between") keep the given offset, and objects that have a place in the picture keep it. Others only stand apart, in the
    given order, or in the image's where the scene asks for no order at all and the given boxes are in a row ("a cat next to
    a dog"). So the given boxes are one solution, and what the scene leaves open follows the image.

    All of these are lower bounds on differences, p_j - p_i >= D_ij. With D closed under its own sums,
    max_i(p_i + D_ij) is the least solution above p and min_i(p_i - D_ji) the greatest below it. Solutions form a convex
    set, so the middle of the two is one: for two objects each goes half the way, which is the nearest there is.

    Args:
        centres: (images, objects, 2), in image sides.
        boxes: one per object, such as `scene.boxes`.

    Returns:
        (images, objects, 2), whose boxes lie inside the picture, without a graph.
    """
    given = tuple(boxes)
    found = scene.remember(("constraints", given, slack), lambda: _constraints(scene, given, slack))
    places = centres.detach().transpose(-1, -2)  # (images, 2, objects)
    bounds, low, high = (constant(values, places) for values in (found.gaps, found.low, found.high))
    if found.later is not None:
        bounds = _in_the_images_order(bounds, places, constant(found.later, places))
        low, high = _least(low, bounds), _greatest(high, bounds)
    middle = (_least(places, bounds) + _greatest(places, bounds)) / 2
    return torch.minimum(torch.maximum(middle, low), high).transpose(-1, -2)


def _least(places: Tensor, bounds: Tensor) -> Tensor:
    """The least solution that is nowhere below the places, (..., 2, objects)."""
    return (places[..., :, None] + bounds).amax(dim=-2)


def _greatest(places: Tensor, bounds: Tensor) -> Tensor:
    """The greatest solution that is nowhere above the places, (..., 2, objects)."""
    return (places[..., None, :] - bounds).amin(dim=-1)


def _in_the_images_order(bounds: Tensor, places: Tensor, later: Tensor) -> Tensor:
    """Bounds, closed, in which whichever of two stands first in the image stays first; equals as in the given boxes."""
    behind = places[..., :, None] - places[..., None, :]
    bounds = bounds.masked_fill((behind > 0) | ((behind == 0) & (later > 0)), _NONE)
    for _ in range(max(bounds.shape[-1] - 2, 0).bit_length()):
        bounds = torch.maximum(bounds, (bounds[..., :, :, None] + bounds[..., None, :, :]).amax(dim=-2))
    return bounds


@dataclass(frozen=True)
class _Constraints:
    """gaps: D by axis, before and after. low, high: by axis, the least and the greatest solution inside the picture.

    later: by axis, 1 where the first of a pair stands behind the second in the
    given boxes; None unless the scene leaves the order to the image, for which the gaps are given both ways.
    """

    gaps: Values
    low: Values
    high: Values
    later: Values | None


def _constraints(scene: Structure, boxes: Sequence[Box], slack: float) -> _Constraints:
    edges = np.array(boxes, dtype=float).reshape(-1, 4)
    wanted, half = (edges[:, :2] + edges[:, 2:]) / 2, (edges[:, 2:] - edges[:, :2]) / 2
    gaps = np.where(np.eye(len(boxes), dtype=bool), 0.0, np.full((2, len(boxes), len(boxes)), _NONE))
    tied = _ordered(gaps, scene.relations, wanted, slack)
    _kept_apart(gaps, tied, wanted, half)
    low, high = half.T.copy(), (1 - half).T.copy()
    for relation in scene.relations:
        if not relation.grounds:
            axes = _placed_axes(relation)
            low[axes, relation.subject] = high[axes, relation.subject] = wanted[relation.subject, axes]
    later = None
    if _is_open(scene.relations, gaps):
        gaps = np.maximum(gaps, gaps.transpose(0, 2, 1))
        number = np.arange(len(boxes))
        order = np.array([np.lexsort((number, row)).argsort() for row in wanted.T])
        later = values_of((order[:, :, None] > order[:, None, :]).astype(float))
    else:
        for middle in range(len(boxes)):
            gaps = np.maximum(gaps, gaps[:, :, middle, None] + gaps[:, None, middle, :])
        low = (low[:, :, None] + gaps).max(axis=1)
        high = (high[:, None, :] - gaps).min(axis=2)
    return _Constraints(values_of(gaps), values_of(low), values_of(high), later)


def _ordered(
    gaps: NDArray[np.float64], relations: Sequence[BoundRelation], wanted: NDArray[np.float64], slack: float
) -> set[frozenset[int]]:
    """Enter what the relations ask for; the pairs that they speak of."""
    tied: set[frozenset[int]] = set()
    for relation in relations:
        if relation.predicate.direction is None and relation.predicate.converse != relation.name:
            for ground in relation.grounds:
                tied.add(frozenset((relation.subject, ground)))
                offset = wanted[ground] - wanted[relation.subject]
                gaps[:, relation.subject, ground], gaps[:, ground, relation.subject] = offset, -offset
    for axis in (0, 1):
        for before, after in networkx.transitive_closure(axis_graph(relations, axis)).edges:
            if not {before, after} & {LOW, HIGH} and before != after:
                tied.add(frozenset((before, after)))
                distance = wanted[after, axis] - wanted[before, axis]
                if distance > _SAME:
                    gaps[axis, before, after] = max(gaps[axis, before, after], (1 - slack) * distance)
    return tied


def _kept_apart(
    gaps: NDArray[np.float64], tied: set[frozenset[int]], wanted: NDArray[np.float64], half: NDArray[np.float64]
) -> None:
    """Enter that all other pairs stand apart, along the axis on which they are farther from each other."""
    for i, j in combinations(range(len(wanted)), 2):
        if frozenset((i, j)) not in tied:
            axis = int(np.abs(wanted[j] - wanted[i]).argmax())
            distance = wanted[j, axis] - wanted[i, axis]
            if abs(distance) > _SAME:
                first, second = (i, j) if distance > 0 else (j, i)
                gaps[axis, first, second] = min(abs(distance), half[i, 0] + half[j, 0])


def _is_open(relations: Sequence[BoundRelation], gaps: NDArray[np.float64]) -> bool:
    """Whether the scene leaves the order of its objects to the image; only in a row is there room for every order."""
    unordered = all(relation.grounds and relation.predicate.converse == relation.name for relation in relations)
    stated = np.isfinite(gaps) & ~np.eye(gaps.shape[-1], dtype=bool)
    return unordered and not (stated[0].any() and stated[1].any())


def _placed_axes(relation: BoundRelation) -> list[int]:
    """Axes on which a place in the picture says something; both for the centre and for places of unknown direction."""
    direction = relation.predicate.direction
    if direction is None or not any(direction):
        return [0, 1]
    return [axis for axis in (0, 1) if direction[axis]]
