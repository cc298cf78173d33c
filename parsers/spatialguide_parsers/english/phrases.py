"""Spatial phrases: where the words of a prompt say one, the registered ones first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from spatialguide.contracts import Predicate
from spatialguide_parsers.english import vocabulary as v
from spatialguide_parsers.english.model import Model
from spatialguide_parsers.english.rules import Kind, Rule, make_rules
from spatialguide_parsers.english.words import COLON, COMMA, STOP, Word

#: Kinds of marks after which no ground stands.
GROUNDLESS = frozenset({"bare", "owned", "closing", "place", "lone"})
_UNIT = (
    "paces?|steps?|feet|foot|meters?|metres?|inch(?:es)?|miles?|yards?|blocks?|cm|centimeters?|centimetres?|floors?"
    "|stories|storeys?"
)
_MEASURE = re.compile(rf"(?:a (?:bit|little)|(?:a few|several|some|an?|\d+|{'|'.join(sorted(v.NUMBERS))}) (?:{_UNIT})) ")
_BREAKS = frozenset({COMMA, STOP, COLON})
_MOST_ADVERBS = 4
_SHOWING = v.HAVE | v.SHOWING | v.DEPICTING
_AFTER_VERBS = v.QUIET_PREPOSITIONS | {"with", "and"}
_FILLING = v.DETERMINERS | v.BE
_AFTER_PLACES = (
    v.DETERMINERS
    | v.POSTURES
    | v.RESTS
    | v.BE
    | v.HAVE
    | v.SHOWING
    | v.DEPICTING
    | v.NUMBERS
    | _BREAKS
    | v.RELATIVES
    | v.CLAUSE_WORDS
    | v.QUIET_PREPOSITIONS
    | v.JOINTS
)


@dataclass(frozen=True)
class Mark:
    """A phrase of place over words [start, end).

    kind: "relation" (a registered phrase), "place" (a place in the picture; without `predicate` where no plugin has it),
    "lone" (a place without a preposition), "bare" (a phrase without its "of": "on top"), "owned" ("to its left"),
    "closing" ("'s left" in "to the dog's left", after the "relation" mark on "to"), "part" (of a thing: "at the top of"),
    "other" (no plugin has it), "idiom" (a way of speaking), "correction" ("no wait": it takes back what was said).
    core: first word after the adverbs. together: "both", "all" before it. limited: "just", "far" before it.
    elsewhere: the place in the picture that a "bare" phrase says where it has no host.
    """

    kind: Kind
    start: int
    end: int
    core: int
    text: str
    predicate: str = ""
    grounds: int = 1
    owner: str = ""
    together: bool = False
    limited: bool = False
    elsewhere: str = ""


class _Text:
    """Words joined by blanks, with the way from words to characters and back."""

    def __init__(self, words: Sequence[Word]) -> None:
        self.words = words
        self.joined = " ".join(word.text for word in words)
        self.starts = [0, *accumulate(len(word.text) + 1 for word in words)]
        self.index = {offset: position for position, offset in enumerate(self.starts)}

    @cached_property
    def is_parallel(self) -> bool:
        """Whether several parts end in a side: "teapot left, teacup right"."""
        sides = ("left", "right", "center", "centre", "middle")
        ends = (self.at(i - 1) for i in range(1, len(self.words) + 1) if self.at(i) in _BREAKS | {"and"})
        return sum(word in sides for word in ends) > 1

    def at(self, position: int) -> str:
        """A word; beyond either end a break."""
        return self.words[position].text if 0 <= position < len(self.words) else STOP


class Phrases:
    """Finds phrases of place in words.

    Args:
        relations: relation plugins by predicate name. Their phrases are the only ones that become relations; a phrase
            about the left or right of something also brings the other ways to say it.
        model: knows verbs.
    """

    def __init__(self, relations: Mapping[str, Predicate], model: Model) -> None:
        self._model = model
        self._rules: dict[str, list[Rule]] = defaultdict(list)
        rules = make_rules(relations)
        placing = {word for rule in rules if rule.kind == "relation" for word in rule.first}
        self._openings = placing - v.DESCRIBING - {"left", "right", "upper", "lower", "top", "bottom"}
        for rule in rules:
            for word in rule.first:
                self._rules[word].append(rule)

    def find(self, words: Sequence[Word]) -> list[Mark]:
        """Marks in order, never overlapping; at each word the longest phrase wins, and of equals the registered one."""
        text = _Text(words)
        marks: list[Mark] = []
        closings: dict[int, int] = {}
        position = 0
        while position < len(words):
            if position in closings:
                position = closings[position]
                continue
            found = self._longest(text, position)
            marks.extend(found)
            closings |= {mark.start: mark.end for mark in found if mark.kind == "closing"}
            position = found[0].end if found else position + 1
        return sorted(marks, key=lambda mark: mark.start)

    def _longest(self, text: _Text, position: int) -> list[Mark]:
        best: list[Mark] = []
        end = 0
        for core in _cores(text, position):
            for rule in self._rules.get(text.words[core].text, ()):
                match = rule.pattern.match(text.joined, text.starts[core])
                if match is None or match.end() < end:
                    continue
                if match.end() == end:
                    if rule.kind == "place" and best[-1].kind == "bare":
                        best = [replace(best[-1], elsewhere=best[-1].elsewhere or rule.predicate)]
                    continue
                marks = _marks(rule, match, text, position, core)
                if self._fits(marks[-1], text):
                    best, end = marks, match.end()
        return best

    def _fits(self, mark: Mark, text: _Text) -> bool:
        """Whether a place may end there: "on the left" does, "on the left shoe" does not."""
        if mark.kind == "lone":
            return _is_lone_place(mark, text)
        if mark.kind == "correction":
            ends = text.at(mark.end) in _BREAKS | {"not", "no"} or mark.end - mark.start > 1 or mark.text == "actually"
            return 0 < mark.start < len(text.words) - 1 and text.at(mark.start - 1) in _BREAKS and ends
        if mark.kind == "place" and text.at(mark.end) == "of":
            return False
        if mark.kind == "bare" and text.at(mark.start - 1) in _BREAKS and text.at(mark.end) == COMMA:
            return False  # "on top, a condor": a place in the picture
        after = text.at(mark.end)
        if mark.kind not in GROUNDLESS or after in _AFTER_PLACES or after in self._openings:
            return True
        runs = after.endswith("ing") and after not in v.NOUNS_IN_ING
        return runs or self._acts(text, mark)

    def _acts(self, text: _Text, mark: Mark) -> bool:
        """Whether a verb follows, as what follows it shows: "on the left faces a dog", not "on the left wheels of a car"."""
        word, after = text.at(mark.end), text.at(mark.end + 1)
        if not self._model.is_verb(word) or after == "of":
            return False
        if not self._model.is_noun(word) and not self._model.is_adjective(word):
            return True
        if (self._is_plural(after) or after in _AFTER_VERBS) and self._are_several(text, mark):
            return True  # "the woman on the left and the man on the right hold hands"
        if after in v.DETERMINERS or after in v.NUMBERS or after in v.PRONOUNS:
            return True
        ends = after in _BREAKS or after in ("and", "while")
        return self._model.is_third_person(word) and not (ends and self._model.is_noun(word) and word not in v.RESTS)

    def _is_plural(self, word: str) -> bool:
        return self._model.singular(word) != word

    def _are_several(self, text: _Text, mark: Mark) -> bool:
        """Whether a phrase stands after a plural, or after things joined by "and"."""
        return self._is_plural(text.at(mark.start - 1)) or "and" in (text.at(mark.start - i) for i in range(2, 5))


def _cores(text: _Text, position: int) -> Iterator[int]:
    """Where a phrase can begin after a measure and adverbs: "three paces behind", "right next to"."""
    yield position
    measure = _MEASURE.match(text.joined, text.starts[position])
    if measure is not None and measure.end() in text.index:
        position = text.index[measure.end()]
        if position < len(text.words):
            yield position
    if text.at(position - 1) in v.DETERMINERS:
        return  # "a well in front of a house"
    for _ in range(_MOST_ADVERBS):
        if text.at(position) not in v.RELATION_ADVERBS or position + 1 >= len(text.words):
            return
        position += 1
        yield position


def _marks(rule: Rule, match: re.Match[str], text: _Text, position: int, core: int) -> list[Mark]:
    end = text.index[match.end() + 1]
    if rule.kind == "closing":
        last = text.index[match.start("closing")]
        opening = Mark("relation", position, core + 1, core, match.group(), rule.predicate, rule.grounds)
        return [opening, Mark("closing", last, end, last, match.group("closing"))]
    owner = match.group("owner") if rule.kind == "owned" else ""
    adverbs = {text.at(place) for place in range(position, core)}
    together, limited = bool(adverbs & {"both", "all"}), bool(adverbs & v.LIMITING)
    return [Mark(rule.kind, position, end, core, match.group(), rule.predicate, rule.grounds, owner, together, limited)]


def _is_lone_place(mark: Mark, text: _Text) -> bool:
    """Whether words name a place without a preposition: "left: a cat", "a cat, top left", "a cat dead center, ..."."""
    before, after = text.at(mark.start - 1), text.at(mark.end)
    opening = before in _BREAKS | {"and"}
    if after == "of":
        return False  # "the top of a tree" is a part of a thing
    if before == "the" and (after in _SHOWING or (after in _FILLING and mark.end - mark.start > 1)):
        return True
    if mark.end - mark.start == 1 and "-" not in mark.text:
        return (opening and after == COLON) or (not opening and after in _BREAKS | {"and"} and text.is_parallel)
    if opening:
        return after in _BREAKS
    return before not in v.DETERMINERS | {"of"} and after in _BREAKS | {"and", "looking", "facing"}
