"""Tokens: words with a part of speech. Compounds and phrases of place are one token each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spatialguide_parsers.english import vocabulary as v
from spatialguide_parsers.english.context import in_context
from spatialguide_parsers.english.model import Model
from spatialguide_parsers.english.parts import CLOSED, Part, Token
from spatialguide_parsers.english.phrases import Mark
from spatialguide_parsers.english.words import COMMA, Word, is_inversion

# What the tagger reads in place of a phrase or a compound: words that it never gets wrong.
_PLAIN_PREPOSITION = "near"
_PLAIN_NOUN = "dog"
_PLAIN_ADJECTIVE = "red"
_LONGEST_COMPOUND = 3


@dataclass(frozen=True)
class Piece:
    """A token before tagging, and what the tagger reads in its place: phrases and compounds become plain words."""

    token: Token
    masked: str


def pieces(words: Sequence[Word], marks: Sequence[Mark], model: Model) -> list[Piece]:
    """Words, compounds and phrases in order."""
    by_start = {mark.start: mark for mark in marks}
    found: list[Piece] = []
    position = 0
    while position < len(words):
        mark = by_start.get(position)
        if mark is not None:
            token = Token(mark.text, words[mark.core].start, words[mark.end - 1].end, Part.MARK, mark=mark)
            found.append(Piece(token, COMMA if mark.kind in ("closing", "correction") else _PLAIN_PREPOSITION))
            position = mark.end
            continue
        length, part, plain = _compound(words, position, by_start, model)
        joined = words[position : position + length]
        text = " ".join(word.text for word in joined)
        token = Token(text, joined[0].start, joined[-1].end, part)
        found.append(Piece(token, plain or text))
        position += length
    return found


def tagged(pieces: Sequence[Piece], tags: Sequence[str], model: Model) -> list[Token]:
    """Tokens with their part of speech, from the tags of the masked words."""
    found = [_with_part(piece.token, tag, model) for piece, tag in zip(pieces, tags, strict=True)]
    return in_context(found, model)


def _compound(words: Sequence[Word], position: int, by_start: dict[int, Mark], model: Model) -> tuple[int, Part, str]:
    """Length in words of the compound or textual inversion at a position, its part and its stand-in; else (1, OTHER, "")."""
    for length in range(_LONGEST_COMPOUND, 1, -1):
        part = words[position : position + length]
        if len(part) < length or any(place in by_start for place in range(position, position + length)):
            continue
        name = [word.text for word in part]
        if " ".join(name) in v.NUMBERS:
            return length, Part.NUMBER, "six"
        single = model.singular(name[-1])
        if " ".join([*name[:-1], single]) in v.COMPOUNDS or " ".join(name) in v.STYLE_NAMES:
            return length, Part.NOUN, _PLAIN_NOUN if single == name[-1] else f"{_PLAIN_NOUN}s"
        if " ".join(name) in v.COLOUR_NAMES:
            return length, Part.ADJECTIVE, _PLAIN_ADJECTIVE
    if is_inversion(words[position].text):
        return 1, Part.NOUN, _PLAIN_NOUN
    return 1, Part.OTHER, ""


def _with_part(token: Token, tag: str, model: Model) -> Token:
    part = token.part if token.part is not Part.OTHER else _part(token.text, tag, model)
    return Token(token.text, token.start, token.end, part, tag, token.mark)


def _part(text: str, tag: str, model: Model) -> Part:
    """Part of speech: closed words by list; of the others the dictionary corrects what the tag cannot be."""
    if text in CLOSED:
        return CLOSED[text]
    if text.replace("’", "'").endswith("n't"):
        return Part.NOT
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
    if text in v.REST and tag.startswith("VB"):
        return Part.VERB
    if tag.startswith("VB"):
        if tag in ("VBG", "VBN") and (model.is_verb(text) or "-" in text):
            return Part.PARTICIPLE
        return Part.VERB if model.is_verb(text) else Part.ADJECTIVE if "-" in text else Part.NOUN
    if tag.startswith("RB"):
        if model.is_adverb(text):
            return Part.ADVERB
        return Part.ADJECTIVE if model.is_adjective(text) else Part.NOUN if noun else Part.ADVERB
    return Part.NOUN if noun else Part.OTHER
