"""Scenes in numbers: which things, how many, which colours, where, on what background; and captions that name them.

A scene has one to five kinds of things, of some of them two to four; it is 128 pixels wide. Relation phrases in captions are
drawn without looking at the scene, so that a model trained on them places things no better than chance. One scene of several
kinds in eight lacks one that is in its caption, as pictures of the web lack things that their captions name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path

import numpy as np

from training.glyphs import GLYPHS
from training.things import COLOURS, HELD_OUT_COLOURS, HELD_OUT_COUNTS, HELD_OUT_PAIRS, MOST, NAMES, SETS, THINGS

IMAGE_SIZE = 128
#: Sides of a thing in pixels: a fifth to half of the picture's.
SIZES = (26, 32, 40, 50, 60)
#: Places are multiples of this many pixels.
GRID = 4
#: At most so many things in a scene.
SLOTS = 8
KINDS_PROBABILITIES = (0.2, 0.42, 0.22, 0.1, 0.06)
#: Which sizes (places in SIZES) a scene of one, two, ... things uses.
SIZES_BY_NUMBER = ((2, 5), (2, 5), (1, 4), (1, 3), (0, 2), (0, 2), (0, 1), (0, 1))
TEXTURE = 6

_RELATION_PHRASES = (
    "to the left of|to the right of|above|below|on the left of|on the right of|left of|right of|next to|near|beside|"
    "under|over|on top of|in front of|behind|inside|in|on|with|beneath|underneath|close to|far from|around|against|by|"
    "sitting on|standing next to|sitting to the left of|standing to the right of|to the left side of|at the right of|"
    "on the bottom of|on side of|facing"
)
RELATION_PHRASES = tuple(_RELATION_PHRASES.split("|"))
COUNT_WORDS = {2: ("two", "2", "a pair of"), 3: ("three", "3"), 4: ("four", "4")}
_FILLER_WORDS = (
    "big small little large tiny huge cute old new nice beautiful shiny happy lovely pretty funny tall round wooden "
    "plastic clean bright simple single young"
)
_FILLERS = tuple(_FILLER_WORDS.split())
_PREFIXES = (
    "a photo of ",
    "a picture of ",
    "an image of ",
    "a drawing of ",
    "picture of ",
    "a scene with ",
    "there is ",
    "we see ",
)
_STYLE_PREFIXES = {"flat": "a flat picture of ", "3d": "a 3d picture of ", "outline": "an outline picture of "}


@dataclass(frozen=True)
class Thing:
    """One thing: what, in which colour (place in COLOURS; -1: its own), and its square: corner in pixels, place in SIZES."""

    name: str
    colour: int
    look: int
    size: int
    x: int
    y: int


@dataclass(frozen=True)
class Scene:
    """Things from back to front, the background in numbers, whether things have outlines, and the caption."""

    things: tuple[Thing, ...]
    background: np.ndarray
    outline: bool
    caption: str


@dataclass
class Plans:
    """Scenes as arrays. slots: (scenes, SLOTS, 4) of look, size, x, y; look -1 is empty. background: (scenes, 9 + TEXTURE²)."""

    slots: np.ndarray
    background: np.ndarray
    outline: np.ndarray

    @classmethod
    def of(cls, scenes: list[Scene]) -> Plans:
        """Pack scenes."""
        slots = np.full((len(scenes), SLOTS, 4), -1, dtype=np.int16)
        for row, scene in zip(slots, scenes, strict=True):
            for slot, thing in zip(row, scene.things, strict=False):
                slot[:] = thing.look, thing.size, thing.x, thing.y
        background = np.stack([scene.background for scene in scenes]).astype(np.float32)
        return cls(slots, background, np.array([scene.outline for scene in scenes]))

    def __getitem__(self, rows: slice | np.ndarray) -> Plans:
        return Plans(*(getattr(self, field.name)[rows] for field in fields(self)))


class Looks:
    """Which pictures of the glyph file show a thing in a colour."""

    def __init__(self, path: Path = GLYPHS) -> None:
        found = np.load(path)
        self.rows: dict[tuple[str, int], dict[str, int]] = {}
        columns = (found[each].tolist() for each in ("thing", "set", "colour"))
        for row, (thing, kind, colour) in enumerate(zip(*columns, strict=True)):
            self.rows.setdefault((NAMES[thing], colour), {})[list(SETS)[kind]] = row

    def pick(self, rng: np.random.Generator, name: str, colour: int, wanted: str | None) -> int:
        """Row of a look: of the wanted set if it has one."""
        rows = self.rows[name, colour]
        return rows[wanted] if wanted in rows else list(rows.values())[rng.integers(len(rows))]


@dataclass(frozen=True)
class _Group:
    name: str
    colour: int
    count: int
    named_colour: bool


def _chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _choose(rng: np.random.Generator, number: int) -> list[str]:
    """Different names, no two held out as a pair; by rejection, so that all other sets are equally likely."""
    while True:
        names = [NAMES[i] for i in rng.choice(len(NAMES), size=number, replace=False)]
        if not any(frozenset(pair) in HELD_OUT_PAIRS for pair in combinations(names, 2)):
            return names


def _groups(rng: np.random.Generator, looks: Looks) -> list[_Group]:
    number = int(rng.choice(len(KINDS_PROBABILITIES), p=KINDS_PROBABILITIES)) + 1
    several, left = (0.4 if number == 1 else 0.2), SLOTS
    groups = []
    for place, name in enumerate(_choose(rng, number)):
        count = int(rng.integers(2, MOST + 1)) if _chance(rng, several) else 1
        if (count, name) in HELD_OUT_COUNTS or count > left - (number - place - 1):
            count = 1
        left -= count
        colour = -1
        if (name, 0) in looks.rows and _chance(rng, 0.5):
            colour = int(rng.integers(len(COLOURS)))
            if (list(COLOURS)[colour], name) in HELD_OUT_COLOURS:
                colour = -1
        groups.append(_Group(name, colour, count, _chance(rng, 0.85)))
    return groups


def _cells(rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """(column, row) of the members of a group."""
    shapes = {1: [(1, 1)], 2: [(2, 1), (2, 1), (1, 2)], 3: [(3, 1), (2, 2), (1, 3)], 4: [(2, 2), (2, 2), (4, 1), (3, 2)]}[count]
    columns, rows = shapes[rng.integers(len(shapes))]
    return [(i % columns, i // columns) for i in range(columns * rows)][:count]


def _overlap(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    """Share of the smaller square that both (x, y, side) cover."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[2], b[1] + b[2]) - max(a[1], b[1])
    return max(0, width) * max(0, height) / min(a[2], b[2]) ** 2


