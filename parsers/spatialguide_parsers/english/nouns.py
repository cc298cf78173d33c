"""Noun phrases: determiner, number, attributes, name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spatialguide.scenes.scene import MAX_COUNT, Span
from spatialguide_parsers.english import vocabulary as v
from spatialguide_parsers.english.model import Model
from spatialguide_parsers.english.numerals import value
from spatialguide_parsers.english.parts import LONGEST_PHRASE, Part, Token
from spatialguide_parsers.english.words import is_inversion

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
    while lead < min(len(tokens), start + LONGEST_PHRASE) and tokens[lead].part is Part.DETERMINER:
        lead += 1
    end = _run_end(tokens, lead, determined=lead > start)
    head = _head(tokens, lead, end, determined=lead > start)
    if head is None:
        return None, start
    return _mention(tokens, start, lead, head, model), head + 1


def _run_end(tokens: Sequence[Token], lead: int, determined: bool) -> int:
    """End of the words that may belong to the phrase: before a verb that follows a noun, at a break or closed word."""
    named = False
    end = lead
    while end < min(len(tokens), lead + LONGEST_PHRASE):
        token = tokens[end]
        if token.part in _LISTED and not named and end > lead and _adjectives_go_on(tokens, end, determined):
            end += 1
            continue
        if token.part not in _INSIDE or token.text in v.BYSTANDERS:
            break
        if token.text in v.POSTURES and named:
            break
        if token.part is Part.POSSESSIVE:
            named = False
        elif token.part is Part.NUMBER and named:
            break
        elif token.part is Part.NOUN and token.text not in v.MATERIALS:
            named = True
        elif (named and token.part is Part.PARTICIPLE) or (token.part is Part.VERB and (named or not determined)):
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


def _head(tokens: Sequence[Token], lead: int, end: int, determined: bool) -> int | None:
    """Index of the last noun; after a determiner or number the last word will do, whatever its tag."""
    if end - 1 > lead and tokens[end - 1].text in v.ONES:
        return end - 1  # "a red one"
    nouns = [i for i in range(lead, end) if tokens[i].part is Part.NOUN]
    counted = any(tokens[i].part is Part.NUMBER for i in range(lead, end))
    predicate = bool(nouns) and lead > 0 and tokens[lead - 1].part is Part.BE
    if not determined and not counted and nouns and all(tokens[i].text in v.COLOURS for i in nouns):
        beside_mark = end < len(tokens) and tokens[end].part is Part.MARK
        after_mark = lead > 0 and tokens[lead - 1].part is Part.MARK
        return nouns[-1] if (beside_mark or after_mark) and not predicate else None
    if predicate and not determined and not counted and all(tokens[i].text in v.COLOURS | v.MATERIALS for i in nouns):
        return None  # "the wall is brick"
    if nouns:
        return nouns[-1] if len(nouns) == 1 or not _is_next_subject(tokens, lead, nouns[-1], end) else nouns[-2]
    spare = [i for i in range(lead, end) if tokens[i].part not in (Part.NUMBER, Part.POSSESSIVE, Part.ADVERB)]
    if counted and not determined and spare and tokens[spare[-1]].text in v.COLOURS:
        return None
    return spare[-1] if (determined or counted) and spare else None


def _is_next_subject(tokens: Sequence[Token], lead: int, last: int, end: int) -> bool:
    """Whether a plural after "a" and a noun is the subject of what follows: "behind a fence children play"."""
    text = tokens[last].text
    single = lead > 0 and tokens[lead - 1].text in v.INDEFINITE and tokens[last - 1].part is Part.NOUN
    plural = tokens[last].tag == "NNS" and text not in v.NAMED_BY_PLURAL and last + 1 == end
    counted = any(token.part is Part.NUMBER for token in tokens[lead:last])
    return single and plural and not counted and end < len(tokens) and tokens[end].part in (Part.VERB, Part.BE)


def _mention(tokens: Sequence[Token], start: int, lead: int, head: int, model: Model) -> Mention:
    determiners = [token.text for token in tokens[start:lead]]
    body = list(tokens[lead : head + 1])
    owned = max((i for i, token in enumerate(body) if token.part is Part.POSSESSIVE), default=-1)
    body = body[owned + 1 :] or [tokens[head]]
    if owned >= 0:
        determiners = []  # "a dog's ears"
    numbers = [token for token in body if token.part is Part.NUMBER and (token is not body[-1] or token.text not in v.ONES)]
    name = _name(body, model)
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
        or (bool(numbers) and "the" not in determiners and numbers[0].text != "both"),
        drawn=_is_drawn(
            text, name[-1].text, bool(determiners) or bool(numbers), bool(attributes) or _is_placed(tokens, start, head)
        ),
        negated=bool(v.NEGATIONS & set(determiners)),
    )


def _name(body: Sequence[Token], model: Model) -> list[Token]:
    """The nouns at the end; colours, materials and words that describe before them are attributes."""
    first = len(body) - 1
    while first > 0 and body[first - 1].part is Part.NOUN and not _is_attribute(body[first - 1].text, model):
        first -= 1
    return list(body[first:])


def _is_attribute(word: str, model: Model) -> bool:
    """Whether a word that was read as a noun describes the noun after it: "a paper boat", "a snarling dog"."""
    if word in v.DESCRIBING:
        return True
    if is_inversion(word):
        return False
    if word.endswith("ed") and not model.is_noun(word):
        return True
    if word.endswith("ing"):
        return word not in v.NOUNS_IN_ING and model.is_verb(word)
    return "-" in word and not model.is_noun(word)


def _single(name: Sequence[Token], determiners: Sequence[str], numbered: bool, model: Model) -> str:
    words = name[-1].text.split()
    if v.INDEFINITE & set(determiners) and not numbered and not v.UNCOUNTED & set(determiners):
        return name[-1].text
    if numbered and words[-1] == "glasses":
        return " ".join([*words[:-1], "glass"])  # "two glasses" are to drink from, "glasses" to wear
    compound = len(words) + len(name) > 2
    bare = words[-1].removesuffix("es") if compound and words[-1].endswith("sses") else model.singular(words[-1])
    return " ".join([*words[:-1], bare])


def _count(numbers: Sequence[Token], determiners: Sequence[str], plural: bool) -> int | None:
    words = [token.text for token in numbers]
    if words:
        number = 6 if words[0].startswith("half") else value(words)
        if number is not None:
            return number
    if v.INDEFINITE & set(determiners) and not (words and plural):  # "a thousand cats" are several
        return 1
    return None if plural or v.UNCOUNTED & set(determiners) else 1


def _is_placed(tokens: Sequence[Token], start: int, head: int) -> bool:
    """Whether a phrase of place stands beside the noun phrase: "moon behind clouds"."""
    after = head + 1 < len(tokens) and tokens[head + 1].part is Part.MARK
    return after or (start > 0 and tokens[start - 1].part is Part.MARK)


def _is_drawn(text: str, last: str, determined: bool, described: bool) -> bool:
    """Whether a name is a thing to draw.

    Args:
        determined: it has an article or the like. described: it has attributes, or a phrase of place beside it.
    """
    single = " " not in text
    if (
        text in v.STYLE_NAMES
        or last in v.NEVER_DRAWN
        or last in v.ABSTRACT
        or (single and last[0].isdigit())
        or (single and last in v.SIDES)
    ):
        return False
    if last in v.STYLE and not determined:
        return False
    if single and {text, last} & v.UNDRAWN:
        return False
    return determined or described or text not in v.UNDRAWN_BARE


def renumbered(mention: Mention, count: int | None, start: int) -> Mention:
    """The same thing in another number, its phrase begun earlier: "a pair of shoes"."""
    several = count is None or count > MAX_COUNT
    return replace(mention, count=None if several else count, fresh=True, phrase=Span(start, mention.phrase.end))
