"""Coordination: which noun phrases stand together ("a cat, a dog and a bird")."""

from __future__ import annotations

from collections.abc import Sequence

from spatialguide_parsers.english.elements import Element

#: Longer lists are no language, and reading them again from every noun would take quadratic time.
_MOST_LISTED = 40
_CLAUSE_STARTS = frozenset({"link", "be", "verb", "participle", "preposition"})


def group_end(elements: Sequence[Element], start: int, grounds: int, listed: bool = True) -> tuple[list[int], int]:
    """Noun phrases that stand together from `start` on.

    Args:
        elements: elements of the prompt.
        start: place of the first noun phrase.
        grounds: how many things the phrase before needs; 0 outside a phrase of place. After a phrase, "and C s D"
            begins a clause of its own and C is left out, unless the phrase still needs a ground.
        listed: whether commas can join. They cannot in "under a parasol, two chairs and a cooler".

    Returns:
        Places of the noun phrases, and of the element after the last.
    """
    places = [start]
    end = start + 1
    while True:
        more = _joined(elements, end) or (_listed(elements, end) if listed else [])
        if not more:
            return places, end
        if 0 < grounds <= len(places) and _kind(elements, more[-1] + 1) in _CLAUSE_STARTS:
            return places, end
        places += more
        end = more[-1] + 1


def _kind(elements: Sequence[Element], at: int) -> str:
    return elements[at].kind if at < len(elements) else "stop"


def _joined(elements: Sequence[Element], at: int) -> list[int]:
    """The noun after "and"."""
    return [at + 1] if [_kind(elements, at), _kind(elements, at + 1)] == ["and", "noun"] else []


def _listed(elements: Sequence[Element], at: int) -> list[int]:
    """The nouns of ", B, C and D": a comma joins only where an "and" ends the list."""
    places: list[int] = []
    while len(places) < _MOST_LISTED and [_kind(elements, at), _kind(elements, at + 1)] == ["comma", "noun"]:
        places.append(at + 1)
        at += 2
    at += _kind(elements, at) == "comma"
    return [*places, *_joined(elements, at)] if places and _joined(elements, at) else []
