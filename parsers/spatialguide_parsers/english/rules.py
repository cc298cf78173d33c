"""Rules: the ways to say a place. Predicate plugins bring their phrases, the grammar what follows from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Literal

from spatialguide.contracts import Predicate
from spatialguide_parsers.english.vocabulary import CORRECTIONS, DETERMINERS, IDIOMS, MIDDLES, NUMBERS
from spatialguide_parsers.english.words import cut

Kind = Literal["relation", "place", "lone", "bare", "owned", "closing", "part", "other", "idiom", "correction"]

#: Phrases of place that the grammar knows only to report them, where no plugin has them.
OTHER = """
in; inside; inside of; within; behind; in front of; in back of; at the back of; at the rear of; between; in between;
among; amid; amidst; around; all around; surrounded by; surrounding; encircled by; across from; across; opposite;
opposite to; against; along; through; outside; outside of; beyond; hidden by; onto; towards; toward; upon;
on either side of; on both sides of; on opposite sides of; side by side; back to back; face to face; from left to right;
left to right; on each side of; at the front of
"""
_FARTHER = "far|immediate|extreme|near|very|direct|dead|absolute|exact"
_FAR = rf"(?:(?:{_FARTHER}) ){{0,3}}"
_DEGREES = "far|immediate|extreme|near|very|direct|lower|upper|top|bottom"
_DEGREE = rf"(?:(?:{_DEGREES}) ){{0,3}}"
_PICTURE = "image|picture|frame|photo|photograph|scene|canvas|composition|shot"
#: Things that are drawn as often as they mean the picture: "to the right of the screen" is beside a thing.
_SHEET = "painting|drawing|screen|page|view|poster|illustration|print|card"
_WHOLE = "(?:the |this |my |a )?(?:whole |entire )?"
_FRAME = rf"(?: (?:of|in) {_WHOLE}(?:{_PICTURE}))"
_FRAME_OR_SHEET = rf"(?: (?:of|in) {_WHOLE}(?:{_PICTURE}|{_SHEET}))"
_HAND = r"(?:[- ]hand)?"
_PART = rf"{_HAND}(?: (?:side|half|part|corner|edge|third|quarter|quadrant|area|portion|region|section|border))?"
_PARTICIPLES = {"center": "centered", "centre": "centred"}
_OWNER = "his|her|its|their"
_NAME = r"(?:(?:a|an|the|his|her|its|their) )?(?:(?!(?:to|on|at|in|of|by|next|near|left|right|and|with) )[^ .,:]+ ){1,4}?"
_AT_SIDE = "to|on|at|toward|towards"
_AT_PLACE = f"{_AT_SIDE}|up|occupy|occupies|occupying|occupied|fill|fills|filling|in|into|near|along|across|through|from"
#: The middle of a thing: what is there is inside it. Other parts of a thing are places that no relation has.
_MIDDLE = "|".join(sorted(MIDDLES))
_PART_WORDS = "left|right|top|bottom|front|back|rear|corner|edge|half|part|third|quarter|area|portion|region|section|border"
_ENDS = "side|end|foot|base|head|tip|peak|summit"
_PART_DEGREE = (
    rf"(?:(?:{_FARTHER}|(?:left|right)[- ]hand|lower|upper|outer|inner|left|right|top|bottom|front|back|rear) ){{0,3}}"
)
#: Verbs that say "surround", where an object follows.
_SURROUNDING = "|".join(
    verb + end for verb in ("surround", "encircle", "line", "flank", "ring") for end in ("", "s", "d", "ed")
)
#: Places in the picture that no plugin has.
_OTHER_PLACES = "left|right|top|bottom|center|centre|middle|front|back"


@dataclass(frozen=True)
class Rule:
    """One way to say a place. `first` are the words that it can begin with; `pattern` matches words joined by blanks.

    Groups of the pattern: "owner" in rules of kind "owned", "closing" in those of kind "closing".
    """

    kind: Kind
    first: frozenset[str]
    pattern: re.Pattern[str]
    predicate: str = ""
    grounds: int = 1


#: Without its "of" a phrase with one of these is a place in the picture.
_NEVER_BARE = frozenset({"left", "right", "middle"})


def _rule(kind: Kind, first: str, rest: str = "", predicate: str = "", grounds: int = 1) -> Rule:
    return Rule(kind, frozenset(first.split("|")), _compiled(rf"(?:{first}){rest}(?![^ ])"), predicate, grounds)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern, compiled once: all of them take a quarter of a second, and are more than `re` keeps."""
    return re.compile(pattern)


