"""Reference: what a pronoun stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spatialguide_parsers.english import vocabulary as v
from spatialguide_parsers.english.cast import Cast
from spatialguide_parsers.english.clause import Clause, Group

#: How many things back a pronoun is looked up; without a bound, long prompts would take quadratic time.
_NEARBY = 60


class References:
    """Resolves pronouns against one clause and the sentences before it.

    Args:
        cast: the objects named so far.
    """

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._topics: list[Group] = []
        self._mentioned: Group = ()
        self._pair: Group = ()
        self._anchor: Group = ()
        #: Where everything is: "it" means what is there, "in a cellar, a dwarf snores. Next to it lies a keg".
        self.settings: set[int] = set()

    @property
    def topic(self) -> Group:
        """What the earlier sentence was about."""
        return self._topics[-1] if self._topics else ()

    def end_sentence(self, clause: Clause) -> None:
        """Remember what a finished sentence was about."""
        if clause.topic:
            self._topics.append(clause.topic)
        self._mentioned = clause.mentioned or self._mentioned
        self._pair = clause.pair or self._pair
        self._anchor = clause.anchor

    def antecedent(self, pronoun: str, figures: Sequence[int], clause: Clause, opening: bool = False) -> Group:
        """What a pronoun stands for, none of it among `figures`; the same as before in its sentence, if that can be.

        Args:
            opening: it stands in a phrase that opens its clause, and means what such a phrase before it was about: "to the
                dog's left a cat; to its right a bird".
        """
        anchor = clause.anchor or self._anchor
        if opening and anchor and _kind(pronoun) in ("it", "they") and pronoun != "that" and self._agrees(pronoun, anchor):
            return anchor
        before = clause.resolved.get(_kind(pronoun), ())
        if before and not set(before) & set(figures):
            return before
        found = self._find(pronoun, figures, clause)
        clause.resolved[_kind(pronoun)] = found
        return found

    def _find(self, pronoun: str, figures: Sequence[int], clause: Clause) -> Group:
        """The host, the clause's subject, the sentence's, the earlier sentence's: the first that agrees."""
        apart = {*figures, *self.settings}
        here = [i for i in dict.fromkeys(clause.mentioned[-_NEARBY:]) if i not in apart]
        earlier = [i for i in dict.fromkeys(self._mentioned[-_NEARBY:]) if i not in apart]
        singles = [(index,) for index in (*reversed(here), *reversed(earlier))]
        now = [clause.host, clause.subject, clause.topic]
        known = [*now, *singles[: len(here)], *reversed(self._topics[-_NEARBY:])]
        known = [group for group in known if group and not set(group) & set(figures)]
        if pronoun in v.MALE_PRONOUNS | v.FEMALE_PRONOUNS:
            everyone = [*known, *singles, *((i,) for i in reversed(range(self._cast.size())[-_NEARBY:]) if i not in figures)]
            agreeing = [group for group in everyone if self._agrees(pronoun, group)]
            agreeing.sort(key=lambda group: not is_person(self._cast.head(group[0])))
        else:
            agreeing = [group for group in [*known, *singles] if self._agrees(pronoun, group)]
        if not agreeing and pronoun in v.PLURAL_PRONOUNS:
            return self._several(figures, clause) or tuple(here or earlier)
        return next(iter(agreeing or known), ())

    def _several(self, figures: Sequence[int], clause: Clause) -> Group:
        """Several things of which none is plural: the pair of the last phrase, else the last two topics."""
        for pair in (clause.pair, self._pair, *([_joined(self._topics[-2:])] if len(self._topics) > 1 else [])):
            rest = tuple(index for index in pair if index not in figures)
            if len(rest) > 1 or (rest and len(pair) > 1):
                return rest
        return ()

    def _agrees(self, pronoun: str, group: Group) -> bool:
        head = self._cast.head(group[0])
        plural = len(group) > 1 or self._cast.count(group[0]) != 1 or (head in v.COLLECTIVES and pronoun in v.PLURAL_PRONOUNS)
        if plural != (pronoun in v.PLURAL_PRONOUNS):
            return False
        if pronoun in v.MALE_PRONOUNS:
            return head not in v.FEMALE
        if pronoun in v.FEMALE_PRONOUNS:
            return head not in v.MALE
        return plural or head not in v.PEOPLE | v.MALE | v.FEMALE


def is_person(head: str) -> bool:
    """Whether a noun names a person, as far as its form tells."""
    return head in v.PEOPLE | v.MALE | v.FEMALE or (head.endswith(v.PERSON_ENDINGS) and head not in v.NO_PERSONS)


def _kind(pronoun: str) -> str:
    kinds = (("they", v.PLURAL_PRONOUNS), ("he", v.MALE_PRONOUNS), ("she", v.FEMALE_PRONOUNS))
    return next((kind for kind, words in kinds if pronoun in words), "it")


def _joined(groups: Iterable[Group]) -> Group:
    return tuple(index for group in groups for index in group)
