"""Elements: the prompt as noun phrases, phrases of place and the few words that join them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from spatialguide_parsers.spacy_english import vocabulary as v
from spatialguide_parsers.spacy_english.model import Model
from spatialguide_parsers.spacy_english.nouns import Mention, noun_phrase, renumbered
from spatialguide_parsers.spacy_english.phrases import Mark, Phrases
from spatialguide_parsers.spacy_english.tokens import Part, Token, tokens
from spatialguide_parsers.spacy_english.words import Word

Kind = Literal[
    "noun",
    "pronoun",
    "reciprocal",
    "link",
    "blocked",
    "adjectives",
    "verb",
    "participle",
    "be",
    "there",
    "relative",
    "with",
    "preposition",
    "not",
    "and",
    "comma",
    "stop",
]


@dataclass(frozen=True)
class Element:
    """One element. `text` is what a message quotes; `words` are the adjectives of an "adjectives" element."""

    kind: Kind
    text: str
    start: int
    end: int
    mention: Mention | None = None
    mark: Mark | None = None
    words: tuple[str, ...] = ()


_JOINTS: dict[Part, Kind] = {
    Part.VERB: "verb",
    Part.PARTICIPLE: "participle",
    Part.BE: "be",
    Part.THERE: "there",
    Part.RELATIVE: "relative",
    Part.WITH: "with",
    Part.PREPOSITION: "preposition",
    Part.NOT: "not",
    Part.AND: "and",
    Part.COMMA: "comma",
    Part.CLAUSE: "comma",
    Part.STOP: "stop",
    Part.PRONOUN: "pronoun",
}


def elements(words: Sequence[Word], phrases: Phrases, model: Model) -> list[Element]:
    """Elements of a prompt, in order, ended by a "stop"."""
    reader = _Reader(tokens(words, phrases.find(words), model), model)
    while reader.at < len(reader.tokens):
        reader.step()
    return [*reader.found, Element("stop", ".", 0, 0)]


class _Reader:
    def __init__(self, read: Sequence[Token], model: Model) -> None:
        self.tokens = read
        self.model = model
        self.at = 0
        self.found: list[Element] = []

    def step(self) -> None:
        """Read one element at the current token."""
        token = self.tokens[self.at]
        if token.part is Part.MARK:
            self._mark(token)
        elif (token.text, self._text(self.at + 1)) in v.RECIPROCALS:
            self._put("reciprocal", token, self.at + 2)
        elif token.part is Part.WITHOUT:
            self.at += 1
            self._noun(negated=True)
        elif token.part is Part.OF and self._part(self.at + 1) is Part.PRONOUN:
            self.at += 2
        elif token.part is Part.OF and self._text(self.at + 1) in v.MATERIALS and self._joint() == "participle":
            self.at += 1
            self._adjectives()
        elif self._noun() or self._adjectives():
            pass
        elif token.part in _JOINTS:
            self._put(_JOINTS[token.part], token, self.at + 1)
        else:
            self.at += 1

    def _part(self, at: int) -> Part:
        return self.tokens[at].part if 0 <= at < len(self.tokens) else Part.STOP

    def _text(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def _tag(self, at: int) -> str:
        return self.tokens[at].tag if 0 <= at < len(self.tokens) else ""

    def _joint(self) -> str:
        return self.found[-1].kind if self.found else "stop"

    def _put(self, kind: Kind, token: Token, after: int) -> None:
        self.found.append(Element(kind, token.text, token.start, token.end, mark=token.mark))
        self.at = after

    def _mark(self, token: Token) -> None:
        assert token.mark is not None
        if token.mark.kind == "closing":
            self.at += 1
        elif not self._is_false_friend(token.mark):
            self._put("link", token, self.at + 1)
        else:
            named = token.text == "by" and self._part(self.at + 1) is not Part.DETERMINER
            self._put("blocked", token, self._name_end() if named else self.at + 1)

    def _name_end(self) -> int:
        """End of an artist's name: "by" opens a list of names after a comma, else one name."""
        end = self.at + 1
        closed = (Part.COMMA, Part.STOP)
        while self._part(end) not in (closed if self._part(self.at - 1) in closed else (*closed, Part.MARK, Part.AND)):
            end += 1
        return end

    def _is_false_friend(self, mark: Mark) -> bool:
        """Camera talk, quantities, gazes, agents and artists: no place of one thing by another."""
        before, after = self._text(self.at - 1), self._part(self.at + 1)
        if before == "from" or (self._part(self.at - 1) is Part.OF and after is Part.NUMBER):
            return True
        if mark.kind in ("bare", "frame"):
            return before in v.DIRECTIONS
        if self._text(self.at + 1) in v.IDIOMS:
            return True
        if mark.text != "by":
            return False
        agent = self._part(self.at - 1) is Part.PARTICIPLE and before not in v.POSTURES
        opening = self._part(self.at - 1) in (Part.COMMA, Part.STOP)
        name = opening or self._tag(self.at + 1).startswith("NNP")
        artist = name and after not in (Part.DETERMINER, Part.NUMBER, Part.PRONOUN)
        work = bool(self.found) and self.found[-1].kind == "noun" and not _drawn(self.found[-1])
        return agent or artist or work

    def _noun(self, negated: bool = False) -> bool:
        """Read a noun phrase and its "of"; False where there is none."""
        start = self.at
        mention, after = noun_phrase(self.tokens, start, self.model)
        if mention is None:
            return False
        self.at = after
        if self._is_medium(mention, start):
            self.at += self._text(after) in v.SHOWING
            return True
        if self._part(after) is Part.OF:
            mention = self._complement(mention, start)
        if mention.head in v.MEDIA and self._text(start - 1) == "in":
            mention = replace(mention, drawn=False)
        negated = negated or mention.negated
        self.found.append(Element("noun", mention.text, *mention.span, mention=replace(mention, negated=negated)))
        return True

    def _is_medium(self, mention: Mention, start: int) -> bool:
        """ "a photo of" at the head of a sentence, and "photograph," among keywords."""
        if mention.head not in v.MEDIA:
            return False
        following = self._text(self.at)
        first = not any(e.kind == "noun" and _drawn(e) for e in self._sentence())
        keyword = self._part(self.at) in (Part.COMMA, Part.STOP) and self._part(start) is not Part.DETERMINER
        return (first and following in v.SHOWING) or (keyword and self._part(start - 1) is not Part.MARK)

    def _sentence(self) -> list[Element]:
        last_stop = max((i for i, e in enumerate(self.found) if e.kind == "stop"), default=-1)
        return self.found[last_stop + 1 :]

    def _complement(self, mention: Mention, start: int) -> Mention:
        """Look through "a pair of", "the side of"; pass over the complement of a thing ("a glass of wine")."""
        inner, after = noun_phrase(self.tokens, self.at + 1, self.model)
        if inner is None:
            self.at += 1
            return mention
        self.at = after
        if self._part(after) is Part.OF:
            inner = self._complement(inner, after)
        character = self.tokens[start].start
        if mention.head in v.PAIRS:
            single = inner.head in v.NAMED_BY_PLURAL
            return renumbered(inner, 1 if single else 2 * (mention.count or 1), character)
        if mention.head in v.GROUPS or mention.head == "dozen":
            return renumbered(inner, None if inner.count == 1 else inner.count, character)
        if mention.head in v.PORTIONS:
            return renumbered(inner, mention.count, character)
        return inner if mention.head in v.SIDES else mention

    def _adjectives(self) -> bool:
        """Adjectives without a noun: "that is red and shiny"."""
        end, words = self.at, []
        while self._part(end) in (Part.ADJECTIVE, Part.ADVERB) or self._text(end) in v.COLOURS | v.MATERIALS:
            if self._part(end) is not Part.ADVERB:
                words.append(self._text(end))
            end += 1
            more = self._part(end + 1) is Part.ADJECTIVE or self._text(end + 1) in v.COLOURS
            joined = self._part(end) in (Part.AND, Part.COMMA) and more
            end += joined
        if not words:
            return False
        first, last = self.tokens[self.at], self.tokens[end - 1]
        self.found.append(Element("adjectives", first.text, first.start, last.end, words=tuple(words)))
        self.at = end
        return True


def _drawn(element: Element) -> bool:
    return element.mention is not None and element.mention.drawn
