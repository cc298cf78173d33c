"""The VISOR metrics (Gokhale et al., arXiv 2212.10015): object accuracy, and relations given or not given the objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialguide.contracts import Benchmark, Case, Detection, Predicate
from spatialguide.documents import parse_json
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.prompts import Sr2dPrompt
from spatialguide.evaluation.strict import Size
from spatialguide.evaluation.uncertainty import Comparison, Interval, bootstrap, compare
from spatialguide.scenes.scene import Relation, Scene, SceneObject

#: Images per prompt in the publication.
IMAGES = 4
#: From this score on an image counts as right; most rules give 0 or 1, T2I-CompBench's gives 0 or more than a half.
RIGHT = 0.5


@dataclass(frozen=True)
class VisorScores:
    """Percentages. oa: images with all objects; uncond: images with all objects and the relation; cond = uncond / oa;
    at_least[n-1]: prompts with at least n correct images. intervals: of oa, uncond, cond, then of at_least."""

    oa: float
    uncond: float
    cond: float
    at_least: tuple[float, ...]
    images: int = 0
    intervals: tuple[Interval, ...] = ()


def aggregate(
    prompts: NDArray[np.int64], detected: NDArray[np.float64], correct: NDArray[np.float64], most: int
) -> VisorScores:
    """Figures in the publishers' own order of operations, so that every printed digit agrees with theirs.

    cond is NaN where no image shows its objects.

    Args:
        prompts: (images,), number of each image's prompt.
        detected: (images,), 1 where all objects were found. correct: (images,), in [0, 1].
        most: `at_least` goes up to this many images.
    """
    _, place, images = np.unique(prompts, return_inverse=True, return_counts=True)
    size = len(images)
    total = np.bincount(place, weights=correct, minlength=size)
    hits = np.bincount(place, weights=correct >= RIGHT, minlength=size)
    found = np.bincount(place, weights=detected, minlength=size)
    steps = range(1, most + 1)
    reached = np.stack([hits >= n for n in steps], axis=1).astype(np.float64)
    shown = float(detected.sum())
    oa = 100 * shown / len(prompts)
    cond = 100 * float(correct.sum()) / shown if shown else float("nan")
    uncond = 0.01 * (cond * oa) if shown else 0.0
    sums = np.column_stack([images, found, total, np.ones(size), reached])
    return VisorScores(
        oa,
        uncond,
        cond,
        tuple(100 * float(column.sum()) / size for column in reached.T),
        len(prompts),
        tuple(bootstrap(sums, _figures)),
    )


def _figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """oa, uncond, cond and at_least from (images, detected, correct, prompts, reached...), one row per resample."""
    images, found, hits, prompts = sums[:, :4].T
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.column_stack([found / images, hits / images, hits / found])
    return 100 * np.column_stack([rates, sums[:, 4:] / prompts[:, None]])


def score_detections(results: Mapping[str, Any], prompts: Sequence[Sr2dPrompt]) -> VisorScores:
    """Figures of a file of detection results in the publishers' format.

    Args:
        results: {"<prompt number>_<image number>": {"classes": [...], "sra": 0 or 1, ...}}; rows of prompts that VISOR does
            not count are left out.
        prompts: from `sr2d`; the place is the number.

    Raises:
        EvaluationError: a key or row of another form, a number that no prompt has, or nothing to score.
    """
    numbers, detected, correct = _columns(results, prompts)
    return aggregate(numbers, detected, correct, IMAGES)


def compare_detections(first: Mapping[str, Any], second: Mapping[str, Any], prompts: Sequence[Sr2dPrompt]) -> Comparison:
    """The second file against the first: difference of `uncond` in percent, over the prompts that both hold.

    Raises:
        EvaluationError: see `score_detections`; or the files share no prompt.
    """
    rates = []
    for results in (first, second):
        numbers, _, correct = _columns(results, prompts)
        known, place = np.unique(numbers, return_inverse=True)
        means = 100 * np.bincount(place, weights=correct) / np.bincount(place)
        rates.append(dict(zip(known.tolist(), means.tolist(), strict=True)))
    shared = sorted(rates[0].keys() & rates[1].keys())
    if not shared:
        raise EvaluationError("the two files share no prompt: they cannot be compared; give two of the same prompts")
    before, after = (np.array([rate[number] for number in shared]) for rate in rates)
    return compare(before, after)


def _columns(
    results: Mapping[str, Any], prompts: Sequence[Sr2dPrompt]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Prompt number, both objects detected, and relation right, of every row that VISOR counts."""
    rows: list[tuple[int, float, float]] = []
    for key, row in results.items():
        try:
            number = int(key.split("_")[0])
            classes, holds = set(row["classes"]), float(row["sra"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            wanted = '"<prompt number>_<image number>": {"classes": [...], "sra": 0 or 1}'
            raise EvaluationError(f"row '{key}' is not of the form {wanted}") from error
        if not 0 <= number < len(prompts):
            raise EvaluationError(
                f"row '{key}': there is no prompt {number}; the {len(prompts)} prompts are numbered from 0: "
                "give detections of these prompts"
            )
        prompt = prompts[number]
        if prompt.is_spatial:
            detected = float(prompt.subject in classes and prompt.ground in classes)
            rows.append((number, detected, detected * holds))
    if not rows:
        raise EvaluationError("there is no row of a prompt with two objects and a relation: give a file of spatial prompts")
    numbers, detected_all, correct = zip(*rows, strict=True)
    return np.array(numbers), np.array(detected_all), np.array(correct)


def read_detections(path: Path) -> dict[str, Any]:
    """Read a file of detection results.

    Raises:
        EvaluationError: it cannot be read, or holds no JSON object.
    """
    try:
        results = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"cannot read detections from '{path}': {error}; give a file of JSON") from error
    if not isinstance(results, dict):
        raise EvaluationError(f"'{path}' holds a {type(results).__name__}, not one JSON object with a row per image")
    return results


def relation_holds(edge: Relation, members: Sequence[Sequence[Detection]], relation: Predicate, size: Size) -> bool:
    """VISOR's rule: true if it holds for the centroids of at least one choice of boxes.

    Args:
        members: of each object, its detections.
        size: width and height of the image in pixels.
    """
    choices = product(*(members[index] for index in (edge.subject, *edge.objects)))
    return any(float(relation.distance(*(np.asarray(each.centroid) / size for each in boxes))) > 0 for boxes in choices)


class VisorRule(Benchmark):
    """Benchmarks scored by VISOR's rule over all relations of the scene."""

    def labels(self, case: Case, scene: Scene) -> tuple[str, ...]:
        """The scene's objects, as the publication asks its detector."""
        return tuple(dict.fromkeys(map(self.label, scene.objects)))

    def found(self, item: SceneObject, detections: Sequence[Detection]) -> list[Detection]:
        """What of the detections counts as an object; here all of its name."""
        return [each for each in detections if each.label == self.label(item)]

    def score(
        self, case: Case, scene: Scene, detections: Sequence[Detection], size: Size, relations: Mapping[str, Predicate]
    ) -> tuple[bool, float]:
        """Whether all objects were detected, and 1 where all relations hold too."""
        members = [self.found(item, detections) for item in scene.objects]
        detected = all(members)
        correct = all(relation_holds(edge, members, relations[edge.predicate], size) for edge in scene.relations)
        return detected, float(detected and correct)


def relation_verdicts(scene: Scene, detections: Sequence[Detection], relations: Mapping[str, Predicate], size: Size) -> str:
    """One line for people: 'cat left_of dog: yes', or which object is missing."""
    members = [[each for each in detections if each.label == item.text] for item in scene.objects]
    lines = [f"no {scene.name(index)} detected" for index, found in enumerate(members) if not found]
    for edge in scene.relations:
        if all(members[index] for index in (edge.subject, *edge.objects)):
            held = relation_holds(edge, members, relations[edge.predicate], size)
            lines.append(f"{scene.sentence(edge)}: {'yes' if held else 'no'}")
    return "; ".join(lines) or ("all objects detected" if scene.objects else "nothing to check")
