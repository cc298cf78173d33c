"""Spatial phrases: where the words of a prompt say one, the registered ones first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from spatialguide.contracts import Relation
from spatialguide_parsers.spacy_english.vocabulary import BE, DETERMINERS, NUMBERS, POSTURES, RELATION_ADVERBS
from spatialguide_parsers.spacy_english.words import COMMA, STOP, Word, cut

Kind = Literal["relation", "bare", "owned", "closing", "other", "frame"]

#: Phrases of place that the grammar knows only to report them, where no plugin has them.
OTHER = """
in; inside; inside of; within; behind; in front of; in back of; at the back of; at the rear of; between; in between;
among; amid; amidst; around; all around; surrounded by; surrounding; encircled by; across from; across; opposite;
opposite to; against; along; through; outside; outside of; beyond; hidden by; onto; towards; toward; upon;
on the edge of; at the edge of; in the corner of; in the middle of; in the center of; in the centre of;
at the center of; at the top of; at the foot of; on either side of; on both sides of; on opposite sides of;
side by side; back to back; face to face; from left to right;
left to right; on each side of; in the back of; on the back of; at the front of;
on the front of
"""
_ADVERBS = "|".join(sorted(RELATION_ADVERBS))
_MEASURE = r"(?:(?:a (?:bit|little)|off|slightly) )?"
_PREFIX = rf"{_MEASURE}(?:(?:{_ADVERBS}) )*"
_DEGREE = r"(?:(?:far|immediate|upper|lower|extreme|near|very|direct|top|bottom) )*"
_FRAME = r"(?: of the (?:image|picture|frame|photo|photograph|scene|canvas|composition|screen|shot|view|painting))"
_PART = r"(?:(?:-| )hand)?(?: (?:side|half|part|corner|edge|third))?"
_OWNER = "his|her|its|their|my|your"
_NAME = r"(?:(?:a|an|the|his|her|its|their) )?(?:(?!(?:to|on|at|in|of|by|next|near|left|right|and|with) )[^ .,]+ ){1,4}?"
_END = r"(?![^ ])"


@dataclass(frozen=True)
class Mark:
    """A phrase of place over words [start, end).

    kind: "relation" (a registered phrase), "bare" (one without its "of": "on the left"), "owned" ("to its left"),
    "closing" ("'s left" in "to the dog's left", after the "relation" mark on "to"), "frame" (a place in the picture),
    "other" (no plugin has it). core: first word after the adverbs. together: "both", "all" before it.
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


def _pattern(phrase: str) -> str:
    """Regex of a phrase; inner articles are optional ("on top of", "on the top of")."""
    words = [word.text for word in cut(phrase)]
    inner = [re.escape(word) for word in words if word != "the" or len(words) == 1]
    return " (?:the )?".join(inner)


