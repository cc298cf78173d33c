"""Attachment: which things a phrase of place relates.

Who a phrase is about (its figure): the subject after a comma, an "and" or the subject's verb; else the nearest noun.
A phrase that opens its clause waits for the noun that follows ("to the left of the sofa stands a lamp").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spatialguide.contracts import Relation
from spatialguide.scene import Scene
from spatialguide_parsers.spacy_english import vocabulary as v
from spatialguide_parsers.spacy_english.cast import Cast
from spatialguide_parsers.spacy_english.clause import Clause, Group
from spatialguide_parsers.spacy_english.coordination import group_end
from spatialguide_parsers.spacy_english.elements import Element
from spatialguide_parsers.spacy_english.findings import Findings
from spatialguide_parsers.spacy_english.phrases import Mark


class Attachment:
    """Reads elements and collects relations.

    Args:
        relations: relation plugins by predicate name.
    """

    def __init__(self, relations: Mapping[str, Relation]) -> None:
        self._cast = Cast()
        self._findings = Findings(self._cast, relations)
        self._clause = Clause()
        self._previous: Group = ()
        self._previously_mentioned: Group = ()
        self._elements: Sequence[Element] = ()

    def scene(self, prompt: str) -> Scene:
        """The scene of what was read."""
        relations = self._findings.finish()
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
        match element.kind:
            case "noun" | "pronoun":
                return self._noun(at)
            case "link":
                return self._link(at)
            case "stop":
                self._stop()
                return at + 1
            case "comma":
                self._return_to_subject()
                clause.guests = ()
                clause.opening = True
            case "and":
                clause.figure = clause.subject
                clause.opening = True
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
                clause.subject = clause.figure = clause.nearest
            case "adjectives":
                self._describe(element)
            case "not":
                clause.figure = None
            case "blocked":
                self._findings.ignore(element, "a way of speaking, not a place beside a thing")
        clause.before = element.kind
        return at + 1

    def _stop(self) -> None:
        for element, _ in self._clause.waiting:
            self._findings.ignore(element, "no object that it is about")
        self._previous = self._clause.topic or self._previous
        self._previously_mentioned = self._clause.mentioned or self._previously_mentioned
        self._clause = Clause()

    def _return_to_subject(self) -> None:
        clause = self._clause
        clause.subject, clause.outer = clause.outer or clause.subject, ()
        clause.figure = clause.subject

    def _verb(self) -> None:
        if self._clause.before not in ("relative", "not", "there"):
            opening = self._clause.opening
            self._return_to_subject()
            self._clause.opening = opening

    def _describe(self, element: Element) -> None:
        if self._clause.before in ("be", "adjectives", "participle") and self._clause.figure:
            for index in self._clause.figure:
                self._cast.describe(index, element.words)

    def _noun(self, at: int) -> int:
        """A noun phrase outside a phrase of place: a subject, an object of a verb, or what comes with a host."""
        clause = self._clause
        lists = not (clause.before in ("verb", "participle") and clause.subject)
        places, end = group_end(self._elements, at, grounds=0 if lists else 1)
        group = self._group(places, figures=())
        before, clause.before = clause.before, "noun"
        if not group:
            clause.figure = None if _is_negated(self._elements[at]) else clause.figure
            return end
        clause.nearest = group
        if clause.waiting:
            for element, grounds in clause.waiting:
                self._findings.relate(element, _mark(element), group, grounds)
            clause.waiting = []
            self._introduce(group)
        elif before == "with" and clause.subject:
            self._accompany(group)
        elif before == "and" and clause.guests:
            clause.guests = clause.figure = group
        elif before in ("preposition", "blocked") or (before in ("verb", "participle", "be") and clause.subject):
            clause.figure = clause.figure or clause.subject
        else:
            self._introduce(group)
        clause.opening = False
        return end

    def _introduce(self, group: Group) -> None:
        clause = self._clause
        clause.subject = clause.figure = group
        clause.outer = ()
        clause.topic = clause.topic or group

    def _accompany(self, group: Group) -> None:
        clause = self._clause
        clause.host = clause.figure or clause.subject
        clause.guests = group
        heads = {self._cast.head(index) for index in group}
        carried = not clause.opening and any(self._cast.head(index) in v.PEOPLE for index in clause.host)
        clause.figure = clause.host if carried or heads <= v.PARTS else group

    def _group(self, places: Sequence[int], figures: Group) -> Group:
        """Objects of noun phrases, none of them among `figures`."""
        members: list[int] = []
        for place in places:
            mention = self._elements[place].mention
            if self._elements[place].kind == "pronoun":
                members += self._antecedent(self._elements[place].text, figures)
            elif mention is not None and mention.drawn and not mention.negated:
                members.append(self._cast.resolve(mention, figures))
        self._clause.mentioned += tuple(members)
        return tuple(dict.fromkeys(members))

    def _antecedent(self, pronoun: str, figures: Group) -> Group:
        """What a pronoun stands for: the host, the clause's subject, the earlier sentence's; agreeing if one does."""
        clause = self._clause
        everything = tuple(i for i in dict.fromkeys(clause.mentioned or self._previously_mentioned) if i not in figures)
        known = [clause.host, clause.subject, clause.topic, self._previous]
        if pronoun in v.MALE_PRONOUNS | v.FEMALE_PRONOUNS:
            known += [(index,) for index in self._previously_mentioned]
        known = [group for group in known if group and not set(group) & set(figures)]
        agreeing = [group for group in known if self._agrees(pronoun, group)]
        if not agreeing and pronoun in v.PLURAL_PRONOUNS:
            return everything
        return next(iter(agreeing or known), ())

    def _agrees(self, pronoun: str, group: Group) -> bool:
        head = self._cast.head(group[0])
        plural = len(group) > 1 or self._cast.count(group[0]) != 1
        wrong = (pronoun in v.MALE_PRONOUNS and head in v.FEMALE) or (pronoun in v.FEMALE_PRONOUNS and head in v.MALE)
        return plural == (pronoun in v.PLURAL_PRONOUNS) and not wrong

    def _link(self, at: int) -> int:
        """A phrase of place with its grounds."""
        clause, element, mark = self._clause, self._elements[at], _mark(self._elements[at])
        places, end = self._ground_places(at, mark)
        waits = clause.opening and clause.figure is not None and self._waits(end)
        figures = () if waits else self._figures(places, mark)
        clause.opening, clause.before = False, "link"
        if places and self._elements[places[0]].kind == "reciprocal":
            self._findings.reciprocate(element, mark, figures)
            return end
        grounds = self._grounds(places, mark, figures)
        if not grounds and len(figures) > 1 and self._by_pronoun(places, mark):
            grounds, figures = figures[:-1], figures[-1:]
        if waits:
            clause.waiting.append((element, grounds))
        elif clause.figure is None:
            self._findings.ignore(element, "the prompt says that it is not so")
        elif places and not grounds:
            self._remark_undrawn(element, mark, self._elements[places[0]])
        else:
            self._findings.relate(element, mark, figures, grounds)
        if places and not waits:
            self._settle(grounds)
        return end

    def _ground_places(self, at: int, mark: Mark) -> tuple[list[int], int]:
        """Places of the noun phrases after a phrase, and of the element after them."""
        kind = self._elements[at + 1].kind
        if mark.kind in ("bare", "owned", "frame") or kind not in ("noun", "pronoun", "reciprocal"):
            return [], at + 1
        if kind != "noun":
            return [at + 1], at + 2
        return group_end(self._elements, at + 1, mark.grounds, listed=bool(self._clause.subject))

    def _by_pronoun(self, places: Sequence[int], mark: Mark) -> bool:
        return mark.kind == "owned" or (bool(places) and self._elements[places[0]].kind == "pronoun")

    def _figures(self, places: Sequence[int], mark: Mark) -> Group:
        """What a phrase is about; in "a dog with a cat beside it" that is the guest."""
        clause = self._clause
        if clause.figure and clause.guests and self._by_pronoun(places, mark):
            return clause.guests
        if mark.together and clause.figure and len(clause.figure) == 1:
            return tuple(dict.fromkeys(clause.mentioned))
        return clause.figure or (self._previous if clause.figure == () and not clause.subject else ())

    def _grounds(self, places: Sequence[int], mark: Mark, figures: Group) -> Group:
        clause = self._clause
        if mark.kind == "owned":
            return self._antecedent(mark.owner, figures)
        if mark.kind == "bare":
            hosted = bool(clause.guests) and figures == clause.guests and " of the " not in mark.text
            return clause.host if hosted else ()
        return self._group(places, figures)

    def _remark_undrawn(self, element: Element, mark: Mark, ground: Element) -> None:
        if mark.kind == "relation" or (ground.mention is not None and ground.mention.negated):
            unknown = "stands for nothing named before" if ground.kind == "pronoun" else "after it is nothing to draw"
            self._findings.ignore(element, f"'{ground.text}' {unknown}")

    def _settle(self, grounds: Group) -> None:
        """The ground becomes the figure of a phrase that follows at once, unless it is only the place of everything."""
        clause = self._clause
        heads = {self._cast.head(index) for index in grounds}
        if grounds:
            clause.nearest = grounds
        if clause.figure is not None and not heads <= v.PLACES | v.PARTS:
            clause.figure = grounds

    def _waits(self, at: int) -> bool:
        """Whether an opening phrase that ends at `at` is about a noun that follows it."""
        clause = self._clause
        kinds = [element.kind for element in self._elements[at : at + 4]]
        if not clause.subject:
            later = (element.kind for element in self._elements[at:] if element.kind in ("noun", "stop"))
            return next(later, "stop") == "noun"
        if kinds[:1] == ["comma"]:
            return kinds[1:2] == ["noun"] and self._findings.is_placed(clause.subject)
        return kinds[:1] == ["noun"] or (kinds[:1] in (["verb"], ["be"], ["there"]) and "noun" in kinds[1:3])


def _mark(element: Element) -> Mark:
    assert element.mark is not None
    return element.mark


def _is_negated(element: Element) -> bool:
    return element.mention is not None and element.mention.negated
