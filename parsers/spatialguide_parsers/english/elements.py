"""Elements: the prompt as noun phrases, phrases of place and the few words that join them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from spatialguide_parsers.english import vocabulary as v
from spatialguide_parsers.english.model import Model
from spatialguide_parsers.english.nouns import Mention, noun_phrase, renumbered
from spatialguide_parsers.english.parts import LONGEST_PHRASE, Part, Token
from spatialguide_parsers.english.phrases import Mark

Kind = Literal[
    "noun",
    "pronoun",
    "reciprocal",
    "link",
    "blocked",
    "correction",
    "adjectives",
    "worn",
    "verb",
    "participle",
    "be",
    "there",
    "relative",
    "with",
    "preposition",
    "whole",
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

#: How many elements back a sentence is looked at; without a bound, long prompts would take quadratic time.
_NEARBY = 60
_DEEPEST = 4
_CLOSING = frozenset({Part.COMMA, Part.STOP, Part.AND, Part.CLAUSE})


_SHADES = v.COLOURS | v.MATERIALS
_CLOTH = v.CLOTH_COLOURS | v.COLOUR_NAMES


def elements(tokens: Sequence[Token], model: Model) -> list[Element]:
    """Elements of a prompt, in order, ended by a "stop"."""
    reader = _Reader(tokens, model)
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
        elif token.part is Part.NOT and self._text(self.at + 1) in v.LIMITING:
            self.at += 1
        elif token.part is Part.WITHOUT or (self._denies(token) and self._part(self.at + 1) is Part.DETERMINER):
            self.at += 1
            self._noun(negated=True)
        elif token.part is Part.OF and self._part(self.at + 1) is Part.PRONOUN:
            self.at += 2
        elif token.part is Part.OF and self._joint() == "adjectives":
            self._put("preposition", token, self.at + 1)
        elif token.part is Part.OF and self._text(self.at + 1) in v.MATERIALS and self._joint() == "participle":
            self.at += 1
            self._adjectives()
        elif token.part is Part.PARTICIPLE and self._is_predicate():
            self._adjectives()
        elif token.part is Part.PARTICIPLE and self._is_verb(token):
            self._put("participle", token, self.at + 1)
        elif self._noun() or self._adjectives():
            pass
        elif token.part in _JOINTS:
            self._put(_JOINTS[token.part], token, self.at + 1)
        else:
            self.at += 1

    @staticmethod
    def _denies(token: Token) -> bool:
        return token.part is Part.NOT or token.text == "nor"

    def _part(self, at: int) -> Part:
        return self.tokens[at].part if 0 <= at < len(self.tokens) else Part.STOP

    def _text(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def _tag(self, at: int) -> str:
        return self.tokens[at].tag if 0 <= at < len(self.tokens) else ""

    def _joint(self) -> str:
        return self.found[-1].kind if self.found else "stop"

    def _is_predicate(self) -> bool:
        """Whether a participle says how a thing is: "the egg is cracked"."""
        return self._joint() in ("be", "adjectives") and self._qualifies(self.at)

    def _is_verb(self, token: Token) -> bool:
        """Whether a participle takes the noun that follows as its object: "a juggler tossing balls", "is selling fruit"."""
        if not self.found:
            return False
        if self.found[-1].kind in ("noun", "whole") and self._adjoins():
            return True
        active = token.tag == "VBG" and token.text not in v.POSTURES and self._part(self.at + 1) is Part.NOUN
        active = active or (token.text.endswith("ing") and token.text in v.PLACING_OBJECTS)
        begun = any(element.kind == "noun" for element in self._sentence())
        listed = self._joint() == "comma" and self._part(self.at + 2) is not Part.MARK
        return active and begun and (listed or self._joint() == "be")

    def _adjoins(self) -> bool:
        """Whether the last element ends right before the current token."""
        return self.found[-1].end == self.tokens[self.at - 1].end

    def _put(self, kind: Kind, token: Token, after: int) -> None:
        self.found.append(Element(kind, token.text, token.start, token.end, mark=token.mark))
        self.at = after

    def _mark(self, token: Token) -> None:
        assert token.mark is not None
        if token.mark.kind == "closing":
            self.at += 1
        elif token.mark.kind == "correction":
            self._put("correction", token, self.at + 1)
        elif token.text == "in" and self._worn():
            pass
        elif not self._is_false_friend(token.mark):
            self._put("link", token, self.at + 1)
        else:
            named = token.text == "by" and self._part(self.at + 1) not in (Part.DETERMINER, Part.NUMBER)
            named = named or token.text in v.STYLED or self._is_authored() or self._text(self.at - 1) in v.CAMERA
            self._put("blocked", token, self._name_end() if named else self.at + 1)

    def _worn(self) -> bool:
        """Read the colours of "a woman in red and white"; False where a noun follows, or none."""
        end = self.at + 1
        while self._text(end) in _CLOTH or (end > self.at + 1 and self._text(end) == "and"):
            end += 1
        words = tuple(token.text for token in self.tokens[self.at + 1 : end] if token.text != "and")
        if not words or self._part(end) in (Part.NOUN, Part.ADJECTIVE, Part.OF) or self._joint() in ("comma", "stop"):
            return False
        first = self.tokens[self.at]
        self.found.append(Element("worn", first.text, first.start, self.tokens[end - 1].end, words=words))
        self.at = end
        return True

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
        if mark.kind == "idiom":
            return True
        if before == "from":
            filmed = self._text(self.at - 2) in v.FILMED or mark.text in v.VIEWPOINTS
            return filmed or after not in (Part.DETERMINER, Part.NUMBER)
        things = {self._part(self.at + 2), self._part(self.at + 3)} & {Part.NOUN, Part.ADJECTIVE, Part.OF}
        quantity = mark.text in v.QUANTITIES and after is Part.NUMBER and not things
        if quantity or (self._part(self.at - 1) is Part.OF and after is Part.NUMBER):
            return True
        if before in v.CAMERA and (mark.text == "on" or (mark.text == "in" and after is not Part.DETERMINER)):
            return True
        if mark.kind in ("bare", "place", "lone"):
            return before in v.DIRECTIONS
        phrasal = (before, mark.text) in v.PHRASAL and self._part(self.at - 1) is not Part.NOUN
        if phrasal or (mark.text == "around" and self._goes()):
            return True
        if self._text(self.at + 1) in v.IDIOMATIC:
            return True
        if mark.text != "by":
            return False
        if self._is_authored():
            return True
        done = self._part(self.at - 1) is Part.PARTICIPLE or before in v.LIT
        agent = done and before not in v.POSTURES
        opening = self._part(self.at - 1) in (Part.COMMA, Part.STOP)
        name = opening or self._tag(self.at + 1).startswith("NNP")
        artist = name and after not in (Part.DETERMINER, Part.NUMBER, Part.PRONOUN)
        work = bool(self.found) and self.found[-1].kind == "noun" and not _drawn(self.found[-1])
        return agent or artist or work

    def _goes(self) -> bool:
        """Whether one thing goes: "a wasp flying around a jar", "a dog chases a cat around a tree"."""
        near = self._sentence()[-3:]
        verbs = [i for i, element in enumerate(near) if element.kind in ("verb", "participle")]
        mention = near[verbs[-1] - 1].mention if verbs and verbs[-1] else None
        return mention is not None and mention.count == 1 and near[verbs[-1]].text in v.GOING

    def _is_authored(self) -> bool:
        """ "by a famous photographer"."""
        following = self.tokens[self.at + 1 : self._name_end()]
        return self._text(self.at) == "by" and any(token.text in v.AUTHORS for token in following)

    def _noun(self, negated: bool = False) -> bool:
        """Read a noun phrase and its "of"; False where there is none."""
        start = self.at
        mention, after = noun_phrase(self.tokens, start, self.model)
        if mention is None:
            return False
        self.at = after
        if self._is_medium(mention, start) or self._is_work(mention):
            self.found.append(Element("there", mention.text, *mention.phrase))
            self.at += self._text(after) in v.SHOWING
            return True
        if self._is_tail(mention, start):
            mention = replace(mention, drawn=False)
        whole = None
        if self._part(after) is Part.OF:
            mention, whole = self._complement(mention, start)
        if mention.head in v.MEDIA and self._text(start - 1) == "in":
            mention = replace(mention, drawn=False)
        negated = negated or mention.negated
        self.found.append(Element("noun", mention.text, *mention.span, mention=replace(mention, negated=negated)))
        if whole is not None and whole.drawn and not negated:
            self.found.append(Element("whole", whole.text, *whole.span, mention=whole))
        return True

    def _is_medium(self, mention: Mention, start: int) -> bool:
        """ "a photo of" at the head of a sentence, and "photograph," among keywords."""
        following = self._text(self.at)
        if mention.head not in v.MEDIA and (following not in v.DEPICTING or self._part(self.at + 1) is Part.MARK):
            return False
        first = not any(e.kind == "link" or (e.kind == "noun" and _drawn(e)) for e in self._sentence())
        keyword = self._part(self.at) in (Part.COMMA, Part.STOP) and self._part(start) not in (Part.DETERMINER, Part.NUMBER)
        asked = self._text(start - 1) in v.IMPERATIVES | v.WANTED
        mark = self.tokens[self.at].mark if self.at < len(self.tokens) else None
        shown = following in v.SHOWING or following in v.CAMERA or (mark is not None and mark.kind == "idiom")
        return ((first or asked) and shown) or (keyword and self._part(start - 1) is not Part.MARK)

    def _is_work(self, mention: Mention) -> bool:
        """ "a sketch by Käthe Kollwitz of": steps over the artist."""
        if mention.head not in v.MEDIA or self._text(self.at) != "by" or self._sentence():
            return False
        places = [at for at in range(self.at, min(self.at + 6, len(self.tokens))) if self._part(at) is Part.OF]
        self.at = places[0] if places else self.at
        return bool(places)

    def _is_tail(self, mention: Mention, start: int) -> bool:
        """A name that no dictionary has, alone between commas after the scene: an artist, a film stock, a style."""
        breaks = (Part.COMMA, Part.STOP)
        alone = self._part(start - 1) is Part.COMMA and self._part(self.at) in breaks
        bare = self._part(start) is Part.NOUN and not mention.attributes and mention.text not in v.COMPOUNDS
        placed = any(element.kind == "link" for element in self.found[-_NEARBY:])
        return alone and bare and placed and not all(self.model.is_noun(word) for word in mention.text.split())

    def _sentence(self) -> list[Element]:
        """The elements of the current sentence, as far as they are near."""
        near = self.found[-_NEARBY:]
        last_stop = max((i for i, e in enumerate(near) if e.kind == "stop"), default=-1)
        return near[last_stop + 1 :]

    def _complement(self, mention: Mention, start: int, depth: int = 0) -> tuple[Mention, Mention | None]:
        """Look through "a pair of", "the side of"; of "the roof of a barn" take the roof, and the barn as its whole."""
        first = self.at + 1
        inner, after = noun_phrase(self.tokens, first, self.model)
        if inner is None:
            self.at += 1
            return mention, None
        self.at = after
        whole = None
        if self._part(after) is Part.OF and depth < _DEEPEST:
            inner, whole = self._complement(inner, first, depth + 1)
        character = self.tokens[start].start
        if mention.head in v.PAIRS:
            single = inner.head in v.NAMED_BY_PLURAL
            return renumbered(inner, 1 if single else v.PAIRS[mention.head] * (mention.count or 1), character), whole
        if mention.head in v.GROUPS:
            return renumbered(inner, None if inner.count == 1 else inner.count, character), whole
        if mention.head in v.PORTIONS:
            return renumbered(inner, mention.count, character), whole
        if mention.head in v.ASPECTS:
            return inner, whole
        determined = self._part(first) is Part.DETERMINER
        return mention, whole or (inner if determined and mention.head not in v.MEDIA else None)

    def _adjectives(self) -> bool:
        """Adjectives without a noun: "that is red and shiny"."""
        end, words = self.at, []
        while end < self.at + LONGEST_PHRASE and self._qualifies(end):
            if self._part(end) is not Part.ADVERB:
                words.append(self._text(end))
            end += 1
            end += (
                self._part(end) in (Part.AND, Part.COMMA)
                and self._qualifies(end + 1)
                and self._part(end + 1) is not Part.ADVERB
            )
        if not words:
            return False
        first, last = self.tokens[self.at], self.tokens[end - 1]
        self.found.append(Element("adjectives", first.text, first.start, last.end, words=tuple(words)))
        self.at = end
        return True

    def _qualifies(self, at: int) -> bool:
        """Whether a word can say how a thing is."""
        if self._part(at) is Part.PARTICIPLE:
            return self._tag(at) != "VBG" and self._text(at) not in v.POSTURES | v.PLACING and self._part(at + 1) in _CLOSING
        return self._part(at) in (Part.ADJECTIVE, Part.ADVERB) or self._text(at) in _SHADES


def _drawn(element: Element) -> bool:
    return element.mention is not None and element.mention.drawn
