"""The ledger: what Ray's workers are at, kept where the death of a worker does not reach."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

#: How often a unit is begun as a whole before its requests are drawn one by one.
WHOLE_TRIES = 2
#: How often a request is begun by itself before it is set aside.
SINGLE_TRIES = 2
#: How many workers may die while they write one unit.
WRITE_TRIES = 5
#: How many workers may start in a row without anything being begun, beside the first ones and as many again: a machine that is
#: lost takes all of its workers at once.
_STARTS = 5


class Book(Protocol):
    """What workers do with a ledger, wherever it is."""

    def started(self) -> int:
        """A worker starts. How many have since something was last begun, this one included."""

    def begin(self, item: str) -> int:
        """Something is begun. How often it was before, without being finished."""

    def end(self, item: str) -> None:
        """Something is finished."""


class Ledger:
    """Counts what was begun and not finished."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._starts = 0

    def started(self) -> int:
        """See `Book`."""
        self._starts += 1
        return self._starts

    def begin(self, item: str) -> int:
        """See `Book`."""
        self._starts = 0
        self._begun[item] += 1
        return self._begun[item] - 1

    def end(self, item: str) -> None:
        """See `Book`."""
        del self._begun[item]


class RemoteLedger:
    """A ledger that is an actor of Ray's. Each note is waited for: the next moment may be the worker's last."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def started(self) -> int:
        """See `Book`."""
        return int(self._asked(self._actor.started.remote()))

    def begin(self, item: str) -> int:
        """See `Book`."""
        return int(self._asked(self._actor.begin.remote(item)))

    def end(self, item: str) -> None:
        """See `Book`."""
        self._asked(self._actor.end.remote(item))

    @staticmethod
    def _asked(answer: Any) -> Any:
        import ray

        return ray.get(answer)


def too_many(starts: int, workers: int) -> bool:
    """Whether so many workers have started in a row that loading must be what they die of."""
    return starts > 2 * workers + _STARTS