def make_rules(relations: Mapping[str, Predicate]) -> list[Rule]:
    """All rules, those of plugins first."""
    rules: list[Rule] = []
    for name, relation in relations.items():
        if relation.grounds:
            rules += [_phrase("relation", phrase, name, relation.grounds) for phrase in relation.phrases if cut(phrase)]
        if relation.grounds == 1:
            rules += _sides(name, relation.phrases)
            rules += _shortened(name, relation.phrases)
        if "surround" in relation.phrases:
            rules.append(_rule("relation", _SURROUNDING, rf"(?= (?:{'|'.join(sorted(DETERMINERS | NUMBERS))})(?![^ ]))", name))
    for name, relation in relations.items():
        if relation.grounds == 1 and "in the middle of" in relation.phrases:
            rules.append(_middle("relation", name))
    for name, relation in relations.items():
        for phrase in () if relation.grounds else relation.phrases:
            rules += [_depth(phrase, name)] if phrase.startswith("in the ") else _places(phrase, name)
    rules += [rule for phrase in _OTHER_PLACES.split("|") for rule in _places(phrase, "")]
    rules.append(_rule("place", "in|within|inside|across|throughout", rf" (?:the|this) (?:whole |entire )?(?:{_PICTURE})"))
    rules.append(_depth("in the (?:foreground|background|distance|corner)", ""))
    rules += [_phrase("other", phrase) for phrase in OTHER.split(";")]
    rules.append(_middle("part"))
    rules.append(_rule("part", "in|on|at", rf" (?:(?:the|an?) )?{_PART_DEGREE}(?:{_PART_WORDS}) of"))
    rules.append(_rule("part", "in|at", rf" (?:(?:the|an?) )?{_PART_DEGREE}(?:{_ENDS}) of"))
    return [*rules, *_turns("idiom", IDIOMS), *_turns("correction", CORRECTIONS)]


def _turns(kind: Kind, turns: Iterable[str]) -> Iterator[Rule]:
    """Turns as they stand, one rule for all that begin alike."""
    for first, alike in groupby(sorted(turns), lambda turn: turn.split()[0]):
        longest_first = sorted((turn.removeprefix(first) for turn in alike), key=len, reverse=True)
        yield _rule(kind, first, f"(?:{'|'.join(map(re.escape, longest_first))})")


def _phrase(kind: Kind, phrase: str, predicate: str = "", grounds: int = 1) -> Rule:
    """A phrase as it stands; inner articles are optional ("on top of", "on the top of")."""
    first, *rest = [word.text for word in cut(phrase)]
    pattern = re.escape(first) + "".join(f" (?:the )?{re.escape(word)}" for word in rest if word != "the")
    return Rule(kind, frozenset([first]), _compiled(rf"{pattern}(?![^ ])"), predicate, grounds)


def _middle(kind: Kind, predicate: str = "") -> Rule:
    """Ways to say the middle of a thing, which follow from a registered "in the middle of"."""
    return _rule(kind, "in|on|at", rf" (?:the )?{_FAR}(?:{_MIDDLE}) of", predicate)


def _sides(name: str, phrases: Iterable[str]) -> Iterator[Rule]:
    """Ways to say a side that follow from a registered "left of" or "right of"."""
    for side in ("left", "right"):
        if any(phrase.split()[-2:] == [side, "of"] for phrase in phrases):
            where = rf"{_DEGREE}{side}{_PART}"
            yield _rule("relation", _AT_SIDE, rf" (?:(?:the|a) )?{where} of", name)
            yield _rule("relation", f"the|a|{_DEGREES}", rf" {where} of", name)
            yield _rule("relation", side, rf"{_PART} of", name)
            yield _rule("owned", _AT_SIDE, rf" (?P<owner>{_OWNER}) (?:own )?{where}", name)
            yield _rule("closing", _AT_SIDE, rf" {_NAME}(?P<closing>'s {where})", name)


def _shortened(name: str, phrases: Iterable[str]) -> Iterator[Rule]:
    """Phrases without their "of": "on top", and "by his side" from "by the side of"."""
    for phrase in phrases:
        words = phrase.split()
        if words[-3:] == ["the", "side", "of"]:
            yield _rule("owned", words[0], rf" (?P<owner>{_OWNER}) (?:own )?side", name)
        if len(words) > 2 and words[-1] == "of" and not _NEVER_BARE & set(words):
            yield _rule("bare", words[0], "".join(f" {word}" for word in words[1:-1]), name)


def _depth(phrase: str, predicate: str) -> Rule:
    """A place that is said with "in" alone: "on a background" is none."""
    return _rule("place", "in|into", rf" (?:the )?(?:far |distant )?{phrase.removeprefix('in the ')}{_FRAME}?", predicate, 0)


def _places(place: str, predicate: str) -> Iterator[Rule]:
    """Ways to say a place in the picture, from its name."""
    corner = rf"{place}{_PART}"
    yield _rule("place", _AT_PLACE, rf" (?:the |an? |my |your )?{_FAR}{corner}{_FRAME_OR_SHEET}?", predicate, 0)
    yield _rule("place", "the", rf" {_FAR}{corner}{_FRAME}", predicate, 0)
    for first, rest in ((place.split()[0], corner.removeprefix(place.split()[0])), (_FARTHER, rf" {_FAR}{corner}")):
        yield _rule("place", first, rf"{rest}{_FRAME}", predicate, 0)
        yield _rule("lone", first, rest, predicate, 0)
    if place in _PARTICIPLES:
        inside = rf"(?: (?:in|on|within) {_WHOLE}(?:{_PICTURE}|{_SHEET}))"
        yield _rule("place", _PARTICIPLES[place], rf"{inside}?", predicate, 0)
