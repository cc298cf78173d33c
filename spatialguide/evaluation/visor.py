"""The VISOR metrics (Gokhale et al., arXiv 2212.10015): object accuracy, and relations given or not given the objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from spatialguide.contracts import Detection, Relation
from spatialguide.scene import Relation as Edge
from spatialguide.scene import Scene


@dataclass(frozen=True)
class Outcome:
    """One image: which prompt it belongs to, whether all objects were detected, whether the relations hold."""

    prompt: int
    detected: bool
    correct: bool


@dataclass(frozen=True)
class VisorScores:
    """Percentages. oa: images with all objects; uncond: images with all objects and the relation; cond = uncond / oa;
    at_least[n-1]: prompts with at least n correct images."""

    oa: float
    uncond: float
    cond: float
    at_least: tuple[float, ...]


def visor_scores(outcomes: Iterable[Outcome]) -> VisorScores:
    """Aggregate images into VISOR's figures; cond is NaN when no image shows its objects.

    Raises:
        ValueError: there are no outcomes.
    """
    rows = list(outcomes)
    if not rows:
        raise ValueError("no images to score")
    per_prompt: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        per_prompt[row.prompt].append(row.detected and row.correct)
    images = max(len(hits) for hits in per_prompt.values())
    detected = sum(row.detected for row in rows)
    correct = sum(row.detected and row.correct for row in rows)
    at_least = tuple(100 * sum(sum(hits) >= n for hits in per_prompt.values()) / len(per_prompt) for n in range(1, images + 1))
    cond = 100 * correct / detected if detected else float("nan")
    return VisorScores(100 * detected / len(rows), 100 * correct / len(rows), cond, at_least)


def relation_holds(scene: Scene, edge: Edge, detections: Sequence[Detection], relation: Relation) -> bool:
    """VISOR's rule: true if it holds for the centroids of at least one choice of boxes."""
    by_name: dict[str, list[np.ndarray]] = defaultdict(list)
    for detection in detections:
        by_name[detection.label].append(np.asarray(detection.centroid))
    choices = [by_name[scene.objects[i].text] for i in (edge.subject, *edge.objects)]
    return any(float(relation.distance(*boxes)) > 0 for boxes in product(*choices))


def score_image(prompt: int, scene: Scene, detections: Sequence[Detection], relations: Mapping[str, Relation]) -> Outcome:
    """Score one image against its scene: all objects detected, all relations true."""
    present = {d.label for d in detections}
    detected = all(item.text in present for item in scene.objects)
    correct = all(relation_holds(scene, e, detections, relations[e.predicate]) for e in scene.relations)
    return Outcome(prompt, detected, detected and correct)


def relation_verdicts(scene: Scene, detections: Sequence[Detection], relations: Mapping[str, Relation]) -> str:
    """One line for people: 'cat left_of dog: yes', or which object is missing."""
    present = {d.label for d in detections}
    missing = [scene.name(i) for i, item in enumerate(scene.objects) if item.text not in present]
    lines = [f"no {name} detected" for name in missing]
    for edge in scene.relations:
        if all(scene.objects[i].text in present for i in (edge.subject, *edge.objects)):
            held = relation_holds(scene, edge, detections, relations[edge.predicate])
            lines.append(f"{scene.sentence(edge)}: {'yes' if held else 'no'}")
    return "; ".join(lines) or "nothing to check"
