"""Where a scene's objects may stand: a grid that satisfies its directions, a box for every object, terms that read boxes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from typing import Any

import networkx
import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from spatialguide.contracts import LossTerm, Relation
from spatialguide.errors import ConfigError, PluginError
from spatialguide.planning import HIGH, LOW, axis_graph
from spatialguide.scene import Relation as Edge
from spatialguide.scene import Scene

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


def grid(scene: Scene, relations: Mapping[str, Relation]) -> Grid:
    """The smallest grid in which every direction of the scene holds; things side by side share a row.

    The scene must be free of contradictions (`check_scene`).
    """
    placed = sorted({i for edge in scene.relations for i in (edge.subject, *edge.objects)})
    (columns, x_edges), (rows, y_edges) = (_ranks(scene, relations, axis, placed) for axis in (0, 1))
    cells: dict[tuple[int, int], tuple[int, ...]] = {}
    for index in placed:
        place = (columns[index], rows[index])
        cells[place] = (*cells.get(place, ()), index)
    free = tuple(i for i in range(len(scene.objects)) if i not in placed)
    return Grid(cells, x_edges, y_edges, free)


def _ranks(
    scene: Scene, relations: Mapping[str, Relation], axis: int, placed: list[int]
) -> tuple[dict[int, int], tuple[float, ...]]:
    """Column or row of every placed object, and the borders of all, empty thirds of the picture included."""
    graph = axis_graph(scene, relations, axis)
    graph.add_nodes_from(placed)
    for start, end in _wishes(scene, relations, axis):
        if not networkx.has_path(graph, end, start):
            graph.add_edge(start, end)
    same = networkx.utils.UnionFind(graph.nodes)
    for one, other in _levels(scene, relations, axis):
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


def _wishes(scene: Scene, relations: Mapping[str, Relation], axis: int) -> Iterator[tuple[int, int]]:
    """Orders that relations without a direction suggest: neighbours and "between" go from left to right."""
    for edge in scene.relations:
        relation = relations[edge.predicate]
        if axis == 0 and relation.direction is None:
            if len(set(edge.objects)) == 2:
                yield edge.objects[0], edge.subject
                yield edge.subject, edge.objects[1]
            elif relation.converse == edge.predicate:
                yield edge.objects[0], edge.subject


def _levels(scene: Scene, relations: Mapping[str, Relation], axis: int) -> Iterator[tuple[int, int]]:
    """Pairs that may share a row or column, since no relation parts them on this axis."""
    for edge in scene.relations:
        relation = relations[edge.predicate]
        across = relation.direction is None or not relation.direction[axis]
        for ground in edge.objects:
            if across:
                yield edge.subject, ground


def boxes(scene: Scene, relations: Mapping[str, Relation]) -> tuple[Box, ...]:
    """A box for every object, in the scene's order, such that the centres satisfy every direction of the scene.

    Boxes are squares in image sides. Objects that share a cell of the grid share its space: side by side or one above the
    other, or all in one place where only that satisfies their relations ("inside"). Objects that no relation places take
    the emptiest cells.

    The scene must be free of contradictions (`check_scene`).
    """
    found = grid(scene, relations)
    areas = {
        (column, row): (found.x_edges[column], found.y_edges[row], found.x_edges[column + 1], found.y_edges[row + 1])
        for row, column in product(range(found.rows), range(found.columns))
    }
    groups = {place: _related(scene, found.cells.get(place, ())) for place in areas}
    for index in found.free:
        emptiest = min(areas, key=lambda place: (len(groups[place]), -_size(areas[place])))
        groups[emptiest].append([index])
    shares: dict[int, Box] = {}
    for place, area in areas.items():
        parts = _split(area, len(groups[place]), _longer(area))
        for group, part in zip(groups[place], parts, strict=True):
            shares |= _arranged(scene, relations, group, part)
    found_boxes = tuple(_square(shares[index]) for index in range(len(scene.objects)))
    return found_boxes if _holds(scene, found_boxes, relations) else _searched(scene, found_boxes, relations)


def _holds(scene: Scene, places: Sequence[Box], relations: Mapping[str, Relation]) -> bool:
    edges = _can_hold(scene.relations)
    return all(bool(distance > 0) for distance in _distances(edges, dict(enumerate(places)), relations))


def _searched(scene: Scene, start: Sequence[Box], relations: Mapping[str, Relation]) -> tuple[Box, ...]:
    """The start moved to where its worst relation holds best, of many places tried around it; the start if none is better.

    For what the grid does not know: a relation of its own kind, such as "behind", together with a direction.
    """
    edges = np.array(start)
    half = (edges[:, 2:] - edges[:, :2]) / 2
    jitter = np.random.default_rng(0).normal(0, _JITTER, size=(_TRIES, len(start), 2))
    jitter[0] = 0
    centres = np.clip((edges[:, :2] + edges[:, 2:]) / 2 + jitter, half, 1 - half)
    worst = np.min(list(_distances_of(_can_hold(scene.relations), centres, relations)), axis=0)
    best = centres[int(worst.argmax())]
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in np.concatenate([best - half, best + half], axis=1).tolist())


def together(scene: Scene, relations: Mapping[str, Relation]) -> set[tuple[int, int]]:
    """Pairs (i, j), i < j, of objects whose `boxes` overlap, as those of "inside" do."""
    return {(i, j) for (i, one), (j, other) in combinations(enumerate(boxes(scene, relations)), 2) if not _apart(one, other)}


def _apart(one: Box, other: Box) -> bool:
    return any(max(one[axis], other[axis]) >= min(one[axis + 2], other[axis + 2]) for axis in (0, 1))


def layout_distances(scene: Scene, relations: Mapping[str, Relation]) -> list[float]:
    """Signed distance of each relation of the scene in its `boxes`, in image sides."""
    places = boxes(scene, relations)
    return [float(distance) for distance in _distances(scene.relations, dict(enumerate(places)), relations)]


def conflicts(scene: Scene, relations: Mapping[str, Relation]) -> tuple[tuple[Edge, ...], ...]:
    """Smallest sets of relations that no layout was found to satisfy together; none where `boxes` satisfies all.

    `check_scene` refuses directions that form a cycle. This finds what no cycle shows: "a cat inside a box, left of the box".
    Each set is irreducible: without any one of its relations the others hold. A relation is in one set at most, and one that
    holds nowhere on its own is in none.
    """
    found: list[tuple[Edge, ...]] = []
    left = scene.relations
    while len(left) > 1 and not _satisfied(scene, left, relations):
        kept = left
        for edge in left:
            without = tuple(other for other in kept if other is not edge)
            if not _satisfied(scene, without, relations):
                kept = without
        if len(kept) > 1:
            found.append(kept)
        left = tuple(edge for edge in left if all(edge is not other for other in kept))
    return tuple(found)


def feasible(scene: Scene, relations: Mapping[str, Relation]) -> Scene:
    """The scene without the last relation of each of its `conflicts`; what was left out is in its `ignored`."""
    ignored, dropped = list(scene.ignored), []
    for edges in conflicts(scene, relations):
        *kept, last = edges
        dropped.append(last)
        stated = " and ".join(f"'{scene.sentence(edge)}'" for edge in kept)
        ignored.append(f"'{scene.sentence(last)}' (no layout was found in which it holds together with {stated})")
    if not dropped:
        return scene
    left = tuple(edge for edge in scene.relations if all(edge is not other for other in dropped))
    return scene.model_copy(update={"relations": left, "ignored": tuple(ignored)})


def _satisfied(scene: Scene, edges: tuple[Edge, ...], relations: Mapping[str, Relation]) -> bool:
    """Whether all these relations hold in the layout that they alone ask for."""
    asked = scene.model_copy(update={"relations": edges})
    return _holds(asked, boxes(asked, relations), relations)


def _distances(edges: Iterable[Edge], places: Mapping[int, Box], relations: Mapping[str, Relation]) -> Iterator[Any]:
    """The relations' signed distances between the centres of boxes."""
    centres = np.zeros((max(places, default=-1) + 1, 2))
    for index, (x0, y0, x1, y1) in places.items():
        centres[index] = (x0 + x1) / 2, (y0 + y1) / 2
    return _distances_of(edges, centres, relations)


