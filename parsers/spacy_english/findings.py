"""Findings: the relations that a prompt states, and the phrases that were not used, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, permutations

from spatialguide.contracts import Relation as RelationPlugin
from spatialguide.scene import Relation, Span
from spatialguide_parsers.spacy_english.cast import Cast
from spatialguide_parsers.spacy_english.elements import Element
from spatialguide_parsers.spacy_english.phrases import Mark
from spatialguide_parsers.spacy_english.vocabulary import PARTS

#: Phrases that say where a scene plays as often as where a thing is: no reason to refuse a prompt.
LOOSE = frozenset(
    ["in", "within", "through", "along", "against", "across", "outside", "toward", "towards", "onto", "upon", "among", "beyond"]
)


class Findings:
    """Collects relations and remarks.

    Args:
        cast: the objects, for names in remarks.
        relations: relation plugins by predicate name.
    """

    def __init__(self, cast: Cast, relations: Mapping[str, RelationPlugin]) -> None:
        self._cast = cast
        self._plugins = relations
        self._found: dict[tuple[int, str, tuple[int, ...]], Relation] = {}
        self._placed: list[tuple[int, Element, Mark]] = []
        self.ignored: list[str] = []
        self.unknown: list[str] = []

    def ignore(self, element: Element, reason: str) -> None:
        """Remark that a phrase was not used."""
        self.ignored.append(f"'{element.text}': {reason}")

    def relate(self, element: Element, mark: Mark, figures: Sequence[int], grounds: Sequence[int]) -> None:
        """Add what a phrase says of its figures and grounds, or remark why it says nothing."""
        if mark.kind == "other" and mark.text == "in" and {self._cast.head(index) for index in grounds} <= PARTS:
            return  # "a man in a red shirt" says what he wears
        if mark.kind == "other":
            self.ignore(element, "no relation plugin for it")
            if figures and grounds and mark.text not in LOOSE:
                self.unknown.append(mark.text)
        elif not figures:
            self.ignore(element, "no object before it")
        elif mark.kind == "bare" and not grounds:
            self._placed += [(figure, element, mark) for figure in figures]
        elif mark.kind == "frame":
            self.ignore(element, "a place in the picture, not a place beside a thing")
        elif not grounds:
            self.ignore(element, "no object after it")
        elif mark.grounds > 1:
            self._relate_to_all(element, mark, figures, grounds)
        else:
            self._relate_to_each(element, mark, figures, grounds)

    def reciprocate(self, element: Element, mark: Mark, group: Sequence[int]) -> None:
        """Add "A and B next to each other"; only a relation that is its own converse can hold both ways."""
        if len(group) < 2 or mark.kind != "relation" or self._plugins[mark.predicate].converse != mark.predicate:
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
        self._found.setdefault((figure, predicate, grounds), relation)

    def is_placed(self, group: Sequence[int]) -> bool:
        """Whether the prompt has already given all of these a place in the picture."""
        return bool(group) and set(group) <= {figure for figure, _, _ in self._placed}

    def finish(self) -> tuple[Relation, ...]:
        """All relations. "A on the left, B on the right" relates A and B; a place without a partner is remarked on."""
        paired: set[int] = set()
        for (figure, element, mark), (other, _, opposite) in permutations(self._placed, 2):
            if figure != other and self._plugins[mark.predicate].converse == opposite.predicate:
                paired |= {figure, other}
                if (other, opposite.predicate, (figure,)) not in self._found:
                    self._add(figure, mark.predicate, (other,), element)
        for figure, element, _ in self._placed:
            if figure not in paired:
                self.ignore(element, f"a place in the picture; say which object '{self._cast.name(figure)}' is beside")
        return tuple(self._found.values())
