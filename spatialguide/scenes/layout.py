"""Where a scene's objects may stand: a grid that satisfies its directions, and a box for every object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import networkx
import numpy as np
from numpy.typing import NDArray

from spatialguide.scenes.bound import BoundRelation
from spatialguide.scenes.checks import HIGH, LOW, axis_graph

_THIRDS = ("first third", "middle third", "last third")
#: Part of its share of the picture that an object's box fills, so that neighbours keep apart.
_FILL = 0.8
#: Distances below this are none, in image sides.
_SAME = 1e-4
#: Places tried where the grid does not satisfy a scene, and how far around the grid's, in image sides.
_TRIES, _JITTER = 4096, 0.2

#: x0, y0, x1, y1 in image sides, y growing downwards.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Grid:
    """Objects by (column, row), both from 0; `free` are those that no relation places.

    x_edges, y_edges: borders of the columns and of the rows in image sides, one more than there are columns or rows. Where the
    scene gives places in the picture, a column belongs to one third of it.
    """

    cells: Mapping[tuple[int, int], tuple[int, ...]]
    x_edges: tuple[float, ...]
    y_edges: tuple[float, ...]
    free: tuple[int, ...]

    @property
    def columns(self) -> int:
        """How many columns there are, at least one."""
        return len(self.x_edges) - 1

    @property
    def rows(self) -> int:
        """How many rows there are, at least one."""
        return len(self.y_edges) - 1


def grid(relations: Sequence[BoundRelation], objects: int) -> Grid:
    """The smallest grid in which every direction of the scene holds; things side by side share a row.

    The relations must be free of contradictions (`check_axes`).
    """
    placed = sorted({i for relation in relations for i in (relation.subject, *relation.grounds)})
    (columns, x_edges), (rows, y_edges) = (_ranks(relations, axis, placed) for axis in (0, 1))
    cells: dict[tuple[int, int], tuple[int, ...]] = {}
    for index in placed:
        place = (columns[index], rows[index])
        cells[place] = (*cells.get(place, ()), index)
    free = tuple(i for i in range(objects) if i not in placed)
    return Grid(cells, x_edges, y_edges, free)


def _ranks(relations: Sequence[BoundRelation], axis: int, placed: list[int]) -> tuple[dict[int, int], tuple[float, ...]]:
    """Column or row of every placed object, and the borders of all, empty thirds of the picture included."""
    graph = axis_graph(relations, axis)
    graph.add_nodes_from(placed)
    for start, end in _wishes(relations, axis):
        if not networkx.has_path(graph, end, start):
            graph.add_edge(start, end)
    same = networkx.utils.UnionFind(graph.nodes)
    for one, other in _levels(relations, axis):
        a, b = same[one], same[other]
        if a != b and not networkx.has_path(graph, a, b) and not networkx.has_path(graph, b, a):
            same.union(a, b)
            kept, gone = (a, b) if same[a] == a else (b, a)
            networkx.contracted_nodes(graph, kept, gone, self_loops=False, copy=False)
    thirds = LOW in graph
    if thirds:
        # What no relation ties to a third is drawn in the middle one.
        for part in [part for part in networkx.weakly_connected_components(graph) if LOW not in part]:
            graph.add_edges_from((LOW, node) for node in part)
            graph.add_edges_from((node, HIGH) for node in part)
        first, middle, last = _THIRDS
        networkx.add_path(graph, [first, LOW, middle, HIGH, last])
    ranks: dict[object, int] = {}
    for node in networkx.topological_sort(graph):
        # The borders of the thirds take no column of their own.
        ranks[node] = max((ranks[before] + (before not in (LOW, HIGH)) for before in graph.predecessors(node)), default=0)
    starts = [ranks[third] for third in _THIRDS] if thirds else [0]
    end = max((rank + 1 for node, rank in ranks.items() if node not in (LOW, HIGH)), default=1)
    return {node: ranks[same[node]] for node in placed}, _edges([*starts, end])


def _edges(starts: list[int]) -> tuple[float, ...]:
    """Borders of columns: equal parts of the picture, which begin with the columns `starts`, each of equal columns."""
    parts = len(starts) - 1
    inner = [
        (part + step / (after - before)) / parts
        for part, (before, after) in enumerate(pairwise(starts))
        for step in range(after - before)
    ]
    return (*inner, 1.0)


def _wishes(relations: Sequence[BoundRelation], axis: int) -> Iterator[tuple[int, int]]:
    """Orders that relations without a direction suggest: neighbours and "between" go from left to right."""
    for relation in relations:
        if axis == 0 and relation.predicate.direction is None:
            if len(set(relation.grounds)) == 2:
                yield relation.grounds[0], relation.subject
                yield relation.subject, relation.grounds[1]
            elif relation.predicate.converse == relation.name:
                yield relation.grounds[0], relation.subject


def _levels(relations: Sequence[BoundRelation], axis: int) -> Iterator[tuple[int, int]]:
    """Pairs that may share a row or column, since no relation parts them on this axis."""
    for relation in relations:
        across = relation.predicate.direction is None or not relation.predicate.direction[axis]
        for ground in relation.grounds:
            if across:
                yield relation.subject, ground


def boxes(relations: Sequence[BoundRelation], objects: int) -> tuple[Box, ...]:
    """A box for every object, in the scene's order, such that the centres satisfy every direction of the scene.

    Boxes are squares in image sides. Objects that share a cell of the grid share its space: side by side or one above the
    other, or all in one place where only that satisfies their relations ("inside"). Objects that no relation places take
    the emptiest cells.

    The relations must be free of contradictions (`check_axes`).
    """
    found = grid(relations, objects)
    areas = {
        (column, row): (found.x_edges[column], found.y_edges[row], found.x_edges[column + 1], found.y_edges[row + 1])
        for row, column in product(range(found.rows), range(found.columns))
    }
    groups = {place: _related(relations, found.cells.get(place, ())) for place in areas}
    for index in found.free:
        emptiest = min(areas, key=lambda place: (len(groups[place]), -_size(areas[place])))
        groups[emptiest].append([index])
    shares: dict[int, Box] = {}
    for place, area in areas.items():
        parts = _split(area, len(groups[place]), _longer(area))
        for group, part in zip(groups[place], parts, strict=True):
            shares |= _arranged(relations, group, part)
    found_boxes = tuple(_square(shares[index]) for index in range(objects))
    return found_boxes if holds(relations, found_boxes) else _searched(relations, found_boxes)


def _searched(relations: Sequence[BoundRelation], start: Sequence[Box]) -> tuple[Box, ...]:
    """The start moved to where its worst relation holds best, of many places tried around it; the start if none is better.

    For what the grid does not know: a relation of its own kind, such as "behind", together with a direction.
    """
    edges = np.array(start)
    half = (edges[:, 2:] - edges[:, :2]) / 2
    jitter = np.random.default_rng(0).normal(0, _JITTER, size=(_TRIES, len(start), 2))
    jitter[0] = 0
    centres = np.clip((edges[:, :2] + edges[:, 2:]) / 2 + jitter, half, 1 - half)
    worst = np.min([relation.distance(centres) for relation in can_hold(relations)], axis=0)
    best = centres[int(worst.argmax())]
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in np.concatenate([best - half, best + half], axis=1).tolist())


def apart(one: Box, other: Box) -> bool:
    """Whether two boxes do not overlap."""
    return any(max(one[axis], other[axis]) >= min(one[axis + 2], other[axis + 2]) for axis in (0, 1))


def centres_of(places: Sequence[Box]) -> NDArray[np.float64]:
    """(objects, 2)."""
    edges = np.array(places, dtype=float).reshape(-1, 4)
    centres: NDArray[np.float64] = (edges[:, :2] + edges[:, 2:]) / 2
    return centres


def can_hold(relations: Iterable[BoundRelation]) -> list[BoundRelation]:
    """Without those in which an object stands for both grounds ("between two trees"): their distance is zero at best, where
    the subject stands amid the object's box."""
    return [relation for relation in relations if len(set(relation.grounds)) == len(relation.grounds)]


