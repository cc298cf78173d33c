"""Tokens: words with a part of speech. Compounds and phrases of place are one token each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from spatialguide_parsers.spacy_english import vocabulary as v
from spatialguide_parsers.spacy_english.model import Model
from spatialguide_parsers.spacy_english.phrases import Mark
from spatialguide_parsers.spacy_english.words import COMMA, STOP, Word

# What the tagger reads in place of a phrase or a compound: words that it never gets wrong.
_PLAIN_PREPOSITION = "near"
_PLAIN_NOUN = "dog"
_LONGEST_COMPOUND = 3


class Part(Enum):
    """Part of speech, as far as the grammar tells them apart."""

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


_CLOSED: dict[str, Part] = (
    dict.fromkeys(v.DETERMINERS, Part.DETERMINER)
    | dict.fromkeys(v.BE, Part.BE)
    | dict.fromkeys(v.QUIET_PREPOSITIONS, Part.PREPOSITION)
    | dict.fromkeys(v.PRONOUNS, Part.PRONOUN)
    | dict.fromkeys(v.BYSTANDERS, Part.OTHER)
    | dict.fromkeys(v.CLAUSE_WORDS, Part.CLAUSE)
    | dict.fromkeys(v.RELATIVES, Part.RELATIVE)
    | dict.fromkeys(v.NUMBERS, Part.NUMBER)
    | dict.fromkeys(("and", "or", "but", "plus"), Part.AND)
    | dict.fromkeys(v.HAVE, Part.WITH)
    | {"please": Part.COMMA}
    | {"of": Part.OF, "with": Part.WITH, "featuring": Part.WITH, "without": Part.WITHOUT, "there": Part.THERE}
    | {"not": Part.NOT, "never": Part.NOT, "n't": Part.NOT, "'s": Part.POSSESSIVE, COMMA: Part.COMMA, STOP: Part.STOP}
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


def tokens(words: Sequence[Word], marks: Sequence[Mark], model: Model) -> list[Token]:
    """Tag words. The tagger reads a copy in which phrases and compounds are replaced by plain words."""
    pieces = _pieces(words, marks, model)
    tags = model.tags([masked for _, masked in pieces])
    tagged = [_with_part(token, tag, model) for (token, _), tag in zip(pieces, tags, strict=True)]
    return [_in_context(tagged, position, model) for position in range(len(tagged))]


def _pieces(words: Sequence[Word], marks: Sequence[Mark], model: Model) -> list[tuple[Token, str]]:
    by_start = {mark.start: mark for mark in marks}
    pieces: list[tuple[Token, str]] = []
    position = 0
    while position < len(words):
        mark = by_start.get(position)
        if mark is not None:
            token = Token(mark.text, words[mark.core].start, words[mark.end - 1].end, Part.MARK, mark=mark)
            pieces.append((token, COMMA if mark.kind == "closing" else _PLAIN_PREPOSITION))
            position = mark.end
            continue
        length, plain = _compound(words, position, by_start, model)
        part = words[position : position + length]
        text = " ".join(word.text for word in part)
        pieces.append((Token(text, part[0].start, part[-1].end, Part.NOUN if plain else Part.OTHER), plain or text))
        position += length
    return pieces


def _compound(words: Sequence[Word], position: int, by_start: dict[int, Mark], model: Model) -> tuple[int, str]:
    """Length in words of the compound at a position, and its stand-in; (1, "") where there is none."""
    for length in range(_LONGEST_COMPOUND, 1, -1):
        part = words[position : position + length]
        if len(part) < length or any(place in by_start for place in range(position, position + length)):
            continue
        name = [word.text for word in part]
        single = model.singular(name[-1])
        if " ".join([*name[:-1], single]) in v.COMPOUNDS or " ".join(name) in v.STYLE_NAMES:
            return length, _PLAIN_NOUN if single == name[-1] else f"{_PLAIN_NOUN}s"
    return 1, ""


def _with_part(token: Token, tag: str, model: Model) -> Token:
    part = token.part if token.part is not Part.OTHER else _part(token.text, tag, model)
    return Token(token.text, token.start, token.end, part, tag, token.mark)


def _part(text: str, tag: str, model: Model) -> Part:
    """Part of speech: closed words by list; of the others the dictionary corrects what the tag cannot be."""
    if text in _CLOSED:
        return _CLOSED[text]
    if text in v.MEDIA:
        return Part.NOUN
    if text.isdecimal():
        return Part.NUMBER
    if text in v.LOOKING:
        return Part.VERB
    noun = model.is_noun(text)
    if tag.startswith("NN"):
        return Part.ADJECTIVE if not noun and model.is_adjective(text) else Part.NOUN
    if tag.startswith("JJ"):
        return Part.NOUN if noun and not model.is_adjective(text) else Part.ADJECTIVE
    if tag.startswith("VB"):
        if tag in ("VBG", "VBN"):
            return Part.PARTICIPLE
        return Part.NOUN if noun and not model.is_verb(text) else Part.VERB
    if tag.startswith("RB"):
        return Part.NOUN if noun and not model.is_adverb(text) and not model.is_adjective(text) else Part.ADVERB
    return Part.NOUN if noun else Part.OTHER


_BREAKS = frozenset({Part.COMMA, Part.STOP, Part.MARK, Part.AND, Part.WITH, Part.OF})


def _in_context(tagged: Sequence[Token], position: int, model: Model) -> Token:
    """Correct a part by its neighbours: a word alone beside a phrase is a noun if it can be one ("bear above tie")."""
    token = tagged[position]
    before = tagged[position - 1].part if position else Part.STOP
    after = tagged[position + 1].part if position + 1 < len(tagged) else Part.STOP
    part = token.part
    if token.text == "that" and part is Part.DETERMINER and after in _CLAUSE_STARTS and before in _CLAUSE_HEADS:
        part = Part.RELATIVE
    if token.text == "that" and part is Part.RELATIVE and before not in _CLAUSE_HEADS:
        part = Part.DETERMINER
    if token.text == "'s" and (before in (Part.PRONOUN, Part.THERE) or after in (Part.DETERMINER, Part.MARK, Part.NUMBER)):
        part = Part.BE
    if before is Part.DETERMINER and part is Part.VERB and model.is_noun(token.text):
        part = Part.NOUN
    if token.text in v.POSTURES and part is Part.NOUN and before is Part.NOUN:
        part = Part.VERB
    if token.text in v.IMPERATIVES and before in _BREAKS and after in (Part.DETERMINER, Part.NUMBER):
        part = Part.VERB
    alone = before in _BREAKS and after in _BREAKS and Part.MARK in (before, after)
    if alone and part in (Part.VERB, Part.ADJECTIVE, Part.PARTICIPLE, Part.ADVERB, Part.OTHER):
        spare = token.text in v.POSTURES or token.text in _CLOSED or token.text in v.LOOKING
        part = Part.NOUN if model.is_noun(token.text) and not spare else part
    return Token(token.text, token.start, token.end, part, token.tag, token.mark)


_CLAUSE_STARTS = frozenset({Part.BE, Part.VERB, Part.MARK, Part.PARTICIPLE, Part.ADVERB})
_CLAUSE_HEADS = frozenset({Part.NOUN, Part.COMMA, Part.ADJECTIVE})
