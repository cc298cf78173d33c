"""Checks that a scene can hold: known predicates, the right number of grounds, no contradiction."""

from __future__ import annotations

from collections.abc import Mapping

import networkx

from spatialguide.contracts import Relation
from spatialguide.errors import ContradictionError, SceneError, UnknownPluginError, suggestion
from spatialguide.scene import Relation as Edge
from spatialguide.scene import Scene

#: Nodes of an axis graph that part the picture in thirds; things left of, or above, LOW lie in the first third.
LOW, HIGH = "low", "high"


def check_scene(scene: Scene, relations: Mapping[str, Relation]) -> None:
    """Check a scene against the registered relations.

    Raises:
        UnknownPluginError: a predicate that no plugin registers.
        SceneError: a relation with the wrong number of grounds.
        ContradictionError: directions that form a cycle on an axis; the message names the relations of the cycle.
    """
    for edge in scene.relations:
        if edge.predicate not in relations:
            raise UnknownPluginError(
                f"no relation is called '{edge.predicate}' (in '{scene.sentence(edge)}')."
                f"{suggestion(edge.predicate, relations)}"
            )
        wanted = relations[edge.predicate].grounds
        if len(edge.objects) != wanted:
            raise SceneError(f"'{scene.sentence(edge)}': {edge.predicate} takes {wanted} grounds, not {len(edge.objects)}")
    for axis in (0, 1):
        _check_axis(scene, axis_graph(scene, relations, axis))


def axis_graph(scene: Scene, relations: Mapping[str, Relation], axis: int) -> networkx.DiGraph:
    """What must come before what along an axis (0: left to right, 1: top to bottom).

    Nodes are indices of objects, and LOW and HIGH where the scene gives places in the picture. Edges point towards greater
    coordinates and carry the `relation` that asks for them.
    """
    graph = networkx.DiGraph()
    for edge in scene.relations:
        direction = relations[edge.predicate].direction
        if direction is None:
            continue
        if not edge.objects:
            _place(graph, edge, direction, axis)
        for ground in edge.objects:
            if direction[axis]:
                ends = (edge.subject, ground) if direction[axis] < 0 else (ground, edge.subject)
                graph.add_edge(*ends, relation=edge)
    return graph


def _place(graph: networkx.DiGraph, edge: Edge, direction: tuple[float, float], axis: int) -> None:
    central = direction == (0, 0)
    if central or direction[axis]:
        graph.add_edge(LOW, HIGH, relation=None)
    if direction[axis] < 0:
        graph.add_edge(edge.subject, LOW, relation=edge)
    if direction[axis] > 0:
        graph.add_edge(HIGH, edge.subject, relation=edge)
    if central:
        graph.add_edge(LOW, edge.subject, relation=edge)
        graph.add_edge(edge.subject, HIGH, relation=edge)


def _check_axis(scene: Scene, graph: networkx.DiGraph) -> None:
    try:
        cycle = networkx.find_cycle(graph)
    except networkx.NetworkXNoCycle:
        return
    edges: list[Edge | None] = [graph.edges[start, end]["relation"] for start, end in cycle]
    stated = " and ".join(dict.fromkeys(f"'{scene.sentence(edge)}'" for edge in edges if edge is not None))
    raise ContradictionError(f"these relations cannot hold together: {stated}; leave one out")