class Phrases:
    """Finds phrases of place in words.

    Args:
        relations: relation plugins by predicate name. Their phrases are the only ones that become relations; a phrase
            about the left or right of something also brings the other ways to say it.
    """

    def __init__(self, relations: Mapping[str, Relation]) -> None:
        self._rules: list[tuple[re.Pattern[str], Kind, str, int]] = []
        for name, relation in relations.items():
            if relation.grounds < 1:
                continue
            for phrase in relation.phrases:
                self._add(_pattern(phrase), "relation", name, relation.grounds)
        for name, relation in relations.items():
            if relation.grounds == 1:
                self._generalise(name, relation.phrases)
        self._add(
            rf"(?:on|at|in|to) the {_DEGREE}(?:left|right|top|bottom|center|centre|middle|front|back)"
            rf"(?: (?:left|right|center))?{_PART}{_FRAME}?",
            "frame",
            "",
            0,
        )
        self._add(rf"in the (?:foreground|background|distance|corner){_FRAME}?", "frame", "", 0)
        for phrase in OTHER.split(";"):
            self._add(_pattern(phrase), "other", "", 1)

    def _add(self, pattern: str, kind: Kind, predicate: str, grounds: int) -> None:
        if pattern:
            rule = re.compile(rf"(?P<adverbs>{_PREFIX})(?P<core>{pattern}){_END}")
            self._rules.append((rule, kind, predicate, grounds))

    def _generalise(self, name: str, phrases: Iterable[str]) -> None:
        """Ways to say a side that follow from a registered one, and phrases without their "of"."""
        for side in ("left", "right"):
            if any(phrase.split()[-2:] == [side, "of"] for phrase in phrases):
                where = rf"{_DEGREE}{side}{_PART}"
                self._add(rf"(?:(?:to|on|at|towards?) )?(?:(?:the|a) )?{where} of", "relation", name, 1)
                self._add(rf"(?:to|on|at|in) (?:the )?{where}{_FRAME}?", "bare", name, 1)
                self._add(rf"(?:to|on|at) (?P<owner>{_OWNER}) {where}", "owned", name, 1)
                self._add(rf"(?:to|on|at) {_NAME}(?P<closing>'s {where})", "closing", name, 1)
        for phrase in phrases:
            words = phrase.split()
            if len(words) > 2 and words[-1] == "of" and not {"left", "right"} & set(words):
                self._add(_pattern(" ".join(words[:-1])), "bare", name, 1)

    def find(self, words: Sequence[Word]) -> list[Mark]:
        """Marks in order, never overlapping; at each word the longest phrase wins, and of equals the registered one."""
        text = " ".join(word.text for word in words)
        starts = [0]
        for word in words:
            starts.append(starts[-1] + len(word.text) + 1)
        index = {offset: position for position, offset in enumerate(starts)}
        marks: list[Mark] = []
        position = 0
        closings: dict[int, int] = {}
        while position < len(words):
            if position in closings:
                position = closings[position]
                continue
            found = self._longest(text, words, starts, index, position)
            marks.extend(found)
            closings |= {mark.start: mark.end for mark in found if mark.kind == "closing"}
            position = found[0].end if found else position + 1
        return sorted(marks, key=lambda mark: mark.start)

    def _longest(self, text: str, words: Sequence[Word], starts: list[int], index: dict[int, int], position: int) -> list[Mark]:
        best: tuple[int, list[Mark]] = (0, [])
        for rule, kind, predicate, grounds in self._rules:
            match = rule.match(text, starts[position])
            if match is None or match.end() <= best[0] or match.end("core") == match.start("core"):
                continue
            marks = _marks(match, kind, predicate, grounds, index, position)
            if _stands_alone(kind, words, marks[-1].end):
                best = (match.end(), marks)
        return best[1]


def _marks(
    match: re.Match[str], kind: Kind, predicate: str, grounds: int, index: Mapping[int, int], position: int
) -> list[Mark]:
    end = index[match.end() + 1]
    core = index[match.start("core")]
    text = match.group("core")
    if kind == "closing":
        last = index[match.start("closing")]
        opening = Mark("relation", position, core + 1, core, text, predicate, grounds)
        return [opening, Mark("closing", last, end, last, match.group("closing"))]
    owner = match.group("owner") if kind == "owned" else ""
    together = bool({"both", "all"} & set(match.group("adverbs").split()))
    return [Mark(kind, position, end, core, text, predicate, grounds, owner, together)]


def _stands_alone(kind: Kind, words: Sequence[Word], end: int) -> bool:
    """Whether a side ends there: "on the left" does, "on the left shoe" does not."""
    if kind not in ("bare", "owned", "closing", "frame") or end >= len(words):
        return True
    after = words[end].text
    closed = DETERMINERS | POSTURES | BE | NUMBERS.keys() | {COMMA, STOP, "and", "or", "but", "there", "which", "while"}
    prepositions = {"in", "on", "at", "with", "from", "above", "below", "near", "next", "by", "under", "of"}
    return after in closed or after in prepositions
