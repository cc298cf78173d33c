"""Noun phrases: determiner, number, attributes, name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spatialguide.scene import Span
from spatialguide_parsers.spacy_english import vocabulary as v
from spatialguide_parsers.spacy_english.model import Model
from spatialguide_parsers.spacy_english.tokens import Part, Token

_INSIDE = frozenset(
    {Part.NUMBER, Part.ADJECTIVE, Part.NOUN, Part.PARTICIPLE, Part.ADVERB, Part.VERB, Part.POSSESSIVE, Part.OTHER}
)
_LISTED = frozenset({Part.AND, Part.COMMA})


@dataclass(frozen=True)
class Mention:
    """A noun phrase in the prompt.

    fresh: it brings a new object even where the name is known ("a cat", "another cat").
    drawn: whether it is a thing to draw. negated: the prompt says that it is not there.
    """

    text: str
    head: str
    attributes: tuple[str, ...]
    count: int | None
    span: Span
    phrase: Span
    fresh: bool = False
    drawn: bool = True
    negated: bool = False


def noun_phrase(tokens: Sequence[Token], start: int, model: Model) -> tuple[Mention | None, int]:
    """Read a noun phrase at a token.

    Returns:
        The mention and the token after it; (None, start) where no noun phrase begins.
    """
    lead = start
    while lead < len(tokens) and tokens[lead].part is Part.DETERMINER:
        lead += 1
    end = _run_end(tokens, lead, determined=lead > start)
    head = _head(tokens, lead, end, determined=lead > start)
    if head is None:
        return None, start
    return _mention(tokens, start, lead, head, model), head + 1


def _run_end(tokens: Sequence[Token], lead: int, determined: bool) -> int:
    """End of the words that may belong to the phrase: before a verb that follows a noun, at a break or closed word."""
    named = plural = False
    end = lead
    while end < len(tokens):
        token = tokens[end]
        if token.part in _LISTED and not named and end > lead and _adjectives_go_on(tokens, end, determined):
            end += 1
            continue
        if token.part not in _INSIDE:
            break
        if token.text in v.POSTURES and named:
            break
        if token.part is Part.POSSESSIVE:
            named = plural = False
        elif token.part is Part.NUMBER and named:
            break
        elif token.part is Part.NOUN:
            named, plural = True, token.tag in ("NNS", "NNPS")
        elif named and token.part is Part.PARTICIPLE:
            break
        elif token.part is Part.VERB and (named or not determined):
            singular_noun = named and not plural and determined and token.tag in ("VB", "VBP") and _noun_follows(tokens, end)
            if not singular_noun:
                break
        end += 1
    return end


def _adjectives_go_on(tokens: Sequence[Token], at: int, determined: bool) -> bool:
    """Whether "and" or a comma joins two adjectives of one noun: "a small, black and white cat"."""
    if not _describes(tokens[at - 1]) or (tokens[at].part is Part.COMMA and not determined):
        return False
    after = at + 1
    while after < len(tokens) and (_describes(tokens[after]) or tokens[after].part in _LISTED):
        after += 1
    follows = after < len(tokens) and tokens[after].part is Part.NOUN
    return follows and after > at + 1 and tokens[after - 1].part not in _LISTED


def _describes(token: Token) -> bool:
    return token.part in (Part.ADJECTIVE, Part.PARTICIPLE, Part.ADVERB) or token.text in v.COLOURS


def _noun_follows(tokens: Sequence[Token], at: int) -> bool:
    return at + 1 < len(tokens) and tokens[at + 1].part is Part.NOUN


def _head(tokens: Sequence[Token], lead: int, end: int, determined: bool) -> int | None:
    """Index of the last noun; after a determiner or number the last word will do, whatever its tag."""
    nouns = [i for i in range(lead, end) if tokens[i].part is Part.NOUN]
    counted = any(tokens[i].part is Part.NUMBER for i in range(lead, end))
    if not determined and not counted and nouns and all(tokens[i].text in v.COLOURS for i in nouns):
        beside_mark = end < len(tokens) and tokens[end].part is Part.MARK
        after_mark = lead > 0 and tokens[lead - 1].part is Part.MARK
        predicate = lead > 0 and tokens[lead - 1].part is Part.BE
        return nouns[-1] if (beside_mark or after_mark) and not predicate else None
    if nouns:
        return nouns[-1]
    spare = [i for i in range(lead, end) if tokens[i].part not in (Part.NUMBER, Part.POSSESSIVE, Part.ADVERB)]
    if counted and not determined and spare and tokens[spare[-1]].text in v.COLOURS:
        return None
    return spare[-1] if (determined or counted) and spare else None


def _mention(tokens: Sequence[Token], start: int, lead: int, head: int, model: Model) -> Mention:
    determiners = [token.text for token in tokens[start:lead]]
    body = list(tokens[lead : head + 1])
    owned = max((i for i, token in enumerate(body) if token.part is Part.POSSESSIVE), default=-1)
    body = body[owned + 1 :] or [tokens[head]]
    numbers = [token for token in body if token.part is Part.NUMBER]
    name = _name(body)
    single = _single(name, determiners, bool(numbers), model)
    text = " ".join([*(token.text for token in name[:-1]), single])
    before = body[: len(body) - len(name)]
    attributes = tuple(t.text for t in before if t.part in (Part.ADJECTIVE, Part.PARTICIPLE, Part.NOUN, Part.VERB, Part.OTHER))
    plural = single != name[-1].text
    return Mention(
        text=text,
        head=text.split()[-1],
        attributes=tuple(word for word in attributes if word not in v.FRESH_ADJECTIVES),
        count=_count(numbers, determiners, plural),
        span=Span(name[0].start, name[-1].end),
        phrase=Span(tokens[start].start, name[-1].end),
        fresh=bool(v.FRESH & set(determiners) or v.FRESH_ADJECTIVES & set(attributes))
        or (bool(numbers) and "the" not in determiners),
        drawn=_is_drawn(text, name[-1].text, bool(determiners)),
        negated=bool(v.NEGATIONS & set(determiners)),
    )


def _name(body: Sequence[Token]) -> list[Token]:
    """The nouns at the end; colours and materials before them are attributes."""
    first = len(body) - 1
    while first > 0 and body[first - 1].part is Part.NOUN and body[first - 1].text not in v.COLOURS | v.MATERIALS:
        first -= 1
    return list(body[first:])


def _single(name: Sequence[Token], determiners: Sequence[str], numbered: bool, model: Model) -> str:
    words = name[-1].text.split()
    if v.INDEFINITE & set(determiners) and not numbered:
        return name[-1].text
    compound = len(words) + len(name) > 2
    bare = words[-1].removesuffix("es") if compound and words[-1].endswith("sses") else model.singular(words[-1])
    return " ".join([*words[:-1], bare])


def _count(numbers: Sequence[Token], determiners: Sequence[str], plural: bool) -> int | None:
    for token in numbers:
        if token.text in v.NUMBERS:
            return v.NUMBERS[token.text]
        if token.text.isdecimal() and len(token.text) < 5 and int(token.text) > 0:
            return int(token.text)
    if v.INDEFINITE & set(determiners):
        return 1
    return None if plural or v.UNCOUNTED & set(determiners) else 1


def _is_drawn(text: str, last: str, determined: bool) -> bool:
    if text in v.STYLE_NAMES or last in v.STYLE or last in v.UNDRAWN:
        return False
    return determined or text not in v.UNDRAWN_BARE


def renumbered(mention: Mention, count: int | None, start: int) -> Mention:
    """The same thing in another number, its phrase begun earlier: "a pair of shoes"."""
    return replace(mention, count=count, fresh=True, phrase=Span(start, mention.phrase.end))
