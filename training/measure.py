"""What the bundled model draws, and how often it is what was asked for: names, colours, counts and a few prompts.

python -m training.measure

Figures are percent with Wilson's 95% interval. Relations are measured by `spatialguide bench run common` and `rare`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import typer

from spatialguide import SpatialGuide
from spatialguide.contracts import Detection
from spatialguide.scenes.planned import PlannedScene
from spatialguide_plugins.tiny.backend import objects
from spatialguide_plugins.tiny.detector import TinyDetector

PROMPTS = (
    "three apples to the left of a bus",
    "two cats below an airplane",
    "a teddy bear inside a boat",
    "a red car to the left of a blue car",
    "a robot to the left of a tree",
)
_WORDS = ("a", "two", "three", "four")
_AT_ONCE = 8


def wilson(hits: int, tries: int) -> str:
    """Percent of hits with its 95% interval (Wilson 1927)."""
    z, rate = 1.96, hits / tries
    middle = (rate + z * z / (2 * tries)) / (1 + z * z / tries)
    half = z * math.sqrt(rate * (1 - rate) / tries + z * z / (4 * tries**2)) / (1 + z * z / tries)
    return f"{100 * rate:.1f} ({100 * (middle - half):.0f}-{100 * (middle + half):.0f})"


def missing(planned: PlannedScene, found: Sequence[Detection]) -> str:
    """The first thing in which a picture is not what was asked for; "" if it is: names, colours and counts, then relations.

    A relation is one of the mean centres of all that was asked for.
    """
    colours, centres = set(objects()["colours"]), []
    for item in planned.scene.objects:
        wanted = next((word for word in item.attributes if word in colours), None)
        these = [each for each in found if each.label == item.text and wanted in (None, each.colour)]
        others = [each.colour for each in found if each.label == item.text and wanted not in (None, each.colour)]
        if item.count is not None and len(these) != item.count:
            beside = f", beside {' and '.join(map(str, others))}" if others else ""
            return f"{len(these)} of {item.count} {' '.join((*item.attributes, item.text))}{beside}"
        if not these:
            return f"no {item.text}"
        centres.append(np.mean([each.centroid for each in these], axis=0) / 128)
    for relation in planned.relations:
        if relation.distance(np.array(centres)) <= 0:
            return f"not {relation.name}"
    return ""


class Measure:
    """Draws and looks."""

    def __init__(self, names: int, each: int) -> None:
        self.guide, self.detector = SpatialGuide(), TinyDetector()
        self.names, self.known, self.few, self.each = list(objects()["names"]), objects(), names, each

    def found(self, prompts: Sequence[str], seed: int = 0, guided: bool = False) -> list[list[Detection]]:
        """Detections in one image of each prompt."""
        rows: list[list[Detection]] = []
        for start in range(0, len(prompts), _AT_ONCE):
            some = list(prompts[start : start + _AT_ONCE])
            seeds = [seed + start + i for i in range(len(some))]
            rows += self.detector(self.guide(some, seed=seeds, guided=guided).images, self.names)
        return rows

    def singles(self) -> None:
        """Does a stranger name the object?"""
        names = (self.names * 2)[:100]
        rows = self.found([f"a {name}" for name in names])
        right = [any(each.label == name for each in row) for name, row in zip(names, rows, strict=True)]
        alone = [[each.label for each in row] == [name] for name, row in zip(names, rows, strict=True)]
        print(f"| one object, right name | {wilson(sum(right), len(right))} | {len(right)} images |")
        print(f"| one object and nothing else | {wilson(sum(alone), len(alone))} | {len(alone)} images |")
        print("not named:", ", ".join(name for name, good in zip(names, right, strict=True) if not good) or "none", flush=True)

    def coloured(self) -> None:
        """One coloured object; then two, and whose colour they have."""
        held_out = {tuple(pair) for pair in self.known["held_out_colours"]}
        pairs = [(colour, name) for name in self.known["recoloured"] for colour in self.known["colours"]]
        rng = np.random.default_rng(0)
        shown = [pairs[i] for i in rng.permutation(len(pairs)) if pairs[i] not in held_out][: 2 * self.few]
        for title, chosen in (("one coloured object", shown[: self.few]), ("one, colour held out", sorted(held_out))):
            rows = self.found([f"a {colour} {name}" for colour, name in chosen], seed=1000)
            right = sum(
                (name, colour) in {(d.label, d.colour) for d in row} for (colour, name), row in zip(chosen, rows, strict=True)
            )
            print(f"| {title}, right name and colour | {wilson(right, len(chosen))} | {len(chosen)} images |", flush=True)
        twos = [(a, b) for a, b in zip(shown[::2], shown[1::2], strict=True) if a[0] != b[0] and a[1] != b[1]]
        rows = self.found([f"a {a[0]} {a[1]} and a {b[0]} {b[1]}" for a, b in twos], seed=2000)
        both = leaked = seen = right = 0
        for (a, b), row in zip(twos, rows, strict=True):
            looks = {(each.colour, each.label) for each in row}
            both += {a[1], b[1]} <= {each.label for each in row}
            right += {a, b} <= looks
            for own, other in ((a, b), (b, a)):
                tints = [each.colour for each in row if each.label == own[1]]
                seen, leaked = seen + bool(tints), leaked + (bool(tints) and own[0] not in tints and other[0] in tints)
        print(f"| two coloured objects, both there | {wilson(both, len(twos))} | {len(twos)} images |")
        print(f"| two coloured objects, both with their colours | {wilson(right, len(twos))} | {len(twos)} images |")
        print(f"| objects in the other's colour (leakage) | {wilson(leaked, seen)} | {seen} objects |", flush=True)

    def counts(self) -> None:
        """One to four of a kind."""
        held_out = {tuple(pair) for pair in self.known["held_out_counts"]}
        names = [name for name, plural in self.known["names"].items() if name != plural]
        rng = np.random.default_rng(1)
        for count in range(1, 5):
            some = [names[i] for i in rng.permutation(len(names)) if (count, names[i]) not in held_out][: self.few // 3]
            self._count(f"{count} of a kind", [(count, name) for name in some])
        self._count("count held out", sorted(held_out) * 3)

    def _count(self, title: str, asked: Sequence[tuple[int, str]]) -> None:
        nouns = [name if count == 1 else self.known["names"][name] for count, name in asked]
        rows = self.found([f"{_WORDS[count - 1]} {noun}" for (count, _), noun in zip(asked, nouns, strict=True)], seed=3000)
        found = [Counter(each.label for each in row)[name] for (_, name), row in zip(asked, rows, strict=True)]
        right = sum(number == count for number, (count, _) in zip(found, asked, strict=True))
        print(f"| {title}, exactly | {wilson(right, len(asked))} | {len(asked)} images |", flush=True)

    def prompts(self) -> None:
        """Prompts that people tried: how many of a few seeds are drawn as asked, and what is wrong with the others."""
        print("\n| prompt | unguided | guided | what the other guided ones lack |\n|---|---|---|---|")
        for prompt in PROMPTS:
            planned, cells, faults = self.guide.plan(prompt), [], Counter[str]()
            for guided in (False, True):
                lacks = [missing(planned, row) for row in self.found([prompt] * self.each, guided=guided)]
                cells.append(f"{lacks.count('')} of {self.each}")
                faults = Counter(filter(None, lacks))
            reasons = ", ".join(f"{fault} ({number})" for fault, number in faults.most_common()) or "-"
            print(f"| {prompt} | {cells[0]} | {cells[1]} | {reasons} |", flush=True)


def measure(
    images: Annotated[int, typer.Option(min=3, help="Of coloured objects; counts take a third of it each.")] = 100,
    each: Annotated[int, typer.Option(help="Seeds of every prompt.")] = 4,
) -> None:
    """Print everything."""
    run = Measure(images, each)
    print("| unguided | percent | of |\n|---|---|---|")
    run.singles()
    run.coloured()
    run.counts()
    run.prompts()


if __name__ == "__main__":
    typer.run(measure)
