"""Findings: the relations that a prompt states, and the phrases that were not used, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from spatialguide.contracts import Predicate
from spatialguide.scenes.scene import Relation, Span
from spatialguide_parsers.english.cast import Cast
from spatialguide_parsers.english.elements import Element
from spatialguide_parsers.english.phrases import Mark
from spatialguide_parsers.english.reference import is_person
from spatialguide_parsers.english.vocabulary import AREAS, CONTAINERS, LOOSE, MIDDLES, PARTS

_Key = tuple[int, str, tuple[int, ...]]
#: Share of right relations with 0, 1, ... doubts, on all gold prompts: `tests/parsers/measure_confidence.py`.
CONFIDENCE = (0.997, 0.989, 0.971, 0.912, 0.833)


class Findings:
    """Collects relations and remarks.

    Args:
        cast: the objects, for names in remarks.
        relations: relation plugins by predicate name.
    """

    def __init__(self, cast: Cast, relations: Mapping[str, Predicate]) -> None:
        self._cast = cast
        self._plugins = relations
        self._found: dict[_Key, tuple[Relation, int]] = {}
        #: How many things are unsure about the phrase that is read.
        self.doubts = 0
        self._provisional: set[_Key] = set()
        self.ignored: list[str] = []
        self.unknown: list[str] = []

    def ignore(self, element: Element, reason: str) -> None:
        """Remark that a phrase was not used."""
        self.ignored.append(f"'{element.text}': {reason}")

    def relate(self, element: Element, mark: Mark, figures: Sequence[int], grounds: Sequence[int]) -> None:
        """Add what a phrase says of its figures and grounds, or remark why it says nothing."""
        if mark.kind == "other" and mark.text == "in" and {self._cast.head(index) for index in grounds} <= PARTS:
            return  # "a man in a red shirt" says what he wears
        if mark.kind == "part":
            self.ignore(element, "a part of a thing, which no relation plugin has")
        elif mark.kind == "other":
            self.ignore(element, "no relation plugin for it")
            if figures and grounds and mark.text not in LOOSE:
                self.unknown.append(mark.text)
        elif not figures:
            self.ignore(element, "no object before it")
        elif mark.kind in ("place", "lone"):
            self._put_at(element, mark, figures)
        elif not grounds:
            self.ignore(element, "no object after it")
        elif mark.text == "in" and (
            self.wears(figures, grounds) or not {self._cast.head(index) for index in grounds} <= CONTAINERS
        ):
            self.ignore(element, "a setting, a state or clothes, not a container")
        elif _is_middle(mark) and not {self._cast.head(index) for index in grounds} <= CONTAINERS | AREAS:
            self.ignore(element, "a setting or a state, not the middle of a thing")
        elif mark.grounds > 1:
            self._relate_to_all(element, mark, figures, grounds)
        else:
            self._relate_to_each(element, mark, figures, grounds)

    def wears(self, figures: Sequence[int], grounds: Sequence[int]) -> bool:
        """Whether someone is "in" clothes that could hold things too: "an old man in slippers"."""
        worn = {self._cast.head(index) for index in grounds} <= PARTS
        return worn and any(is_person(self._cast.head(index)) for index in figures)

    def correct(self) -> None:
        """What follows takes back what was found of the same things."""
        self._provisional = set(self._found)

    def is_mutual(self, mark: Mark) -> bool:
        """Whether a phrase says a relation that is its own converse."""
        return mark.kind == "relation" and self._plugins[mark.predicate].converse == mark.predicate

    def reciprocate(self, element: Element, mark: Mark, group: Sequence[int]) -> None:
        """Add "A and B next to each other"; only a relation that is its own converse can hold both ways."""
        if len(group) < 2 or not self.is_mutual(mark):
            self.ignore(element, "it cannot hold both ways between the objects before it")
            return
        for first, second in pairwise(group):
            self._add(first, mark.predicate, (second,), element)

    def _relate_to_each(self, element: Element, mark: Mark, figures: Sequence[int], grounds: Sequence[int]) -> None:
        for figure in figures:
            for ground in grounds:
                if figure == ground:
                    self.ignore(element, f"it would relate '{self._cast.name(figure)}' to itself")
                else:
                    self._add(figure, mark.predicate, (ground,), element)

    def _relate_to_all(self, element: Element, mark: Mark, figures: Sequence[int], grounds: Sequence[int]) -> None:
        """A relation with several grounds takes as many nouns, or one noun in the plural ("between two trees")."""
        chosen = tuple(grounds[: mark.grounds])
        if len(chosen) == 1 and self._cast.count(chosen[0]) in (mark.grounds, None):
            chosen *= mark.grounds
        if len(chosen) < mark.grounds:
            self.ignore(element, f"it needs {mark.grounds} objects after it, found {len(chosen)}")
            return
        for figure in figures:
            if figure in chosen:
                self.ignore(element, f"it would relate '{self._cast.name(figure)}' to itself")
            else:
                self._add(figure, mark.predicate, chosen, element)

    def _add(self, figure: int, predicate: str, grounds: tuple[int, ...], element: Element) -> None:
        relation = Relation(subject=figure, predicate=predicate, objects=grounds, span=Span(element.start, element.end))
        key = (figure, predicate, grounds)
        for earlier in [each for each in self._provisional if _is_taken_back(each, key)]:
            self._provisional.remove(earlier)
            if earlier != key:
                del self._found[earlier]
        self._found.setdefault(key, (relation, self.doubts))

    def _put_at(self, element: Element, mark: Mark, figures: Sequence[int]) -> None:
        if not mark.predicate:
            self.ignore(element, "a place in the picture that no relation plugin has")
            return
        for figure in figures:
            self._add(figure, mark.predicate, (), element)

    def is_placed(self, group: Sequence[int]) -> bool:
        """Whether the prompt has already given all of these a place in the picture."""
        return bool(group) and set(group) <= {figure for figure, _, grounds in self._found if not grounds}

    def relations(self, doubts: int, least: float) -> tuple[Relation, ...]:
        """Relations in the order found, with their confidence; what is below the least is remarked.

        Args:
            doubts: how many things are unsure about the whole prompt.
        """
        found = []
        for relation, own in self._found.values():
            sure = CONFIDENCE[min(own + doubts, len(CONFIDENCE) - 1)]
            if sure >= least:
                found.append(relation.model_copy(update={"confidence": sure}))
                continue
            grounds = " and ".join(map(self._cast.name, relation.objects))
            said = f"{self._cast.name(relation.subject)} {relation.predicate.replace(':', ' ')} {grounds}".rstrip()
            self.ignored.append(f"'{said}': left out, its confidence {sure} is below {least}")
        return tuple(found)


def _is_taken_back(earlier: _Key, key: _Key) -> bool:
    """Whether a relation takes the place of an earlier one, in a prompt that corrects itself."""
    return {earlier[0], *earlier[2]} == {key[0], *key[2]} or earlier[:2] == key[:2]


def _is_middle(mark: Mark) -> bool:
    """Whether a phrase says the middle of its one ground: "in the heart of"."""
    return mark.grounds == 1 and mark.text.endswith(" of") and mark.text.split()[-2] in MIDDLES
