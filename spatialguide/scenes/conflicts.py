"""Relations that no layout satisfies together."""

from __future__ import annotations

from dataclasses import replace

from spatialguide.scenes.bound import BoundRelation
from spatialguide.scenes.layout import boxes, holds
from spatialguide.scenes.planned import PlannedScene, Structure


def conflicts(structure: Structure) -> tuple[tuple[int, ...], ...]:
    """Smallest sets of relations, by number, that no layout was found to satisfy together; none where `boxes` satisfies all.

    `check_axes` refuses directions that form a cycle. This finds what no cycle shows: "a cat inside a box, left of the box".
    Each set is irreducible: without any one of its relations the others hold. A relation is in one set at most, and one that
    holds nowhere on its own is in none.
    """
    if holds(structure.relations, structure.boxes):
        return ()
    found: list[tuple[int, ...]] = []
    left = tuple(range(len(structure.relations)))
    while len(left) > 1 and not _satisfied(structure, left):
        kept = left
        for number in left:
            without = tuple(other for other in kept if other != number)
            if not _satisfied(structure, without):
                kept = without
        if len(kept) > 1:
            found.append(kept)
        left = tuple(number for number in left if number not in kept)
    return tuple(found)


def without_conflicts(planned: PlannedScene) -> PlannedScene:
    """The scene without the last relation of each of its `conflicts`; what was left out is in its `ignored`."""
    scene, dropped, ignored = planned.scene, set(), list(planned.scene.ignored)
    for *kept, last in conflicts(planned.structure):
        dropped.add(last)
        stated = " and ".join(f"'{scene.sentence(scene.relations[number])}'" for number in kept)
        last_stated = scene.sentence(scene.relations[last])
        ignored.append(f"'{last_stated}' (no layout was found in which it holds together with {stated})")
    if not dropped:
        return planned
    left = [number for number in range(len(scene.relations)) if number not in dropped]
    update = {"relations": tuple(scene.relations[number] for number in left), "ignored": tuple(ignored)}
    relations = tuple(planned.relations[number] for number in left)
    return replace(planned, relations=relations, scene=scene.model_copy(update=update))


def _satisfied(structure: Structure, numbers: tuple[int, ...]) -> bool:
    """Whether all these relations hold in the layout that they alone ask for."""
    asked: tuple[BoundRelation, ...] = tuple(structure.relations[number] for number in numbers)
    return holds(asked, boxes(asked, len(structure.counts)))
