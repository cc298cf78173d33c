"""The ledger: what workers are at, kept where the death of a worker does not reach."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from spatialguide.batch.store import Store

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

    def end(self, *items: str) -> None:
        """These are finished."""


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

    def end(self, *items: str) -> None:
        """See `Book`."""
        for item in items:
            self._begun.pop(item, None)


class StoredLedger(Ledger):
    """A ledger in the store, as begun.json: every note is written before the next moment, which may be the process's last.

    As a context it is taken back to what it was where the run ends in any other way than the process's death: by an error, or
    by Ctrl+C.
    """

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store, self._lock = store, threading.Lock()
        self._before = store.begun()
        self._begun.update(self._before)

    def begin(self, item: str) -> int:
        """See `Book`."""
        with self._lock:
            before = super().begin(item)
            self._store.write_begun(self._begun)
            return before

    def end(self, *items: str) -> None:
        """See `Book`."""
        with self._lock:
            super().end(*items)
            self._store.write_begun(self._begun)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._begun = Counter({item: self._before[item] for item in self._begun if item in self._before})
            self._store.write_begun(self._begun if kind else {})


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

    def end(self, *items: str) -> None:
        """See `Book`."""
        self._asked(self._actor.end.remote(*items))

    @staticmethod
    def _asked(answer: Any) -> Any:
        import ray

        return ray.get(answer)


def too_many(starts: int, workers: int) -> bool:
    """Whether so many workers have started in a row that loading must be what they die of."""
    return starts > 2 * workers + _STARTS
