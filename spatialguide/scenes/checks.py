"""What must come before what along each axis, and that it can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import networkx

from spatialguide.errors import ContradictionError
from spatialguide.scenes.bound import BoundRelation

#: Nodes of an axis graph that part the picture in thirds; things left of, or above, LOW lie in the first third.
LOW, HIGH = "low", "high"


def check_axes(sentences: Mapping[BoundRelation, str]) -> None:
    """Check that the relations' directions can hold together.

    Args:
        sentences: the relations of a scene, each in plain words.

    Raises:
        ContradictionError: directions that form a cycle on an axis; the message names the relations of the cycle.
    """
    for axis in (0, 1):
        graph = axis_graph(sentences, axis)
        try:
            cycle = networkx.find_cycle(graph)
        except networkx.NetworkXNoCycle:
            continue
        found = (graph.edges[start, end]["relation"] for start, end in cycle)
        stated = " and ".join(dict.fromkeys(f"'{sentences[relation]}'" for relation in found if relation is not None))
        raise ContradictionError(f"these relations cannot hold together: {stated}; leave one out")


def axis_graph(relations: Iterable[BoundRelation], axis: int) -> networkx.DiGraph:
    """What must come before what along an axis (0: left to right, 1: top to bottom).

    Nodes are indices of objects, and LOW and HIGH where relations give places in the picture. Edges point towards greater
    coordinates and carry the `relation` that asks for them.
    """
    graph = networkx.DiGraph()
    for relation in relations:
        direction = relation.predicate.direction
        if direction is None:
            continue
        if not relation.grounds:
            _place(graph, relation, direction, axis)
        for ground in relation.grounds:
            if direction[axis]:
                ends = (relation.subject, ground) if direction[axis] < 0 else (ground, relation.subject)
                graph.add_edge(*ends, relation=relation)
    return graph


def _place(graph: networkx.DiGraph, relation: BoundRelation, direction: tuple[float, float], axis: int) -> None:
    central = direction == (0, 0)
    if central or direction[axis]:
        graph.add_edge(LOW, HIGH, relation=None)
    if direction[axis] < 0:
        graph.add_edge(relation.subject, LOW, relation=relation)
    if direction[axis] > 0:
        graph.add_edge(HIGH, relation.subject, relation=relation)
    if central:
        graph.add_edge(LOW, relation.subject, relation=relation)
        graph.add_edge(relation.subject, HIGH, relation=relation)
