"""Benchmarks scored by VISOR's rule: its own prompts, and prompts with many objects."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from spatialguide.contracts import Benchmark, Case
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.prompts import bundled_names, inflector, sample_prompts
from spatialguide.evaluation.visor import VisorRule
from spatialguide.hookspecs import hookimpl


class Visor(VisorRule):
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


class MultiObject(VisorRule):
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
        engine = inflector()
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


@hookimpl
def spatialguide_benchmarks(register: Callable[[str, Callable[..., Benchmark]], None]) -> None:
    """visor, multi."""
    register("visor", Visor)
    register("multi", MultiObject)
