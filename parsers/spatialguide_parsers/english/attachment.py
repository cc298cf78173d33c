"""Attachment: which things a phrase of place relates.

Who a phrase is about (its figure): the subject after a comma, an "and" or the subject's verb; else the nearest noun.
A phrase that opens its clause waits for the noun that follows ("to the left of the sofa stands a lamp").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spatialguide.contracts import Predicate
from spatialguide.scenes.reader import is_prose
from spatialguide.scenes.scene import Scene
from spatialguide_parsers.english import vocabulary as v
from spatialguide_parsers.english.cast import Cast
from spatialguide_parsers.english.clause import Clause, Group
from spatialguide_parsers.english.coordination import group_end
from spatialguide_parsers.english.elements import Element
from spatialguide_parsers.english.findings import Findings
from spatialguide_parsers.english.phrases import Mark
from spatialguide_parsers.english.reference import References, is_person
from spatialguide_parsers.english.words import COLON

#: Prepositions after which a thing is a place of its own: "he runs to a tree beside a house".
_LANDMARKS = frozenset({"into", "to", "past", "from"})
#: What comes right before a phrase that may be about either of two things.
_JOINING = frozenset({"and", "comma", "link"})
_LISTING = frozenset({"and", "noun", "comma"})


class Attachment:
    """Reads elements and collects relations.

    Args:
        relations: relation plugins by predicate name.
        min_confidence: of the relations that are used.
    """

    def __init__(self, relations: Mapping[str, Predicate], min_confidence: float = 0.0) -> None:
        self._least = min_confidence
        self._cast = Cast()
        self._findings = Findings(self._cast, relations)
        self._clause = Clause()
        self._references = References(self._cast)
        self._elements: Sequence[Element] = ()

    def scene(self, prompt: str) -> Scene:
        """The scene of what was read."""
        relations = self._findings.relations(int(is_prose(prompt)), self._least)
        return Scene(
            prompt=prompt,
            objects=self._cast.objects(),
            relations=relations,
            ignored=tuple(dict.fromkeys(self._findings.ignored)),
            unknown=tuple(dict.fromkeys(self._findings.unknown)),
        )

    def read(self, elements: Sequence[Element]) -> None:
        """Read the elements of a whole prompt."""
        self._elements = elements
        at = 0
        while at < len(elements):
            at = self._step(at)

    def _step(self, at: int) -> int:
        element, clause = self._elements[at], self._clause
        clause.denied = clause.denied and self._denial_reaches(element)
        if element.kind in ("verb", "be", "participle"):
            clause.verb = element.text
        match element.kind:
            case "noun" | "pronoun":
                return self._noun(at)
            case "link":
                return self._link(at)
            case "stop":
                self._stop()
                return at + 1
            case "comma" if element.text == COLON:
                clause.subject = clause.figure = clause.outer = clause.guests = clause.antecedent = ()
                clause.opening = True
            case "correction":
                self._findings.correct()
                self._cast.corrects = True
                self._return_to_subject()
                clause.guests, clause.opening, clause.denied = (), True, False
            case "participle" if clause.before == "comma" and self._is_listed():
                clause.subject = clause.figure = clause.topic
            case "participle" if clause.before == "noun" and self._kind(at + 1) == "link" and self._rests(element.text):
                clause.figure = clause.nearest
            case "participle" if self._kind(at + 1) == "noun" and self._acts(clause):
                clause.figure = clause.subject
            case "comma":
                self._return_to_subject()
                clause.guests = clause.antecedent = ()
                clause.opening = True
            case "and":
                clause.figure = clause.subject
                clause.opening = True
                clause.denied = element.text == "nor" or (element.text == "or" and clause.refused)
            case "there":
                clause.subject = clause.figure = ()
            case "verb" if clause.opening and element.text in v.IMPERATIVES:
                clause.subject = clause.figure = ()
            case "verb" | "be":
                self._verb()
            case "with" if element.text in v.HAVE:
                self._verb()
            case "relative":
                clause.outer = clause.outer or clause.subject
                clause.subject = clause.figure = clause.antecedent = clause.nearest
            case "worn":
                for index in clause.nearest:
                    self._cast.describe(index, element.words)
            case "adjectives":
                self._describe(at)
            case "not":
                clause.figure, clause.denied = None, True
            case "whole":
                self._group([at], figures=())
                return at + 1
            case "blocked" if _mark(element).kind == "idiom":
                self._findings.ignore(element, "a way of speaking")
                return at + 1
            case "blocked":
                self._findings.ignore(element, "a way of speaking, not a place beside a thing")
        clause.before = "into" if element.text in _LANDMARKS else element.kind
        return at + 1

    def _denial_reaches(self, element: Element) -> bool:
        """Whether a "not" before an element is about the phrase of place after it: "is not sitting on", not "is not red on"."""
        if element.kind == "be":
            return self._clause.before not in ("verb", "participle")
        return element.kind == "link" or (element.kind in ("verb", "participle") and element.text in v.PLACING)

    def _acts(self, clause: Clause) -> bool:
        """Whether what follows is done by the subject, not by the thing it is at: "a girl in a chair playing chess"."""
        heads = [{self._cast.head(index) for index in group or ()} for group in (clause.subject, clause.figure)]
        return any(map(is_person, heads[0])) and not any(map(is_person, heads[1]))

    def _is_listed(self) -> bool:
        """Whether a person and things are listed before a participle: "girl, umbrella, standing in front of a shrine"."""
        clause = self._clause
        return any(map(is_person, self._heads(clause.topic))) and not any(map(is_person, self._heads(clause.subject)))

    def _rests(self, participle: str) -> bool:
        """Whether the last noun, not the subject, is somewhere: "it shows an octopus wrapped around a submarine"."""
        subject, nearest = self._heads(self._clause.subject), self._heads(self._clause.nearest)
        if nearest <= v.PARTS:
            return False
        return not participle.endswith("ing") or not any(map(is_person, subject)) or any(map(is_person, nearest))

    def _stop(self) -> None:
        for element, _ in self._clause.waiting:
            self._findings.ignore(element, "no object that it is about")
        self._references.end_sentence(self._clause)
        self._clause = Clause()

    def _return_to_subject(self) -> None:
        clause = self._clause
        clause.subject, clause.outer = clause.outer or clause.subject, ()
        clause.lost = clause.lost and not clause.subject
        clause.figure = None if clause.lost else clause.subject

    def _verb(self) -> None:
        if self._clause.before not in ("relative", "inner", "not", "there"):
            opening = self._clause.opening
            self._return_to_subject()
            self._clause.opening, self._clause.guests = opening, ()

    def _describe(self, at: int) -> None:
        """ "a ball that is red", and "a robot, tall and silver, behind a doll"."""
        clause, element = self._clause, self._elements[at]
        apposed = clause.before == "comma" and len(element.words) > 1 and self._places_next(at + 1)
        if clause.figure and (apposed or clause.before in ("be", "adjectives", "participle")):
            for index in clause.figure:
                self._cast.describe(index, element.words)

    def _places_next(self, at: int) -> bool:
        """Whether a phrase of place or a verb follows, after a comma or not."""
        at += self._kind(at) == "comma"
        return self._kind(at) in ("link", "be", "verb", "participle")

    def _noun(self, at: int) -> int:
        """A noun phrase outside a phrase of place: a subject, an object of a verb, or what comes with a host."""
        clause = self._clause
        lists = not (clause.before in ("verb", "participle") and clause.subject)
        places, end = group_end(self._elements, at, grounds=0 if lists else 1)
        group = self._group(places, figures=())
        before, clause.before = clause.before, "noun"
        if not group:
            thrown = self._places_object(before)
            unknown = self._elements[at].kind == "pronoun" and not clause.subject and before not in ("preposition", "verb")
            clause.lost = clause.lost or unknown or thrown
            clause.figure = None if thrown or unknown or _is_negated(self._elements[at]) else clause.figure
            return end
        if before in ("verb", "participle") and self._elements[at - 1].text in v.FACING:
            self._findings.ignore(self._elements[at - 1], "which way a thing looks is not guided")
        clause.nearest_before, clause.nearest = clause.nearest, group
        if clause.waiting:
            for element, grounds in clause.waiting:
                self._findings.relate(element, _mark(element), group, grounds)
                clause.anchor = grounds if self._is_thing(_mark(element), grounds) else ()
                self._references.settings |= set(grounds) - set(clause.anchor)
                clause.pair = (*group, *grounds)
            clause.waiting = []
            self._introduce(group)
        elif before == "relative":
            # The subject of a relative clause, up to the second verb: "the hat that a man wears is on a desk".
            clause.outer = clause.outer or clause.subject
            clause.subject = clause.figure = group
            clause.before = "inner"
        elif before == "with" and clause.subject:
            self._accompany(group, acting=self._kind(end) == "participle")
        elif before == "and" and clause.guests:
            clause.guests = clause.figure = group
        elif clause.subject and self._places_object(before):
            clause.figure = group
        elif before == "preposition" and not clause.subject and (clause.verb or self._kind(end) == "link"):
            self._introduce(group)  # "I asked for a frog"
        elif before in ("preposition", "blocked", "into") or (before in ("verb", "participle", "be") and clause.subject):
            clause.aside = group if before == "preposition" else ()
            clause.figure = clause.figure if clause.lost else clause.figure or clause.subject
        else:
            self._introduce(
                group,
                listed=(before == "and" and self._heads(clause.nearest_before) <= v.PARTS)
                or (before == "comma" and self._kind(end) in ("comma", "stop")),
            )
        clause.opening = False
        return end

    def _heads(self, group: Group) -> set[str]:
        return {self._cast.head(index) for index in group}

    def _places_object(self, before: str) -> bool:
        """Whether a phrase of place is about the object of the last verb: "a girl holds a balloon above a dog"."""
        finite = before == "verb" or (before == "participle" and self._clause.verb.endswith("ing"))
        return before == "into" or (finite and self._clause.verb in v.PLACING_OBJECTS)

    def _introduce(self, group: Group, listed: bool = False) -> None:
        clause = self._clause
        heads = self._heads(group)
        if listed and clause.subject and heads <= v.PARTS:
            return  # "a girl, red eyes, sitting on a scooter", "a corgi wearing a bow tie and a hat next to a cake"
        clause.subject = clause.figure = group
        clause.outer = ()
        clause.topic = clause.topic or group

    def _accompany(self, group: Group, acting: bool) -> None:
        clause = self._clause
        # "a house has a door with a wreath": the wreath comes with the door.
        nested = bool(clause.guests) and clause.nearest_before == clause.guests
        clause.host = clause.guests if nested else clause.figure or clause.subject
        clause.guests = group
        clause.resolved = {}
        heads = self._heads(group)
        carried = not clause.opening and any(self._cast.head(index) in v.PEOPLE for index in clause.host)
        clause.figure = clause.host if not acting and (carried or heads <= v.PARTS) else group

    def _group(self, places: Sequence[int], figures: Group, opening: bool = False) -> Group:
        """Objects of noun phrases, none of them among `figures`."""
        members: list[int] = []
        for place in places:
            mention = self._elements[place].mention
            if self._elements[place].kind == "pronoun":
                pronoun = self._elements[place].text
                members += self._references.antecedent(pronoun, figures, self._clause, opening)
            elif mention is not None and mention.drawn and not mention.negated:
                members.append(self._cast.resolve(mention, figures))
        self._clause.mentioned += tuple(members)
        return tuple(dict.fromkeys(members))

    def _link(self, at: int) -> int:
        """A phrase of place with its grounds."""
        clause, element, mark = self._clause, self._elements[at], _mark(self._elements[at])
        places, end = self._ground_places(at, mark)
        if not places and self._is_shared(at):
            if clause.denied and not mark.limited:
                self._deny(element)
                clause.denied = self._elements[at + 1].text != "but"
                if not clause.denied:  # "not above but below a dog"
                    clause.figure = clause.subject
            else:
                clause.sharing.append(element)
            return at + 2
        if not places and mark.kind == "relation" and self._kind(at + 1) == "relative":
            return self._ask(at)
        waits = clause.opening and clause.figure is not None and self._waits(at, end)
        figures = () if waits else self._figures(places, mark)
        figures = self._without_grounds(figures, places)
        self._findings.doubts = self._doubts(at, figures)
        clause.opening, clause.before = False, "link"
        denied, clause.denied, clause.refused = clause.denied and not mark.limited, False, False
        if places and self._elements[places[0]].kind == "reciprocal":
            if denied:
                self._deny(element)
            else:
                self._findings.reciprocate(element, mark, figures)
            return end
        grounds = self._grounds(places, mark, figures, waits)
        if mark.elsewhere and not grounds:
            mark = replace(mark, kind="place", predicate=mark.elsewhere)  # "a bird on top"
        if not grounds and len(figures) > 1 and self._by_pronoun(places, mark):
            grounds, figures = figures[:-1], figures[-1:]
        if not places and not grounds and len(figures) > 1 and self._findings.is_mutual(mark):
            self._findings.reciprocate(element, mark, figures)  # "a cat and a dog side by side"
            return end
        shared, clause.sharing = clause.sharing, []
        if waits:
            clause.figure = grounds if self._kind(end) == "link" else clause.figure
            clause.waiting += [(phrase, grounds) for phrase in (*shared, element)]
        elif denied:
            self._deny(element)
            for phrase in shared:  # "above but not left of a dog"
                self._findings.relate(phrase, _mark(phrase), clause.subject, grounds)
        elif clause.figure is None and not clause.lost and clause.subject and places and not self._by_pronoun(places, mark):
            # "a dog without a collar left of a cat"
            self._findings.relate(element, mark, clause.subject, grounds)
        elif clause.figure is None and clause.lost and (grounds or not places):
            self._findings.ignore(element, "no object that it is about")
        elif clause.figure is None and not clause.lost:
            self._deny(element)
        elif places and not grounds:
            self._remark_undrawn(element, mark, self._elements[places[0]])
        else:
            for phrase in (*shared, element):
                self._findings.relate(phrase, mark if phrase is element else _mark(phrase), figures, grounds)
        if not self._is_worn(places):
            clause.pair = tuple(dict.fromkeys((*figures, *grounds))) or clause.pair
        clause.placed = clause.placed or mark.kind in ("place", "lone")
        if waits:
            clause.nearest = grounds or clause.nearest
        elif places:
            self._settle(grounds, mark)
            if figures == clause.guests and self._is_worn(places):
                clause.figure = clause.host  # "a girl with a snake around her neck next to a boy"
        return end

    def _doubts(self, at: int, figures: Group) -> int:
        """How many things are unsure about who a phrase is about, and what it says."""
        clause, mark = self._clause, _mark(self._elements[at])
        return sum(
            (
                self._kind(at + 1) == "pronoun" or mark.kind == "owned",
                mark.text == "in",
                bool(clause.aside),
                clause.before in _JOINING,
                bool(clause.verb) and not set(figures) & set(clause.nearest),
            )
        )

    def _deny(self, phrase: Element) -> None:
        self._findings.ignore(phrase, "the prompt says that it is not so")
        self._clause.denied, self._clause.refused = False, True

    def _kind(self, at: int) -> str:
        return self._elements[at].kind if at < len(self._elements) else "stop"

    def _is_shared(self, at: int) -> bool:
        """Whether the next phrase brings the ground: "above and to the right of a post"."""
        following = at + 2 + (self._kind(at + 2) == "not")
        if (self._kind(at + 1), self._kind(following)) != ("and", "link"):
            return False
        return {_mark(self._elements[at]).kind, _mark(self._elements[following]).kind} == {"relation"}

    def _ask(self, at: int) -> int:
        """ "a willow under which a shepherd sleeps": the noun that follows is the figure."""
        clause = self._clause
        clause.waiting.append((self._elements[at], clause.nearest or clause.subject))
        clause.opening, clause.before = True, "relative"
        return at + 2

    def _ground_places(self, at: int, mark: Mark) -> tuple[list[int], int]:
        """Places of the noun phrases after a phrase, and of the element after them."""
        kind = self._elements[at + 1].kind
        if mark.kind in ("bare", "owned", "place", "lone") or kind not in ("noun", "pronoun", "reciprocal"):
            return [], at + 1
        if kind != "noun":
            return [at + 1], at + 2
        first = self._elements[at + 1].mention
        enough = 1 if first is not None and first.count == mark.grounds else mark.grounds
        return group_end(self._elements, at + 1, enough, listed=bool(self._clause.subject))

    def _is_worn(self, places: Sequence[int]) -> bool:
        """Whether the ground is a part of someone: "a girl with a snake around her neck"."""
        mentions = [self._elements[place].mention for place in places]
        return bool(mentions) and all(mention is not None and mention.text in v.BODY for mention in mentions)

    def _by_pronoun(self, places: Sequence[int], mark: Mark) -> bool:
        return mark.kind == "owned" or (bool(places) and self._elements[places[0]].kind == "pronoun")

    def _figures(self, places: Sequence[int], mark: Mark) -> Group:
        """What a phrase is about; in "a dog with a cat beside it" that is the guest."""
        clause = self._clause
        if clause.figure and clause.guests and (self._by_pronoun(places, mark) or self._is_worn(places)):
            return clause.guests
        if clause.before == "noun" and clause.nearest and self._is_worn(places):
            return clause.nearest  # "a girl feeds a bird on her hand"
        if clause.before == "noun" and clause.aside and mark.text in ("in", "inside", "within"):
            return clause.aside  # "a cat stares at a goldfish inside a bowl"
        if clause.before == "noun" and clause.nearest and mark.text.endswith((" by", " with")) and mark.kind == "relation":
            return clause.nearest  # "a lake surrounded by pines"
        if (
            mark.kind in ("place", "lone")
            and clause.nearest
            and (clause.placed or self._findings.is_placed(clause.figure or ()))
        ):
            return clause.nearest
        if mark.together and clause.figure and len(clause.figure) == 1:
            return tuple(dict.fromkeys(clause.mentioned))
        return clause.figure or (self._references.topic if clause.figure == () and not clause.subject else ())

    def _without_grounds(self, figures: Group, places: Sequence[int]) -> Group:
        """ "two cats, three dogs and a parrot above the dogs" is about the parrot alone."""
        mentions = (self._elements[place].mention for place in places)
        again = {self._cast.known(mention) for mention in mentions if mention is not None}
        return figures[-1:] if len(figures) > 1 and again & set(figures[:-1]) else figures

    def _grounds(self, places: Sequence[int], mark: Mark, figures: Group, waits: bool) -> Group:
        clause = self._clause
        if mark.kind == "owned":
            return self._references.antecedent(mark.owner, figures, clause, opening=waits)
        if mark.kind == "bare":
            return clause.host if clause.guests and figures == clause.guests else ()
        if mark.kind in ("place", "lone"):
            return ()
        if not places and clause.antecedent and not set(clause.antecedent) & set(figures):
            return clause.antecedent
        if not places:
            # "a house with a tree behind"
            return clause.host if clause.guests and figures == clause.guests else ()
        return self._group(places, figures, opening=waits)

    def _remark_undrawn(self, element: Element, mark: Mark, ground: Element) -> None:
        if mark.kind == "relation" or (ground.mention is not None and ground.mention.negated):
            unknown = "stands for nothing named before" if ground.kind == "pronoun" else "after it is nothing to draw"
            self._findings.ignore(element, f"'{ground.text}' {unknown}")

    def _settle(self, grounds: Group, mark: Mark) -> None:
        """The ground becomes the figure of a phrase that follows at once, unless it is only the place of everything."""
        clause = self._clause
        heads = self._heads(grounds)
        if grounds:
            clause.nearest = grounds
        worn = not heads <= v.CONTAINERS or self._findings.wears(clause.figure or (), grounds)
        setting = mark.text in ("in", "through") and worn
        if clause.figure is not None and not setting and not heads <= v.PLACES | v.WORN:
            clause.figure = grounds

    def _is_thing(self, mark: Mark, grounds: Group) -> bool:
        """Whether what a phrase is beside is a thing, and not the place of everything."""
        return mark.text != "in" and not self._heads(grounds) <= v.PLACES

    def _waits(self, start: int, at: int) -> bool:
        """Whether an opening phrase over elements [start, at) is about a noun that follows it."""
        clause = self._clause
        while self._kind(at) == "link" and self._kind(at + 1) == "noun":
            at += 2  # "on the table in front of the sofa lies a book"
        kinds = [element.kind for element in self._elements[at : at + 4]]
        if not clause.subject:
            later = (element.kind for element in self._elements[at:] if element.kind in ("noun", "stop"))
            return next(later, "stop") == "noun"
        if kinds[:1] == ["comma"]:
            if self._elements[at].text == COLON:
                return kinds[1:2] == ["noun"]
            said_of = self._by_pronoun([start + 1] if self._kind(start + 1) == "pronoun" else [], _mark(self._elements[start]))
            if said_of and kinds[1:2] == ["noun"] and kinds[2:3] in (["stop"], ["comma"]) and self._kind(start - 2) in _LISTING:
                return True  # "a cat and, to its left, a dog"
            joined = clause.before == "and" and (not clause.pair or self._kind(start - 2) == "comma")
            clause_follows = kinds[2:3] in (["be"], ["verb"]) or (joined and kinds[2:3] in (["stop"], ["comma"]))
            return kinds[1:2] == ["noun"] and (clause_follows or self._findings.is_placed(clause.subject))
        if kinds[:2] == ["with", "noun"]:
            return self._elements[at].text in v.HAVE and _mark(self._elements[start]).kind in ("place", "lone")
        return kinds[:1] == ["noun"] or (kinds[:1] in (["verb"], ["be"], ["there"]) and "noun" in kinds[1:])


def _mark(element: Element) -> Mark:
    assert element.mark is not None
    return element.mark


def _is_negated(element: Element) -> bool:
    return element.mention is not None and element.mention.negated
