"""Parts of speech, as far as the grammar tells them apart, and the token that carries one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from spatialguide_parsers.english import vocabulary as v
from spatialguide_parsers.english.phrases import Mark
from spatialguide_parsers.english.words import COLON, COMMA, STOP

#: Words in a noun phrase; longer runs are no language, and reading them again from every word would take quadratic time.
LONGEST_PHRASE = 24


class Part(Enum):
    """Part of speech."""

    DETERMINER = auto()
    NUMBER = auto()
    ADJECTIVE = auto()
    NOUN = auto()
    VERB = auto()
    PARTICIPLE = auto()
    ADVERB = auto()
    BE = auto()
    AND = auto()
    COMMA = auto()
    STOP = auto()
    OF = auto()
    WITH = auto()
    WITHOUT = auto()
    NOT = auto()
    PREPOSITION = auto()
    PRONOUN = auto()
    RELATIVE = auto()
    POSSESSIVE = auto()
    CLAUSE = auto()
    THERE = auto()
    MARK = auto()
    OTHER = auto()


#: Words whose part never changes with the tagger.
CLOSED: dict[str, Part] = (
    dict.fromkeys(v.DETERMINERS, Part.DETERMINER)
    | dict.fromkeys(v.BE, Part.BE)
    | dict.fromkeys(v.QUIET_PREPOSITIONS, Part.PREPOSITION)
    | dict.fromkeys(v.PRONOUNS, Part.PRONOUN)
    | dict.fromkeys(v.BYSTANDERS, Part.OTHER)
    | dict.fromkeys(v.CLAUSE_WORDS, Part.CLAUSE)
    | dict.fromkeys(v.RELATIVES, Part.RELATIVE)
    | dict.fromkeys(v.NUMBERS, Part.NUMBER)
    | dict.fromkeys(("and", "or", "but", "plus", "nor"), Part.AND)
    | dict.fromkeys(v.HAVE, Part.WITH)
    | dict.fromkeys(v.INTERJECTIONS, Part.COMMA)
    | {"of": Part.OF, "with": Part.WITH, "featuring": Part.WITH, "without": Part.WITHOUT, "there": Part.THERE}
    | {
        **dict.fromkeys(("not", "never", "neither", "nowhere", "cannot"), Part.NOT),
        "'s": Part.POSSESSIVE,
        COMMA: Part.COMMA,
        COLON: Part.COMMA,
        STOP: Part.STOP,
    }
)


@dataclass(frozen=True)
class Token:
    """A word, a compound or a phrase: its part of speech, and its characters [start, end) in the prompt."""

    text: str
    start: int
    end: int
    part: Part
    tag: str = ""
    mark: Mark | None = None