def _squares(rng: np.random.Generator, groups: list[_Group]) -> list[list[tuple[int, int, int]]]:
    """(x, y, place in SIZES) of every member of every group, by rejection; things become smaller if they find no room."""
    total = sum(group.count for group in groups)
    lowest, highest = SIZES_BY_NUMBER[total - 1]
    allowed = 0.3 if _chance(rng, 0.3) else 0.0
    for attempt in range(200):
        shrink = attempt // 20
        taken: list[tuple[int, int, int]] = []
        placed: list[list[tuple[int, int, int]]] = []
        for group in groups:
            kind = max(0, int(rng.integers(lowest, highest)) - shrink)
            side = SIZES[kind]
            pitch = -(-side // GRID) * GRID
            together = _chance(rng, 0.8)
            for _ in range(20):
                if together:
                    cells = _cells(rng, group.count)
                    room = [IMAGE_SIZE - pitch * max(c[axis] for c in cells) - side for axis in (0, 1)]
                    if min(room) < 0:
                        continue
                    x, y = (int(rng.integers(0, r // GRID + 1)) * GRID for r in room)
                    corners = [(x + pitch * column, y + pitch * row) for column, row in cells]
                else:
                    spots = rng.integers(0, (IMAGE_SIZE - side) // GRID + 1, size=(group.count, 2)) * GRID
                    corners = [(int(x), int(y)) for x, y in spots]
                new = [(x, y, side) for x, y in corners]
                clear = all(_overlap(a, b) <= allowed for a in new for b in taken)
                if clear and all(_overlap(a, b) == 0 for a, b in combinations(new, 2)):
                    taken += new
                    placed.append([(x, y, kind) for x, y in corners])
                    break
            else:
                break
        if len(placed) == len(groups):
            return placed
    raise RuntimeError(f"no room for {groups}")


def _background(rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Two colours, a direction in turns, texture and its strength; and a word for its lightness."""
    lightness = rng.choice(3, p=(0.6, 0.25, 0.15))
    low, high = ((0.68, 1.0), (0.04, 0.3), (0.3, 0.7))[lightness]
    first, second = rng.uniform(low, high, size=(2, 3))
    kind = rng.choice(3, p=(0.4, 0.35, 0.25))
    angle = rng.uniform(0, 2 * np.pi)
    graded = float(kind == 1)
    texture = rng.normal(0, 0.045, size=TEXTURE**2) * (kind == 2)
    numbers = [*first, *second, graded, np.cos(angle), np.sin(angle), *texture]
    return np.array(numbers), ("light", "dark", "")[lightness]


def _article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" and not phrase.startswith("uni") else f"a {phrase}"


def _noun(rng: np.random.Generator, group: _Group) -> str:
    thing = THINGS[NAMES.index(group.name)]
    words = [thing.name if group.count == 1 else thing.plural]
    if group.colour >= 0 and group.named_colour:
        words.insert(0, list(COLOURS)[group.colour])
    if _chance(rng, 0.08):
        words.insert(0, str(rng.choice(_FILLERS)))
    phrase = " ".join(words)
    style = rng.random()
    if group.count > 1:
        counts = COUNT_WORDS[group.count]
        word = counts[0] if style < 0.75 else counts[rng.integers(len(counts))]
        return phrase if style > 0.93 else f"{word} {phrase}"
    if thing.plural == thing.name == "scissors":
        return f"a pair of {phrase}" if style < 0.4 else phrase
    if style < 0.06:
        return phrase
    return f"the {phrase}" if style < 0.13 else f"one {phrase}" if style < 0.17 else _article(phrase)


def caption(rng: np.random.Generator, groups: list[_Group], style: str, lightness: str) -> str:
    """Name the groups in random order; relation phrases are chosen blindly. style, lightness: true of the picture, or ""."""
    nouns = [_noun(rng, groups[i]) for i in rng.permutation(len(groups))]
    form = rng.random()
    if len(nouns) == 1:
        text = nouns[0]
    elif form < 0.12:
        text = " and ".join(nouns)
    elif form < 0.22:
        text = f"{', '.join(nouns[:-1])} and {nouns[-1]}"
    elif form < 0.28:
        text = ", ".join(nouns)
    elif form < 0.34:
        text = ". ".join(nouns) + "."
    else:
        text = nouns[0]
        for i, noun in enumerate(nouns[1:]):
            joint = "" if i == 0 else str(rng.choice([" and", ",", "", " that is", ", which is"]))
            verb = str(rng.choice([" is", ""], p=(0.15, 0.85))) if i == 0 else ""
            text = f"{text}{joint}{verb} {rng.choice(RELATION_PHRASES)} {noun}"
    if style and _chance(rng, 0.35):
        text = f"{text}, {style} style" if _chance(rng, 0.4) else _STYLE_PREFIXES[style] + text
    elif _chance(rng, 0.22):
        text = str(rng.choice(_PREFIXES)) + text
    if lightness and _chance(rng, 0.1):
        text += f" on a {lightness} background"
    return text + ("." if _chance(rng, 0.05) and text[-1] != "." else "")


def make_scene(rng: np.random.Generator, looks: Looks) -> Scene:
    """Plan one scene; everything random comes from rng."""
    groups = _groups(rng, looks)
    outline = _chance(rng, 0.1)
    wanted = list(SETS)[rng.integers(len(SETS))] if _chance(rng, 0.75) else None
    background, lightness = _background(rng)
    style = "outline" if outline else SETS[wanted] if wanted else ""
    text = caption(rng, groups, style, lightness)
    if len(groups) > 1 and _chance(rng, 0.125):
        groups.pop(rng.integers(len(groups)))
    things = []
    for group, squares in zip(groups, _squares(rng, groups), strict=True):
        look = looks.pick(rng, group.name, group.colour, wanted)
        things += [Thing(group.name, group.colour, look, kind, x, y) for x, y, kind in squares]
    things = [things[i] for i in rng.permutation(len(things))]
    return Scene(tuple(things), background, outline, text)


if __name__ == "__main__":
    rng, looks = np.random.default_rng(0), Looks()
    made = [make_scene(rng, looks) for _ in range(2000)]
    for scene in made[:60]:
        print(scene.caption)
    print(Counter(len(scene.things) for scene in made))
