"""What an object that was moved on the canvas says about the scene."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spatialguide.contracts import Predicate
from spatialguide.scenes.layout import centres_of
from spatialguide.scenes.planned import PlannedScene
from spatialguide.scenes.scene import Relation, Scene

#: By the axis along which two objects are farther apart, and whether the first comes before the second.
_SIDES = {(0, True): "left_of", (0, False): "right_of", (1, True): "above", (1, False): "below"}
#: By row and column of the picture's thirds.
_REGIONS = (("top_left", "top", "top_right"), ("left", "center", "right"), ("bottom_left", "bottom", "bottom_right"))


def moved(planned: PlannedScene, index: int, middle: tuple[float, float], predicates: Mapping[str, Predicate]) -> Scene:
    """The scene as it is drawn once the middle of an object's box was moved there; all other boxes stay.

    Each side that the object is said to be on becomes the side where it now is, and each place in the picture the third where
    it now is. What else is said of it ("inside", "between") stays while it holds, and becomes a side where it does not. An
    object of which nothing is said gets a side of the object nearest to it; alone, a place in the picture.

    Args:
        index: of the object.
        middle: x, y in image sides.
        predicates: the relations that are known.
    """
    scene = planned.scene
    centres = centres_of(planned.boxes)
    centres[index] = np.clip(middle, 0, 1)

    def nearest(to: int, among: tuple[int, ...]) -> int:
        return min(among, key=lambda other: float(np.linalg.norm(centres[other] - centres[to])))

    def side(subject: int, among: tuple[int, ...]) -> Relation:
        ground = nearest(subject, among)
        offset = centres[subject] - centres[ground]
        axis = int(np.abs(offset).argmax())
        return Relation(subject=subject, predicate=_SIDES[axis, bool(offset[axis] < 0)], objects=(ground,))

    def place(subject: int) -> Relation:
        column, row = (min(2, int(3 * value)) for value in centres[subject])
        return Relation(subject=subject, predicate=f"in_region:{_REGIONS[row][column]}")

    relations: list[Relation] = []
    for edge, bound in zip(scene.relations, planned.relations, strict=True):
        if index not in (edge.subject, *edge.objects):
            relations.append(edge)
        elif not edge.objects:
            relations.append(place(edge.subject))
        elif edge.predicate not in _SIDES.values() and float(bound.distance(centres)) > 0:
            relations.append(edge)
        else:
            relations.append(side(edge.subject, edge.objects))
    if not any(index in (edge.subject, *edge.objects) for edge in scene.relations):
        others = tuple(other for other in range(len(scene.objects)) if other != index)
        relations.append(side(index, others) if others else place(index))
    known = (edge for edge in relations if edge.predicate in predicates)
    return scene.model_copy(update={"relations": tuple({_key(edge): edge for edge in known}.values())})


def _key(edge: Relation) -> tuple[int, str, tuple[int, ...]]:
    return edge.subject, edge.predicate, edge.objects
