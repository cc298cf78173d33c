"""The strict rule: every object there exactly as often as asked, in its colour, and all relations between all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from spatialguide.contracts import Detection, Predicate
from spatialguide.scenes.scene import Relation, Scene, SceneObject

Size = tuple[int, int]
#: Two boxes of one name that share more than this (IoU) are one object: zero-shot detectors often find it twice.
_SAME_OBJECT = 0.5
#: Words of prompts that ask for a colour (Berlin and Kay's eleven).
COLOURS = frozenset(["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey", "gray"])


@dataclass(frozen=True)
class Verdict:
    """What one image is by the strict rule.

    missing: an object is there less often than asked; double: one is there more often; names alone count, not colours.
    """

    strict: bool
    missing: bool
    double: bool


def judge(
    scene: Scene,
    detections: Sequence[Detection],
    relations: Mapping[str, Predicate],
    size: Size,
    label: Callable[[SceneObject], str] = lambda item: item.text,
) -> Verdict:
    """Apply the strict rule.

    A plural without a number is right from one on and never double. A colour counts where the detector names one. Objects of
    one name ("a red car to the left of a blue car") may be any of the detections of that name, each of which is one of them.

    Args:
        size: width and height of the image in pixels.
        label: what the detector calls an object.
    """
    asked: dict[str, list[int]] = {}
    for index, item in enumerate(scene.objects):
        asked.setdefault(label(item), []).append(index)
    found = {name: distinct([each for each in detections if each.label == name]) for name in asked}
    counts = {name: [scene.objects[index].count for index in indices] for name, indices in asked.items()}
    missing = any(len(found[name]) < sum(count or 1 for count in numbers) for name, numbers in counts.items())
    double = any(
        None not in numbers and len(found[name]) > sum(count or 1 for count in numbers) for name, numbers in counts.items()
    )
    strict = False
    if not missing and not double:
        by_name = (_shares([scene.objects[i] for i in indices], found[name]) for name, indices in asked.items())
        order = [index for indices in asked.values() for index in indices]
        strict = any(
            _all_hold(scene, dict(zip(order, (one for shares in choice for one in shares), strict=True)), relations, size)
            for choice in product(*by_name)
        )
    return Verdict(strict, missing, double)


def distinct(detections: Sequence[Detection]) -> list[Detection]:
    """Without those that share most of their box with a better one; best score first."""
    kept: list[Detection] = []
    for each in sorted(detections, key=lambda detection: -detection.score):
        if all(iou(each.box, other.box) <= _SAME_OBJECT for other in kept):
            kept.append(each)
    return kept


def iou(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1); 0 where both are empty."""
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    shared = width * height
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)) - shared
    return shared / union if union else 0.0


def coloured_as_asked(item: SceneObject, detection: Detection) -> bool:
    """Whether a detection has the colour that the object is asked for in; True where none is asked for, or none named."""
    wanted = {word.lower() for word in item.attributes} & COLOURS
    return detection.colour is None or not wanted or detection.colour in wanted


def _shares(items: Sequence[SceneObject], found: Sequence[Detection]) -> Iterator[tuple[Sequence[Detection], ...]]:
    """All ways to give each detection of one name to one of the objects of that name, as often as each is asked for."""
    first, rest = items[0], items[1:]
    if not rest:
        if first.count in (None, len(found)) and found and all(coloured_as_asked(first, each) for each in found):
            yield (found,)
        return
    for count in range(1, len(found)) if first.count is None else (first.count,):
        for chosen in combinations(range(len(found)), count):
            mine = [found[i] for i in chosen]
            if all(coloured_as_asked(first, each) for each in mine):
                others = [each for i, each in enumerate(found) if i not in chosen]
                yield from ((mine, *shares) for shares in _shares(rest, others))


def _all_hold(scene: Scene, members: Mapping[int, Sequence[Detection]], relations: Mapping[str, Predicate], size: Size) -> bool:
    return all(_holds(edge, members, relations[edge.predicate], size) for edge in scene.relations)


def _holds(edge: Relation, members: Mapping[int, Sequence[Detection]], relation: Predicate, size: Size) -> bool:
    """Of every choice of instances; without a direction ("in front of three cows") each subject needs but some grounds."""
    subjects, *grounds = ([np.asarray(each.centroid) / size for each in members[i]] for i in (edge.subject, *edge.objects))
    each = all if relation.direction is not None else any
    return all(each(float(relation.distance(subject, *chosen)) > 0 for chosen in product(*grounds)) for subject in subjects)
