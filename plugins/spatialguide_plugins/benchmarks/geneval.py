"""GenEval's position prompts (Ghosh et al., arXiv 2310.11513), and its rule on any detector's boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spatialguide.contracts import Benchmark, Case, Detection, Predicate
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.pictures import SUFFIXES
from spatialguide.evaluation.prompts import read_objects
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.scene import Scene

_SHARE = 0.1
_THRESHOLD, _COUNTING_THRESHOLD = 0.3, 0.9
_MOST = 16


class GenEval(Benchmark):
    """GenEval's position prompts (Ghosh et al., arXiv 2310.11513), scored by its rule.

    Args:
        file: the publication's "evaluation_metadata.jsonl"; lines of the tag "position" are used.
    """

    def __init__(self, file: str | None = None) -> None:
        self._lines = None if file is None else [line for line in read_objects(file) if line.get("tag") == "position"]

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """The first lines of the file.

        Raises:
            EvaluationError: there is none.
        """
        if self._lines is None:
            raise EvaluationError("GenEval's prompts are in its file: --option file=evaluation_metadata.jsonl")
        return [_case(line) for line in self._lines[:count]]

    def pictures(self, folder: Path) -> list[tuple[Case, list[Path]]]:
        """Of a folder as GenEval's scripts fill it, NUMBER/metadata.jsonl and NUMBER/samples/*.png, but for lines with colours.

        Raises:
            EvaluationError: there are none.
        """
        found = []
        for described in sorted(folder.glob("*/metadata.jsonl")):
            (line, *_) = read_objects(str(described)) or [{}]
            images = [path for path in sorted((described.parent / "samples").glob("*")) if path.suffix.lower() in SUFFIXES]
            if images and not any("color" in each for each in line.get("include", ())):
                found.append((_case(line), images))
        if not found:
            raise EvaluationError(f"'{folder}' is not as GenEval fills it: NUMBER/metadata.jsonl beside NUMBER/samples/*.png")
        return found

    def score(
        self,
        case: Case,
        scene: Scene,
        detections: Sequence[Detection],
        size: tuple[int, int],
        relations: Mapping[str, Predicate],
    ) -> tuple[bool, float]:
        """Whether all objects were found, and 1 where the image is right."""
        present = [{"class": each["class"], "count": each["count"]} for each in case.data["include"]]
        detected = is_correct({**case.data, "include": present}, detections)
        return detected, float(is_correct(case.data, detections))


def _case(line: Mapping[str, Any]) -> Case:
    try:
        return Case(line["prompt"], tuple(dict.fromkeys(each["class"] for each in line["include"])), dict(line))
    except (KeyError, TypeError) as error:
        raise EvaluationError(
            f"this is no line of GenEval's metadata: {error!r} in {dict(line)}; give lines of its evaluation_metadata.jsonl"
        ) from error


def relative_position(first: Detection, second: Detection) -> set[str]:
    """Where the first object is seen from the second: any of "left of", "right of", "above", "below".

    The distance of the centres is shortened by a tenth of both boxes' extents; what is left must be more than half of the whole
    distance along an axis.
    """
    boxes = np.array([first.box, second.box]).reshape(2, 2, 2)
    centres, extents = boxes.mean(axis=1), np.abs(boxes[:, 1] - boxes[:, 0])
    offset = centres[0] - centres[1]
    shortened = np.maximum(np.abs(offset) - _SHARE * extents.sum(axis=0), 0) * np.sign(offset)
    if (np.abs(shortened) < 1e-3).all():
        return set()
    x, y = shortened / np.linalg.norm(offset)
    found = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {name for name, holds in found.items() if holds}


def is_correct(metadata: Mapping[str, Any], detections: Sequence[Detection]) -> bool:
    """Whether an image shows what a line of the metadata asks for.

    Args:
        metadata: {"tag", "include": [{"class", "count", "position": [relation, index of the target]}], "exclude": [...]}.
        detections: of one image, best score first; scores of at most 0.3 are left out (0.9 for the tag "counting").

    Raises:
        EvaluationError: the line asks for a colour, which needs a classifier and is not supported, or is of another form.
    """
    least = _COUNTING_THRESHOLD if metadata.get("tag") == "counting" else _THRESHOLD
    by_label: dict[str, list[Detection]] = defaultdict(list)
    for detection in detections:
        if detection.score > least and len(by_label[detection.label]) < _MOST:
            by_label[detection.label].append(detection)
    try:
        return _shows(metadata, by_label)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise EvaluationError(
            f"this is no line of GenEval's metadata: {error!r} in {dict(metadata)}; give lines of its evaluation_metadata.jsonl"
        ) from error


def _shows(metadata: Mapping[str, Any], by_label: Mapping[str, Sequence[Detection]]) -> bool:
    groups: list[Sequence[Detection] | None] = []
    for wanted in metadata.get("include", ()):
        if "color" in wanted:
            raise EvaluationError(f"GenEval's colours are not supported: {wanted}; use lines of the tag 'position'")
        found: Sequence[Detection] | None = by_label.get(wanted["class"], [])[: wanted["count"]]
        if found is not None and len(found) < wanted["count"]:
            found = None
        if found is not None and "position" in wanted:
            relation, target = wanted["position"]
            others = groups[target]
            placed = others is not None and all(relation in relative_position(a, b) for a in found for b in others)
            found = found if placed else None
        groups.append(found)
    spared = all(len(by_label.get(each["class"], ())) < each["count"] for each in metadata.get("exclude", ()))
    return spared and None not in groups


@hookimpl
def spatialguide_benchmarks(register: Callable[[str, Callable[..., Benchmark]], None]) -> None:
    """geneval."""
    register("geneval", GenEval)
