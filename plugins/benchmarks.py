"""Benchmarks: VISOR, T2I-CompBench spatial, GenEval position, and one with many objects."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from spatialguide.contracts import Benchmark, Case, Detection, Relation
from spatialguide.errors import EvaluationError
from spatialguide.evaluation import compbench, geneval
from spatialguide.evaluation.prompts import bundled_names, sample_prompts
from spatialguide.hookspecs import hookimpl
from spatialguide.scene import Scene


class Visor(Benchmark):
    """Two objects and a relation (Gokhale et al., arXiv 2212.10015): a sample spread evenly over the four relations.

    Args:
        names: what the prompts are made of; by default the model's vocabulary, else VISOR's 80 COCO names.
        pairs: only these pairs of names, such as [[cat, pizza], [dog, apple]].
    """

    def __init__(self, names: Sequence[str] | None = None, pairs: Sequence[Sequence[str]] | None = None) -> None:
        if isinstance(names, str):
            raise EvaluationError(f"names must be a list, such as [cat, dog], not '{names}'")
        if pairs is not None and (isinstance(pairs, str) or any(isinstance(p, str) or len(set(p)) != 2 for p in pairs)):
            raise EvaluationError(f"pairs must be a list of pairs of names, such as [[cat, pizza], [dog, apple]], not {pairs}")
        self._pairs = None if pairs is None else {frozenset(pair) for pair in pairs}
        self._names = names if pairs is None else sorted({name for pair in pairs for name in pair})

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """The sample that `count` and `seed` give."""
        names = self._names or vocabulary or bundled_names("coco")
        return [Case(prompt, ()) for prompt in sample_prompts(names, count, seed, self._pairs)]

    def labels(self, case: Case, scene: Scene) -> tuple[str, ...]:
        """The prompt's two objects, as the publication asks its detector."""
        return _objects(scene)


class MultiObject(Benchmark):
    """Three to five objects, each related to the one before: "a cat above a dog, the dog to the left of a bus".

    The paper's open question about more than two objects. Every second prompt also relates the first to the last, so that n
    objects have n - 1 or n relations. Every scene can hold, since all relations along an axis have one direction.

    Args:
        objects: how many; a range is spread evenly over the prompts.
        names: see `Visor`.
    """

    _PHRASES: Mapping[str, tuple[str, str]] = {"x": ("to the left of", "to the right of"), "y": ("above", "below")}

    def __init__(self, objects: tuple[int, int] = (3, 5), names: Sequence[str] | None = None) -> None:
        fits = isinstance(objects, Sequence) and len(objects) == 2 and all(isinstance(each, int) for each in objects)
        if not fits or not 2 <= objects[0] <= objects[1]:
            raise EvaluationError(f"objects must be two numbers, the first at least 2 and at most the second, not {objects}")
        self._sizes = range(objects[0], objects[1] + 1)
        self._names = names

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """Prompts of `count` scenes; the same for the same seed."""
        import inflect

        engine = inflect.engine()
        names = tuple(self._names or vocabulary or bundled_names("coco"))
        if len(names) < self._sizes[-1]:
            raise EvaluationError(
                f"{self._sizes[-1]} different objects are needed, and there are {len(names)} names: "
                "give more, or ask for fewer objects"
            )
        rng = random.Random(seed)
        cases = []
        for number in range(count):
            chosen = rng.sample(names, self._sizes[number % len(self._sizes)])
            sides = {axis: rng.choice(phrases) for axis, phrases in self._PHRASES.items()}
            parts: list[str] = []
            axes = [rng.choice("xy") for _ in chosen[1:]]
            for axis, (first, second) in zip(axes, pairwise(chosen), strict=True):
                subject = f"the {first}" if parts else engine.an(first)
                parts.append(f"{subject} {sides[axis]} {engine.an(second)}")
            if number % 2:
                parts.append(f"the {chosen[0]} {sides[rng.choice(axes)]} the {chosen[-1]}")
            cases.append(Case(", ".join(parts), ()))
        return cases

    def labels(self, case: Case, scene: Scene) -> tuple[str, ...]:
        """The prompt's objects."""
        return _objects(scene)


class CompBench(Benchmark):
    """T2I-CompBench's two-dimensional spatial prompts (Huang et al., arXiv 2307.06350), scored by its rule.

    Args:
        file: the publication's prompt file, one prompt per line ("spatial_val.txt").
    """

    def __init__(self, file: str) -> None:
        self._lines = _read(file)

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """The first prompts of the file that hold one of the rule's phrases."""
        prompts = [line.strip().rstrip(".") for line in self._lines]
        known = [(prompt, names) for prompt in prompts if (names := compbench.objects_of(prompt)) is not None]
        # People are one label.
        return [Case(prompt, tuple(dict.fromkeys(map(compbench.label_of, names))), names) for prompt, names in known[:count]]

    def score(
        self,
        case: Case,
        scene: Scene,
        detections: Sequence[Detection],
        size: tuple[int, int],
        relations: Mapping[str, Relation],
    ) -> tuple[bool, float]:
        """Whether both objects were found, and the rule's score in [0, 1]."""
        subject, ground = case.data
        found = {detection.label for detection in detections}
        value = compbench.spatial_score(compbench.phrase_of(case.prompt), subject, ground, detections, size)
        return all(label in found for label in case.labels), value


class GenEval(Benchmark):
    """GenEval's position prompts (Ghosh et al., arXiv 2310.11513), scored by its rule.

    Args:
        file: the publication's "evaluation_metadata.jsonl"; lines of the tag "position" are used.
    """

    def __init__(self, file: str) -> None:
        try:
            lines = [json.loads(line) for line in _read(file)]
        except ValueError as error:
            raise EvaluationError(
                f"'{file}' does not hold one JSON object per line: {error}; give the publication's .jsonl"
            ) from error
        self._lines = [line for line in lines if isinstance(line, dict) and line.get("tag") == "position"]

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """The first lines of the file."""
        cases = []
        for line in self._lines[:count]:
            labels = tuple(dict.fromkeys(each["class"] for each in line.get("include", ())))
            cases.append(Case(line["prompt"], labels, line))
        return cases

    def score(
        self,
        case: Case,
        scene: Scene,
        detections: Sequence[Detection],
        size: tuple[int, int],
        relations: Mapping[str, Relation],
    ) -> tuple[bool, float]:
        """Whether all objects were found, and 1 where the image is right."""
        present = [{"class": each["class"], "count": each["count"]} for each in case.data["include"]]
        detected = geneval.is_correct({**case.data, "include": present}, detections)
        return detected, float(geneval.is_correct(case.data, detections))


def _objects(scene: Scene) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.text for item in scene.objects))


def _read(file: str) -> list[str]:
    try:
        return [line for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"cannot read '{file}': {error}; give the path of the publication's file") from error


@hookimpl
def spatialguide_benchmarks(register: Callable[[str, Callable[..., Benchmark]], None]) -> None:
    """visor, multi, t2i, geneval."""
    register("visor", Visor)
    register("multi", MultiObject)
    register("t2i", CompBench)
    register("geneval", GenEval)
