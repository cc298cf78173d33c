"""Context: a word's part of speech corrected by its neighbours, where the tagger is often wrong on prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spatialguide_parsers.english import vocabulary as v
from spatialguide_parsers.english.model import Model
from spatialguide_parsers.english.parts import CLOSED, LONGEST_PHRASE, Part, Token
from spatialguide_parsers.english.phrases import GROUNDLESS

_BREAKS = frozenset({Part.COMMA, Part.STOP, Part.MARK, Part.AND, Part.WITH, Part.OF})
_DESCRIBERS = frozenset({Part.DETERMINER, Part.ADJECTIVE, Part.PARTICIPLE, Part.NUMBER})
_CLAUSE_HEADS = frozenset({Part.NOUN, Part.COMMA, Part.ADJECTIVE})
_PHRASE = frozenset({Part.NOUN, Part.ADJECTIVE, Part.PARTICIPLE, Part.NUMBER, Part.ADVERB, Part.OTHER, Part.POSSESSIVE})
_PLACED = frozenset({Part.MARK, Part.ADVERB, Part.PREPOSITION})
_AFTER_PARTICIPLES = _PLACED | {Part.DETERMINER, Part.NUMBER, Part.NOUN, Part.ADJECTIVE}
_AFTER_VERBS = _BREAKS | {Part.ADVERB, Part.PREPOSITION, Part.CLAUSE, Part.DETERMINER, Part.PRONOUN, Part.NUMBER}


def in_context(tagged: Sequence[Token], model: Model) -> list[Token]:
    """The tokens with corrected parts; each correction sees those before it."""
    corrected = list(tagged)
    for position in range(len(corrected)):
        part = _part(corrected, position, model)
        if part is not corrected[position].part:
            corrected[position] = replace(corrected[position], part=part)
    return corrected


def _part(tokens: Sequence[Token], position: int, model: Model) -> Part:
    token = tokens[position]
    before = tokens[position - 1].part if position else Part.STOP
    after = tokens[position + 1].part if position + 1 < len(tokens) else Part.STOP
    part = token.part
    if token.text in ("that", "this", "both") and before is Part.MARK and after in _BREAKS | {Part.BE, Part.VERB}:
        return Part.PRONOUN
    if token.text == "that" and part is Part.RELATIVE and before not in _CLAUSE_HEADS:
        return Part.DETERMINER
    if token.text == "can" and before in _PHRASE | {Part.DETERMINER} and after in _BREAKS:
        return Part.NOUN
    if token.text == "having" and position + 1 < len(tokens) and tokens[position + 1].text in v.MEALS:
        return Part.PARTICIPLE
    if token.text == "well" and before in _PHRASE | {Part.DETERMINER}:
        return Part.NOUN
    if token.text == "all" and before is Part.PRONOUN:
        return Part.ADVERB
    if token.text == "her" and after in (Part.NOUN, Part.ADJECTIVE, Part.NUMBER):
        return Part.DETERMINER
    if token.text == "like" and position and tokens[position - 1].text in v.BYSTANDERS | v.BE:
        return Part.VERB
    if token.text == "as" and position and tokens[position - 1].text in ("dressed", "disguised"):
        return Part.PREPOSITION
    if token.text in ("each", "one") and after is Part.PARTICIPLE and before is Part.COMMA:
        return Part.ADVERB
    if part is Part.NOUN and before is Part.NOUN and token.text in v.SHOWING and tokens[position - 1].text in v.MEDIA:
        return Part.VERB
    if part is Part.PREPOSITION and before is Part.DETERMINER and after in _BREAKS:
        return Part.NOUN  # "beside the till"
    if part is Part.NUMBER and token.text.isdecimal() and _is_name(tokens, position, model):
        return Part.NOUN
    if token.text in v.HAVE and after in (Part.VERB, Part.PARTICIPLE) and _has_done(tokens, position):
        return Part.BE
    if part is Part.VERB and before is Part.STOP and after is Part.NUMBER and model.is_noun(token.text):
        return Part.NOUN if tokens[position + 1].text.isdecimal() else part  # "route 66 sign"
    if token.text in CLOSED:
        return part
    if position > 1 and before is Part.BE and tokens[position - 1].text in v.HAVE:
        return Part.VERB
    if part is Part.ADJECTIVE and before is Part.DETERMINER and after is Part.NUMBER and model.is_noun(token.text):
        return part if tokens[position + 1].text in v.ONES else Part.NOUN
    if (
        before is Part.MARK
        and _ends_place(tokens[position - 1])
        and not token.text.endswith("ing")
        and model.is_verb(token.text)
    ):
        return Part.VERB
    if token.text in v.IMPERATIVES and before in _BREAKS and after in (Part.DETERMINER, Part.NUMBER):
        return Part.VERB
    if part is Part.VERB and token.text in v.DESCRIBING and after is Part.NOUN:
        return Part.ADJECTIVE  # "stray dog on kiosk"
    described = after in (Part.NOUN, Part.ADJECTIVE) and before in _BREAKS | _DESCRIBERS
    if part is Part.VERB and described and (token.tag in ("VBD", "VBN") or token.text.endswith("ed")):
        return Part.PARTICIPLE
    if part is Part.NOUN and token.text in v.QUALITIES and before in _BREAKS and after in (Part.COMMA, Part.STOP):
        return Part.ADJECTIVE
    counted = before is Part.ADJECTIVE or (before in _DESCRIBERS and _is_counted(tokens, position))
    if part is Part.VERB and counted and model.is_noun(token.text):
        return Part.NOUN
    if part is Part.ADJECTIVE and (_runs(tokens, position, model) or _agrees(tokens, position, model)):
        return Part.NOUN
    if part is Part.NOUN and token.text in v.POSTURES and position > 1 and tokens[position - 2].text == "in":
        return Part.PARTICIPLE
    if part is Part.ADJECTIVE and token.text in v.PEOPLE and after is Part.PARTICIPLE:
        return Part.NOUN
    if token.text == "set" and before in (Part.COMMA, Part.NOUN) and after is Part.MARK:
        return Part.PARTICIPLE
    if before is Part.NOUN and position and part in (Part.NOUN, Part.VERB, Part.ADJECTIVE, Part.OTHER):
        return _after_noun(tokens, position, after, model)
    if before in _BREAKS and after in _BREAKS and Part.MARK in (before, after):
        return _alone(token, part, before, model)
    return part


def _alone(token: Token, part: Part, before: Part, model: Model) -> Part:
    """A word alone beside a phrase of place is a noun if it can be one ("bear above tie")."""
    if part not in (Part.VERB, Part.ADJECTIVE, Part.PARTICIPLE, Part.ADVERB, Part.OTHER):
        return part
    if "-" in token.text and model.is_noun(token.text.split("-")[-1]):
        return Part.NOUN  # "spider-man"
    runs = part is Part.PARTICIPLE and token.tag == "VBG" and token.text not in v.NOUNS_IN_ING
    stands = token.text in v.LIT or (before is Part.COMMA and token.text in v.REST and token.tag.startswith("VB"))
    spare = token.text in v.POSTURES or token.text in v.LOOKING or runs or stands
    return Part.NOUN if model.is_noun(token.text) and not spare else part


def _after_noun(tokens: Sequence[Token], position: int, after: Part, model: Model) -> Part:
    """Noun or verb, by agreement: "a kettle whistles", "two bandits crouch", but "a sword rack"."""
    token, noun = tokens[position], tokens[position - 1]
    word = token.text
    if "-" in word and not model.is_noun(word) and after is Part.MARK:
        return Part.PARTICIPLE
    if word.endswith("ing") and word not in v.NOUNS_IN_ING and model.is_verb(word) and after in _AFTER_PARTICIPLES:
        return Part.PARTICIPLE
    if word in v.NOUNS_IN_ING and word.endswith("ing") and model.is_verb(word) and after is Part.DETERMINER:
        return Part.PARTICIPLE  # "a robot painting a mural"
    if after is Part.DETERMINER and tokens[position + 1].text == "each" and word in v.LOOKING:
        return Part.VERB
    if word in v.POSTURES:
        return Part.PARTICIPLE if token.part is Part.PARTICIPLE else Part.VERB
    plural_noun = noun.tag in ("NNS", "NNPS") and model.singular(noun.text) != noun.text
    third_person = model.is_third_person(word)
    start = _opening(tokens, position)
    if third_person and plural_noun and start and tokens[start - 1].part is Part.OF and after in _AFTER_VERBS:
        return Part.VERB  # "a flock of ravens gathers on the wall"
    if third_person and not plural_noun and (_is_singular(tokens, position) or (word in v.RESTS and after in _AFTER_VERBS)):
        return Part.VERB
    if word in v.REST and plural_noun and after in _AFTER_VERBS:
        return Part.VERB
    if word in v.REST | v.RESTS and (after is Part.NUMBER or (after in _PHRASE and _is_fronted(tokens, position))):
        return Part.VERB
    if third_person and token.part is Part.VERB and word not in v.RESTS and model.is_noun(word) and after in _BREAKS:
        several = any(each.part is Part.NUMBER for each in tokens[_phrase_start(tokens, position) : position])
        return Part.NOUN if several or not _is_counted(tokens, position) else token.part
    if after is Part.DETERMINER and model.is_verb(word) and (third_person if not plural_noun else not word.endswith("s")):
        return Part.VERB
    if token.part is Part.VERB and token.tag in ("VB", "VBP") and not plural_noun and model.is_noun(word):
        return Part.NOUN
    if third_person and after is Part.BE and _is_relative(tokens, position):
        return Part.VERB
    if token.part is Part.ADJECTIVE and after in _BREAKS - {Part.OF} and model.is_noun(word) and word not in v.COLOURS:
        return Part.NOUN
    return token.part


def _ends_place(token: Token) -> bool:
    """Whether a phrase of place needs no noun after it: what follows "on the left" there is a verb."""
    return token.mark is not None and token.mark.kind in GROUNDLESS


def _phrase_start(tokens: Sequence[Token], position: int) -> int:
    """Index of the first token of the noun phrase before `position`, without its determiner."""
    start = position
    while start > max(0, position - LONGEST_PHRASE) and tokens[start - 1].part in _PHRASE:
        start -= 1
    return start


def _opening(tokens: Sequence[Token], position: int) -> int:
    """Index of the first token of the noun phrase before `position`, its determiners included."""
    start = _phrase_start(tokens, position)
    while start > max(0, position - LONGEST_PHRASE) and tokens[start - 1].part is Part.DETERMINER:
        start -= 1
    return start


def _is_singular(tokens: Sequence[Token], position: int) -> bool:
    """Whether the noun phrase before begins with "a", "one", "each": then a word in -s after it is its verb."""
    start = _phrase_start(tokens, position)
    first = tokens[start].text if start < position else ""
    determiner = tokens[start - 1].text if start and tokens[start - 1].part is Part.DETERMINER else ""
    several = any(token.part is Part.NUMBER and token.text not in ("one", "single") for token in tokens[start:position])
    return not several and (determiner in v.SINGULAR_DETERMINERS or first in ("one", "single"))


def _is_counted(tokens: Sequence[Token], position: int) -> bool:
    """Whether the noun phrase that reaches to `position` begins with a determiner or a number."""
    start = _phrase_start(tokens, position)
    numbered = any(token.part is Part.NUMBER for token in tokens[start:position])
    return numbered or (start > 0 and tokens[start - 1].part is Part.DETERMINER)


def _runs(tokens: Sequence[Token], position: int, model: Model) -> bool:
    """Whether a verb of posture with a place follows: "a T-rex roaring between two cars"."""
    if position + 2 >= len(tokens) or tokens[position + 2].part is not Part.MARK:
        return False
    return tokens[position + 1].text in v.POSTURES and not (
        model.is_adjective(tokens[position].text) and tokens[position + 1].text.endswith("ing")
    )


def _has_done(tokens: Sequence[Token], position: int) -> bool:
    """Whether "had" is followed by what was done to a thing: "had left his umbrella", not "has broken windows"."""
    if position + 2 >= len(tokens):
        return False
    past = tokens[position].text == "had" and tokens[position + 1].text in v.PLACING_OBJECTS
    return past or tokens[position + 2].part in (Part.DETERMINER, Part.NUMBER, Part.MARK)


def _is_name(tokens: Sequence[Token], position: int, model: Model) -> bool:
    """Whether digits are part of a name: "a Boeing 747", "route 66 sign", "a 1965 Mustang", but "a 100 cats"."""
    rest = (token for token in tokens[position + 1 : position + LONGEST_PHRASE] if token.part is not Part.ADJECTIVE)
    following = next(rest, None)
    noun = following is not None and following.part is Part.NOUN
    single = following is not None and model.singular(following.text) == following.text
    start = _opening(tokens, position)
    if any(token.part is Part.NUMBER for token in tokens[start:position]):
        return True
    if position and tokens[position - 1].part is Part.NOUN and tokens[position - 1].tag not in ("NNS", "NNPS"):
        return single or not noun
    return noun and single and any(token.text in v.INDEFINITE for token in tokens[start:position])


def _agrees(tokens: Sequence[Token], position: int, model: Model) -> bool:
    """Whether the next word is this one's verb, for "a" takes no plural: "a giant towers over a house"."""
    follows = tokens[position + 1].text if position + 1 < len(tokens) else ""
    verb = model.is_third_person(follows) and follows not in v.NAMED_BY_PLURAL
    word = tokens[position].text
    return verb and (model.is_noun(word) or not model.is_adjective(word)) and _is_singular(tokens, position + 1)


def _is_fronted(tokens: Sequence[Token], position: int) -> bool:
    """Whether the noun phrase before belongs to a phrase of place that opens its clause: "inside the house grow trees"."""
    start = _opening(tokens, position)
    opening = start < 2 or tokens[start - 2].part in (Part.COMMA, Part.STOP)
    return start > 0 and tokens[start - 1].part is Part.MARK and opening


def _is_relative(tokens: Sequence[Token], position: int) -> bool:
    """Whether the noun phrase before is the subject of a relative clause: "the hat that the man wears is red"."""
    start = _opening(tokens, position)
    return start > 0 and tokens[start - 1].part is Part.RELATIVE