def _distances_of(edges: Iterable[Edge], centres: NDArray[np.float64], relations: Mapping[str, Relation]) -> Iterator[Any]:
    """The relations' signed distances; centres: (..., objects, 2)."""
    for edge in edges:
        grounds = (centres[..., ground, :] for ground in edge.objects)
        try:
            yield relations[edge.predicate].distance(centres[..., edge.subject, :], *grounds)
        except Exception as error:
            raise PluginError(
                f"relation '{edge.predicate}' raised {type(error).__name__}: {error}; repair or uninstall it"
            ) from error


def _can_hold(edges: Iterable[Edge]) -> list[Edge]:
    """Without those in which an object stands for both grounds ("between two trees"): their distance is zero at best, where
    the subject stands amid the object's box."""
    return [edge for edge in edges if len(set(edge.objects)) == len(edge.objects)]


def _related(scene: Scene, members: Sequence[int]) -> list[list[int]]:
    """The members of one cell in groups that relations tie together."""
    graph = networkx.Graph()
    graph.add_nodes_from(members)
    graph.add_edges_from(
        (edge.subject, ground) for edge in scene.relations for ground in edge.objects if {edge.subject, ground} <= set(members)
    )
    return [sorted(group) for group in networkx.connected_components(graph)]


def _arranged(scene: Scene, relations: Mapping[str, Relation], group: list[int], area: Box) -> dict[int, Box]:
    """Shares of an area, arranged so that as many relations of the group hold as can."""
    axis = _longer(area)
    ways = [
        dict(zip(order, _split(area, len(group), along), strict=True))
        for along in (axis, 1 - axis)
        for order in (group, group[::-1])
    ]
    inner = [edge for edge in scene.relations if edge.objects and {edge.subject, *edge.objects} <= set(group)]
    possible = _can_hold(inner)
    amid = {edge.subject for edge in inner if edge not in possible}
    _, middle, _ = _split(area, 3, axis)
    ways.append({index: middle if index in amid else area for index in group})

    def held(way: Mapping[int, Box]) -> int:
        floors = [0.0 if edge in possible else -_SAME for edge in inner]
        return sum(bool(d > floor) for d, floor in zip(_distances(inner, way, relations), floors, strict=True))

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


class BoxTerm(LossTerm):
    """A loss term that wants every object in a box.

    boxes: one (x0, y0, x1, y1) per object of the scene, in image sides; None derives them from the scene (`boxes`).
    """

    boxes: tuple[Box, ...] | None = None

    @field_validator("boxes")
    @classmethod
    def _inside_the_picture(cls, given: tuple[Box, ...] | None) -> tuple[Box, ...] | None:
        for x0, y0, x1, y1 in given or ():
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise ValueError("a box is (x0, y0, x1, y1) in image sides, with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
        return given

    def boxes_of(self, scene: Scene, relations: Mapping[str, Relation]) -> tuple[Box, ...]:
        """The box of every object of the scene.

        Raises:
            ConfigError: the option gives another number of boxes than the scene has objects.
        """
        if self.boxes is None:
            return boxes(scene, relations)
        if len(self.boxes) != len(scene.objects):
            names = ", ".join(scene.name(index) for index in range(len(scene.objects)))
            raise ConfigError(
                f"boxes: {len(self.boxes)} given for {len(scene.objects)} objects of '{scene.prompt}'; "
                f"give one for each of {names}, in this order, or none to derive them from the prompt"
            )
        return self.boxes