def holds(relations: Iterable[BoundRelation], places: Sequence[Box]) -> bool:
    """Whether all relations that can hold do between the centres of the boxes."""
    centres = centres_of(places)
    return all(bool(relation.distance(centres) > 0) for relation in can_hold(relations))


def _related(relations: Sequence[BoundRelation], members: Sequence[int]) -> list[list[int]]:
    """The members of one cell in groups that relations tie together."""
    graph = networkx.Graph()
    graph.add_nodes_from(members)
    graph.add_edges_from(
        (relation.subject, ground)
        for relation in relations
        for ground in relation.grounds
        if {relation.subject, ground} <= set(members)
    )
    return [sorted(group) for group in networkx.connected_components(graph)]


def _arranged(relations: Sequence[BoundRelation], group: list[int], area: Box) -> dict[int, Box]:
    """Shares of an area, arranged so that as many relations of the group hold as can."""
    axis = _longer(area)
    ways = [
        dict(zip(order, _split(area, len(group), along), strict=True))
        for along in (axis, 1 - axis)
        for order in (group, group[::-1])
    ]
    inner = [relation for relation in relations if relation.grounds and {relation.subject, *relation.grounds} <= set(group)]
    possible = can_hold(inner)
    amid = {relation.subject for relation in inner if relation not in possible}
    _, middle, _ = _split(area, 3, axis)
    ways.append({index: middle if index in amid else area for index in group})

    def held(way: Mapping[int, Box]) -> int:
        centres = np.zeros((max(way) + 1, 2))
        centres[list(way)] = centres_of(list(way.values()))
        floors = [0.0 if relation in possible else -_SAME for relation in inner]
        return sum(bool(relation.distance(centres) > floor) for relation, floor in zip(inner, floors, strict=True))

    return max(ways, key=held)


def _split(area: Box, parts: int, axis: int) -> list[Box]:
    """Equal parts of an area, one after another along an axis (0: left to right, 1: top to bottom)."""
    low, high = area[axis], area[axis + 2]
    edges = [low + (high - low) * part / parts for part in range(parts)]
    return [
        (start, area[1], end, area[3]) if axis == 0 else (area[0], start, area[2], end)
        for start, end in pairwise([*edges, high])
    ]


def _longer(area: Box) -> int:
    return 0 if area[2] - area[0] >= area[3] - area[1] else 1


def _size(area: Box) -> float:
    return (area[2] - area[0]) * (area[3] - area[1])


def _square(area: Box) -> Box:
    """A square in the middle of an area."""
    x0, y0, x1, y1 = area
    half = _FILL * min(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return x - half, y - half, x + half, y + half
