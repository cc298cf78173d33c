"""Benchmarks of what the bundled model knows: pairs of things, their colours, and how many there are."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import product, zip_longest

from spatialguide.contracts import Case, Detection, Predicate
from spatialguide.evaluation.prompts import RELATION_PHRASES, inflector
from spatialguide.evaluation.strict import Size, coloured_as_asked, judge
from spatialguide.evaluation.visor import VisorRule
from spatialguide.scenes.scene import Scene, SceneObject
from spatialguide_plugins.tiny.backend import objects

_WORDS = ("two", "three", "four")


class Colours(VisorRule):
    """Two coloured things, "a red car to the left of a blue bowl": OA are images with both in their colours.

    Args:
        related: False asks for no relation, "a red car and a blue bowl".
        held_out: one of the two has a colour that training never showed it in.
    """

    def __init__(self, related: bool = True, held_out: bool = False) -> None:
        self._related, self._held_out = related, held_out

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """Two things of different names and colours each; the same for the same seed."""
        known, rng, engine = objects(), random.Random(seed), inflector()
        rare = {tuple(pair) for pair in known["held_out_colours"]}
        usual = [pair for pair in product(known["colours"], known["recoloured"]) if pair not in rare]
        apart = {frozenset(pair) for pair in known["held_out"]}
        cases: dict[str, Case] = {}
        tries = 0
        while len(cases) < count and tries < 100 * count:
            tries += 1
            two = [rng.choice(sorted(rare) if self._held_out else usual), rng.choice(usual)]
            rng.shuffle(two)
            (colour, name), (other_colour, other) = two
            if colour != other_colour and name != other and frozenset((name, other)) not in apart:
                joint = RELATION_PHRASES[len(cases) % len(RELATION_PHRASES)] if self._related else "and"
                prompt = f"{engine.an(f'{colour} {name}')} {joint} {engine.an(f'{other_colour} {other}')}"
                cases[prompt] = Case(prompt, ())
        return list(cases.values())

    def found(self, item: SceneObject, detections: Sequence[Detection]) -> list[Detection]:
        """Those of its name and its colour."""
        return [each for each in super().found(item, detections) if coloured_as_asked(item, each)]


class Counts(VisorRule):
    """Two to four of a kind, "three apples to the left of a bus": OA are images with exactly as many.

    Args:
        related: False asks for them alone, "three apples".
        held_out: numbers that training never showed of the thing.
    """

    def __init__(self, related: bool = True, held_out: bool = False) -> None:
        self._related, self._held_out = related, held_out

    def cases(self, vocabulary: Sequence[str] | None, count: int, seed: int) -> list[Case]:
        """Numbers in turn; the same for the same seed."""
        known, rng, engine = objects(), random.Random(seed), inflector()
        names = known["names"]
        rare = {tuple(pair) for pair in known["held_out_counts"]}
        apart = {frozenset(pair) for pair in known["held_out"]}
        by_number = [
            [(number, name) for name, plural in names.items() if name != plural and ((number, name) in rare) == self._held_out]
            for number in (2, 3, 4)
        ]
        for pairs in by_number:
            rng.shuffle(pairs)
        mixed = [pair for turn in zip_longest(*by_number) for pair in turn if pair is not None]
        cases = []
        for place, (number, name) in enumerate(mixed[:count]):
            prompt = f"{_WORDS[number - 2]} {names[name]}"
            if self._related:
                ground = rng.choice([each for each in names if each != name and frozenset((each, name)) not in apart])
                prompt += f" {RELATION_PHRASES[place % len(RELATION_PHRASES)]} {engine.an(ground)}"
            cases.append(Case(prompt, ()))
        return cases

    def score(
        self, case: Case, scene: Scene, detections: Sequence[Detection], size: Size, relations: Mapping[str, Predicate]
    ) -> tuple[bool, float]:
        """Whether everything is there exactly as often as asked, and 1 where the relation holds too."""
        verdict = judge(scene, detections, relations, size)
        return not verdict.missing and not verdict.double, float(verdict.strict)
