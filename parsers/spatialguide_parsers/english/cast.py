"""The cast: the objects of a scene while it is read, and which of them a noun phrase means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from spatialguide.scenes.scene import SceneObject, Span
from spatialguide_parsers.english.nouns import Mention
from spatialguide_parsers.english.vocabulary import ONES

#: How many objects back "the X" is looked up; without a bound, long prompts would take quadratic time.
_NEARBY = 200


@dataclass
class _Member:
    mention: Mention
    attributes: list[str] = field(default_factory=list)
    again: set[Span] = field(default_factory=set)


class Cast:
    """Objects in the order of their first mention."""

    def __init__(self) -> None:
        self._members: list[_Member] = []
        #: Whether the prompt corrects itself: "a candle above a mirror, I meant a candle below a mirror" has one candle.
        self.corrects = False

    def resolve(self, mention: Mention, apart_from: Sequence[int] = ()) -> int:
        """Index of the object that a mention means: an earlier one for "the X" and a bare "X", else a new one.

        Args:
            mention: the noun phrase.
            apart_from: objects that it cannot mean, because a phrase relates it to them.
        """
        named = mention.text not in ONES or not self._members
        if not named:
            mention = self._named(mention)
        known = self.known(mention, apart_from)
        if known is not None:
            if named and mention.span != self._members[known].mention.span:
                self._members[known].again.add(mention.span)
            return known
        self._members.append(_Member(mention, list(mention.attributes)))
        return len(self._members) - 1

    def _named(self, mention: Mention) -> Mention:
        """ "a red one", "the short one": named after the object that has these attributes, else after the last."""
        described = (m for m in reversed(self._members) if set(mention.attributes) <= set(m.attributes))
        if {"left", "right"} & set(mention.attributes):
            described = (m for m in reversed(self._members) if m.mention.count != 1)  # "the right one" of several
        model = next(described, self._members[-1]) if not mention.fresh else self._members[-1]
        return replace(mention, text=model.mention.text, head=model.mention.head)

    def known(self, mention: Mention, apart_from: Sequence[int] = ()) -> int | None:
        """Index of the earlier object that a mention means, if there is one."""
        if mention.fresh and not self.corrects:
            return None
        candidates = (index for index in reversed(range(len(self._members))[-_NEARBY:]) if index not in apart_from)
        return next((index for index in candidates if self._same(self._members[index], mention)), None)

    def _same(self, member: _Member, mention: Mention) -> bool:
        known = member.mention
        said = {*mention.attributes, *mention.text.split()}
        number = (known.count == 1) == (mention.count == 1)
        return known.head == mention.head and number and said <= {*member.attributes, *known.text.split()}

    def describe(self, index: int, attributes: Sequence[str]) -> None:
        """Add what a sentence says about an object: "the ball is red"."""
        known = self._members[index].attributes
        known.extend(word for word in attributes if word not in known)

    def size(self) -> int:
        """How many objects there are."""
        return len(self._members)

    def name(self, index: int) -> str:
        """Name of an object, for messages."""
        return self._members[index].mention.text

    def head(self, index: int) -> str:
        """Last noun of an object's name."""
        return self._members[index].mention.head

    def count(self, index: int) -> int | None:
        """How many there are; None for an open plural."""
        return self._members[index].mention.count

    def objects(self) -> tuple[SceneObject, ...]:
        """The objects of the scene."""
        return tuple(
            SceneObject(
                text=m.mention.text,
                head=m.mention.head,
                attributes=tuple(m.attributes),
                count=m.mention.count,
                span=m.mention.span,
                phrase=m.mention.phrase,
                again=tuple(sorted(m.again)),
            )
            for m in self._members
        )
