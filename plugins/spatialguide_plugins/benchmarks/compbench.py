"""T2I-CompBench's two-dimensional spatial prompts (Huang et al., arXiv 2307.06350), and its rule on any detector's boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from spatialguide.contracts import Benchmark, Case, Detection, Predicate
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.pictures import SUFFIXES
from spatialguide.evaluation.prompts import read_lines
from spatialguide.evaluation.strict import Size, iou
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.scene import Scene, SceneObject

#: In the order in which the publication looks for them; it gives no score for the last.
PHRASES = (
    "on side of",
    "next to",
    "near",
    "on the left of",
    "on the right of",
    "on the bottom of",
    "on the top of",
    "on top of",
)
_NEAR = ("on side of", "next to", "near")
#: Axis, and the sign of (ground - subject) along it that the phrase asks for.
_SIDES = {"on the left of": (0, 1), "on the right of": (0, -1), "on the bottom of": (1, -1), "on the top of": (1, 1)}
_PEOPLE = ("girl", "boy", "man", "woman")
_LEAST = 0.5
_OVERLAP = 0.1
_DISTANCE, _SIDE = 150, 512


class CompBench(Benchmark):
    """T2I-CompBench's two-dimensional spatial prompts (Huang et al., arXiv 2307.06350), scored by its rule.

    Args:
        file: the publication's prompt file, one prompt per line ("spatial_val.txt").
    """

    def __init__(self, file: str | None = None) -> None:
        self._lines = None if file is None else read_lines(file)

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """The first prompts of the file that hold one of the rule's phrases.

        Raises:
            EvaluationError: there is no file.
        """
        if self._lines is None:
            raise EvaluationError("T2I-CompBench's prompts are in its file: --option file=spatial_val.txt")
        known = [case for line in self._lines if (case := _case(line)) is not None]
        return known[:count]

    def label(self, item: SceneObject) -> str:
        """People are one label."""
        return label_of(item.text)

    def pictures(self, folder: Path) -> list[tuple[Case, list[Path]]]:
        """Of a folder as T2I-CompBench's scripts fill it: images named PROMPT_NUMBER, such as "a cup near a box_000000.png".

        Raises:
            EvaluationError: there are none with one of the rule's phrases.
        """
        by_prompt: dict[str, list[Path]] = {}
        for path in sorted(folder.glob("*")):
            prompt, _, number = path.stem.rpartition("_")
            if path.suffix.lower() in SUFFIXES and number.isdecimal():
                by_prompt.setdefault(prompt, []).append(path)
        found = [(case, paths) for prompt, paths in by_prompt.items() if (case := _case(prompt)) is not None]
        if not found:
            raise EvaluationError(
                f"'{folder}' holds no images named PROMPT_NUMBER, such as 'a cup near a box_000000.png', of spatial prompts"
            )
        return found

    def score(
        self,
        case: Case,
        scene: Scene,
        detections: Sequence[Detection],
        size: tuple[int, int],
        relations: Mapping[str, Predicate],
    ) -> tuple[bool, float]:
        """Whether both objects were found, and the rule's score in [0, 1]."""
        subject, ground = case.data
        found = {detection.label for detection in detections}
        value = spatial_score(phrase_of(case.prompt), subject, ground, detections, size)
        return all(label in found for label in case.labels), value


def _case(line: str) -> Case | None:
    prompt = line.strip().rstrip(".")
    names = objects_of(prompt)
    return None if names is None else Case(prompt, tuple(dict.fromkeys(map(label_of, names))), names)


def phrase_of(prompt: str) -> str | None:
    """The spatial phrase of a prompt; None where it has none that the rule knows."""
    return next((phrase for phrase in PHRASES if phrase in prompt), None)


def objects_of(prompt: str) -> tuple[str, str] | None:
    """Subject and ground of a prompt, without their articles; None where a side of the phrase is empty."""
    phrase = phrase_of(prompt)
    if phrase is None:
        return None
    sides = [side.strip(" .,") for side in prompt.split(phrase, 1)]
    subject, ground = (side.removeprefix("an ").removeprefix("a ").removeprefix("the ") for side in sides)
    return (subject, ground) if subject and ground else None


def label_of(name: str) -> str:
    """The detector's label for a name: people are all "person"."""
    return "person" if name in _PEOPLE else name


def spatial_score(phrase: str | None, subject: str, ground: str, detections: Sequence[Detection], size: Size) -> float:
    """Score of one image, in [0, 1].

    A quarter of each object's detection score, and half of the position's; below 0.5 it is 0. Each object's best box counts.

    Args:
        phrase: from `phrase_of`.
        subject, ground: names in the prompt.
        detections: best score first, as detectors return them.
        size: width and height in pixels. The rule's distance of 150 pixels is one of 512-pixel images, and scaled for others.
    """
    boxes = [next((d for d in detections if d.label == label_of(name)), None) for name in (subject, ground)]
    score = sum(0.25 * box.score for box in boxes if box is not None)
    first, second = boxes
    if first is not None and second is not None:
        score += position_score(phrase, first, second, _DISTANCE * max(size) / _SIDE) / 2
    return score if score >= _LEAST else 0.0


def position_score(phrase: str | None, subject: Detection, ground: Detection, reach: float) -> float:
    """How well two boxes stand as the phrase says, in [0, 1].

    Sides: the distance of the centres must be larger along the phrase's axis, and of its sign; above an overlap (IoU) of 0.1
    the score falls as 0.1 / IoU. Nearness: 1 within `reach` pixels on either axis, then reach / distance.
    """
    distance = [b - a for a, b in zip(subject.centroid, ground.centroid, strict=True)]
    if phrase in _NEAR:
        near = min(map(abs, distance)) < reach
        return 1.0 if near else reach / max(map(abs, distance))
    if phrase not in _SIDES:
        return 0.0
    axis, sign = _SIDES[phrase]
    if distance[axis] * sign <= 0 or abs(distance[axis]) <= abs(distance[1 - axis]):
        return 0.0
    overlap = iou(subject.box, ground.box)
    return 1.0 if overlap < _OVERLAP else _OVERLAP / overlap


@hookimpl
def spatialguide_benchmarks(register: Callable[[str, Callable[..., Benchmark]], None]) -> None:
    """t2i."""
    register("t2i", CompBench)
