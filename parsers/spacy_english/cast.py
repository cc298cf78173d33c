"""The cast: the objects of a scene while it is read, and which of them a noun phrase means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spatialguide.scene import SceneObject
from spatialguide_parsers.spacy_english.nouns import Mention


@dataclass
class _Member:
    mention: Mention
    attributes: list[str] = field(default_factory=list)


class Cast:
    """Objects in the order of their first mention."""

    def __init__(self) -> None:
        self._members: list[_Member] = []

    def resolve(self, mention: Mention, apart_from: Sequence[int] = ()) -> int:
        """Index of the object that a mention means: an earlier one for "the X" and a bare "X", else a new one.

        Args:
            mention: the noun phrase.
            apart_from: objects that it cannot mean, because a phrase relates it to them.
        """
        if not mention.fresh:
            for index in reversed(range(len(self._members))):
                if index not in apart_from and self._same(self._members[index], mention):
                    return index
        self._members.append(_Member(mention, list(mention.attributes)))
        return len(self._members) - 1

    def _same(self, member: _Member, mention: Mention) -> bool:
        known = member.mention
        shorter = mention.text == known.text or (not mention.attributes and mention.text == known.head)
        number = (known.count == 1) == (mention.count == 1)
        return shorter and number and set(mention.attributes) <= set(member.attributes)

    def describe(self, index: int, attributes: Sequence[str]) -> None:
        """Add what a sentence says about an object: "the ball is red"."""
        known = self._members[index].attributes
        known.extend(word for word in attributes if word not in known)

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
            )
            for m in self._members
        )
