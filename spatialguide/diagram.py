"""Diagrams of a scene: a grid that satisfies its directions, and an SVG picture of its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import networkx
from rich.box import SQUARE
from rich.markup import escape
from rich.table import Table

from spatialguide.contracts import Relation
from spatialguide.planning import HIGH, LOW, axis_graph
from spatialguide.scene import Scene

#: Above this many objects a grid is no help, and merging rows grows costly.
MOST_OBJECTS = 40
_THIRDS = ("first third", "middle third", "last third")


@dataclass(frozen=True)
class Grid:
    """Objects by (column, row), both from 0; `free` are those that no relation places."""

    cells: Mapping[tuple[int, int], tuple[int, ...]]
    columns: int
    rows: int
    free: tuple[int, ...]


def grid(scene: Scene, relations: Mapping[str, Relation]) -> Grid:
    """The smallest grid in which every direction of the scene holds; things side by side share a row.

    The scene must be free of contradictions (`check_scene`).
    """
    placed = sorted({i for edge in scene.relations for i in (edge.subject, *edge.objects)})
    axes = [_ranks(scene, relations, axis, placed) for axis in (0, 1)]
    cells: dict[tuple[int, int], tuple[int, ...]] = {}
    for index in placed:
        place = (axes[0][index], axes[1][index])
        cells[place] = (*cells.get(place, ()), index)
    columns, rows = (max((1, *(rank + 1 for rank in ranks.values()))) for ranks in axes)
    free = tuple(i for i in range(len(scene.objects)) if i not in placed)
    return Grid(cells, columns, rows, free)


def _ranks(scene: Scene, relations: Mapping[str, Relation], axis: int, placed: list[int]) -> dict[object, int]:
    """Column or row of every placed object, empty thirds of the picture included."""
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
    if LOW in graph:
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
    found: dict[object, int] = {node: ranks[same[node]] for node in placed}
    return found | {third: ranks[third] for third in _THIRDS if third in ranks}


def _wishes(scene: Scene, relations: Mapping[str, Relation], axis: int) -> Iterator[tuple[int, int]]:
    """Orders that relations without a direction suggest: neighbours and "between" go from left to right."""
    for edge in scene.relations:
        relation = relations[edge.predicate]
        if axis == 0 and relation.direction is None:
            if len(edge.objects) == 2:
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


def grid_table(scene: Scene, relations: Mapping[str, Relation]) -> Table | None:
    """The grid for a terminal; None where there is nothing to place, or too much."""
    if not scene.relations or len(scene.objects) > MOST_OBJECTS:
        return None
    found = grid(scene, relations)
    free = ", ".join(scene.name(index) for index in found.free)
    table = Table(
        show_header=False,
        show_lines=True,
        box=SQUARE,
        title="layout",
        title_justify="left",
        caption=f"anywhere: {escape(free)}" if free else None,
        caption_justify="left",
    )
    for _ in range(found.columns):
        table.add_column(justify="center", min_width=8)
    for row in range(found.rows):
        cells = (found.cells.get((column, row), ()) for column in range(found.columns))
        table.add_row(*(escape("\n".join(_labels(scene, cell))) for cell in cells))
    return table


def _labels(scene: Scene, cell: tuple[int, ...]) -> Iterator[str]:
    """Names of the objects in one cell, with what the grid cannot show: "fox (behind bench)"."""
    for index in cell:
        hidden = [e for e in scene.relations if e.subject == index and e.objects and set(e.objects) <= set(cell)]
        said = ", ".join(scene.sentence(edge).removeprefix(scene.name(index)).strip() for edge in hidden)
        yield f"{scene.name(index)} ({said})" if said else scene.name(index)


def scene_svg(scene: Scene) -> str:
    """The scene's graph as SVG, drawn by spaCy's displaCy: objects in the prompt's order, an arc for each relation."""
    from spacy import displacy

    words = [
        {"text": scene.name(index), "tag": "" if item.count == 1 else f"x {item.count or 'several'}"}
        for index, item in enumerate(scene.objects)
    ]
    places = list(dict.fromkeys(edge.predicate for edge in scene.relations if not edge.objects))
    words += [{"text": place.partition(":")[2] or place, "tag": "place in the picture"} for place in places]
    arcs = []
    for edge in scene.relations:
        ends = edge.objects or (len(scene.objects) + places.index(edge.predicate),)
        for end in dict.fromkeys(ends):
            start, stop = sorted((edge.subject, end))
            label = edge.predicate.partition(":")[0]
            arcs.append({"start": start, "end": stop, "label": label, "dir": "right" if end > edge.subject else "left"})
    longest = max((len(word["text"]) for word in words), default=0)
    options = {"distance": max(120, 11 * longest + 30), "word_spacing": 30, "arrow_spacing": 16}
    svg: str = displacy.render({"words": words, "arcs": arcs}, style="dep", manual=True, jupyter=False, options=options)
    return svg
