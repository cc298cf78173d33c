"""Prompts in twos from one seed: who draws "a cat above a dog" right must also draw its twin right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from spatialguide.contracts import Benchmark, Case, Detection, Predicate
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.prompts import bundled_names, read_objects, sample_swapped
from spatialguide.evaluation.strict import Size, iou
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.scene import Scene
from spatialguide_plugins.benchmarks.spatial import Visor

#: SpatialBench-UC's thresholds (its checker_v1.yaml): score, area, what counts as level, as overlap, and as ambiguous.
_SCORE, _AREA, _MARGIN, _OVERLAP, _AMBIGUOUS = 0.3, 0.005, 0.05, 0.5, 0.1
#: Axis, and the sign of (subject - ground) along it.
_SIDES = {"left_of": (0, -1), "right_of": (0, 1), "above": (1, -1), "below": (1, 1)}


class Swapped(Visor):
    """VISOR's prompts in twos, "a cat above a dog" and "a dog above a cat", from the same seeds: are both right?

    A model that always puts the first object on the left has half of each right and no two. Options are `Visor`'s.
    """

    twins: ClassVar[bool] = True

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """Whole twos; the same for the same seed."""
        names = self._names or vocabulary or bundled_names("coco")
        return [Case(prompt, ()) for prompt in sample_swapped(names, count, seed, self._pairs)]


class SpatialBench(Benchmark):
    """SpatialBench-UC's prompts and rule on one detector's boxes (arXiv 2601.13462).

    The rule may abstain: an object not found, two boxes of one name about as sure as each other, centres nearly level, or boxes
    that overlap where sides are asked for. OA is its coverage, the share of images that it decides; uncond those that pass.
    Its twins say the same twice: "a cake to the left of a bed", "a bed to the right of a cake". `swapped` has contraries. Left
    out are its second detector and its brightened and blurred copies of each image.

    Args:
        file: the publication's "prompts.jsonl".
    """

    twins: ClassVar[bool] = True

    def __init__(self, file: str) -> None:
        try:
            lines = {line["prompt_id"]: line for line in read_objects(file)}
            order: dict[str, Any] = {}
            for line in lines.values():
                twin = lines[line["counterfactual"]["prompt_id"]]
                order |= {each["prompt_id"]: each for each in (line, twin) if line["prompt_id"] not in order}
            self._cases = [_case(line) for line in order.values()]
        except (KeyError, TypeError) as error:
            raise EvaluationError(
                f"'{file}' is not SpatialBench-UC's prompts.jsonl: a line lacks {error}, or its counterfactual is not there"
            ) from error

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """The first twos of the file."""
        return self._cases[: count - count % 2]

    def score(
        self, case: Case, scene: Scene, detections: Sequence[Detection], size: Size, relations: Mapping[str, Predicate]
    ) -> tuple[bool, float]:
        """Whether the rule decides, and 1 where the image passes."""
        passes = verdict(case.data, case.labels, detections, size)
        return passes is not None, float(passes or False)


def _case(line: Mapping[str, Any]) -> Case:
    if line["relation"] not in _SIDES:
        raise KeyError(f"a relation of {', '.join(_SIDES)}")
    return Case(line["prompt"], (line["object_a"]["coco_label"], line["object_b"]["coco_label"]), line["relation"])


def verdict(relation: str, names: Sequence[str], detections: Sequence[Detection], size: Size) -> bool | None:
    """Whether an image passes; None where the rule abstains.

    Args:
        names: of the subject and of the ground.
        size: width and height in pixels.
    """
    best = []
    for name in names:
        sure = sorted((d for d in detections if d.label == name and d.score >= _SCORE), key=lambda d: -d.score)
        large = [d for d in sure if (d.box[2] - d.box[0]) * (d.box[3] - d.box[1]) >= _AREA * size[0] * size[1]]
        if not large or (len(sure) > 1 and sure[0].score - sure[1].score < _AMBIGUOUS):
            return None
        best.append(large[0])
    axis, sign = _SIDES[relation]
    first, second = best
    distance = sign * (first.centroid[axis] - second.centroid[axis]) / size[axis]
    if abs(distance) <= _MARGIN or (axis == 0 and iou(first.box, second.box) > _OVERLAP):
        return None
    return distance > 0


@hookimpl
def spatialguide_benchmarks(register: Callable[[str, Callable[..., Benchmark]], None]) -> None:
    """swapped, spatialbench."""
    register("swapped", Swapped)
    register("spatialbench", SpatialBench)
