"""Checks that a scene can hold: known predicates, the right number of grounds, no contradiction."""

from __future__ import annotations

from collections.abc import Mapping

import networkx

from spatialguide.contracts import Relation
from spatialguide.errors import ContradictionError, SceneError, UnknownPluginError, suggestion
from spatialguide.scene import Relation as Edge
from spatialguide.scene import Scene


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
        _check_axis(scene, relations, axis)


def _check_axis(scene: Scene, relations: Mapping[str, Relation], axis: int) -> None:
    graph = networkx.DiGraph()
    for edge in scene.relations:
        direction = relations[edge.predicate].direction
        if direction is None or direction[axis] == 0:
            continue
        for ground in edge.objects:
            ends = (edge.subject, ground) if direction[axis] < 0 else (ground, edge.subject)
            graph.add_edge(*ends, relation=edge)
    try:
        cycle = networkx.find_cycle(graph)
    except networkx.NetworkXNoCycle:
        return
    edges: list[Edge] = [graph.edges[start, end]["relation"] for start, end in cycle]
    stated = " and ".join(f"'{scene.sentence(edge)}'" for edge in edges)
    raise ContradictionError(f"these relations cannot hold together: {stated}; leave one out")
