"""GenEval 2 (Kamath et al., arXiv 2512.16853), as far as a detector can judge it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import geometric_mean
from typing import Any

from spatialguide.contracts import Benchmark, Case, Detection, Predicate
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.prompts import read_objects
from spatialguide.evaluation.strict import Size, judge
from spatialguide.evaluation.visor import VisorRule
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.scene import Scene

#: Of an answer, so that one of no chance at all does not hide the others.
_LEAST = 1e-6


class GenEval2(VisorRule):
    """GenEval 2's prompts: objects, counts and positions by a detector's boxes, colours where it names them.

    Counts are exact, also of "a cow", as GenEval 2 has them: uncond is the strict rule's figure. Materials, patterns and what
    things do ("chasing") are not judged: the publication asks a VQA model, whose figures are not comparable with these.

    Args:
        file: the publication's "geneval2_data.jsonl".
        skill: only prompts that ask for it: object, count, attribute, position or verb.
        judge: ask the publication's questions, with detector "vqa" in place of boxes: uncond is its Soft-TIFA GM, the geometric
            mean of the answers' probabilities, and OA the images in which every object is more probable than not.
    """

    def __init__(self, file: str, skill: str | None = None, judge: bool = False) -> None:
        self.boxes = not judge
        try:
            lines = [line for line in read_objects(file) if skill is None or skill in line["skills"]]
            self._cases = [_case(line) if judge else Case(line["prompt"], ()) for line in lines]
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(f"'{file}' is not GenEval 2's geneval2_data.jsonl: a line lacks {error}") from error

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """The first prompts of the file."""
        return self._cases[:count]

    def labels(self, case: Case, scene: Scene) -> tuple[str, ...]:
        """The scene's objects, or the publication's questions with their answers."""
        return super().labels(case, scene) if self.boxes else case.labels

    def score(
        self, case: Case, scene: Scene, detections: Sequence[Detection], size: Size, relations: Mapping[str, Predicate]
    ) -> tuple[bool, float]:
        """Whether all objects were found, and 1 where also counts, colours and positions are right; or what the judge says."""
        if not self.boxes:
            chances = {each.label: each.score for each in detections}
            there = all(chances[label] > 1 / 2 for label in case.data)
            return there, geometric_mean([max(chances[label], _LEAST) for label in case.labels])
        detected, _ = super().score(case, scene, detections, size, relations)
        return detected, float(judge(scene, detections, relations, size).strict)


def _case(line: Mapping[str, Any]) -> Case:
    """Of a judge: labels are questions with their answers; data: those that ask whether an object is there."""
    labels = tuple(f"{question} {answer}" for question, answer in line["vqa_list"])
    objects = tuple(label for label, skill in zip(labels, line["skills"], strict=True) if skill == "object")
    return Case(line["prompt"], labels, objects)


@hookimpl
def spatialguide_benchmarks(register: Callable[[str, Callable[..., Benchmark]], None]) -> None:
    """geneval2."""
    register("geneval2", GenEval2)
