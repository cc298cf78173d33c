"""The worker: draws and commits units, and notes in a ledger what it is at, so that a request that kills it is found."""

from __future__ import annotations

from collections.abc import Sequence

from spatialguide.batch.ledger import SINGLE_TRIES, WHOLE_TRIES, WRITE_TRIES, Book
from spatialguide.batch.painter import FAILED, Outcome, Painter
from spatialguide.batch.requests import Unit
from spatialguide.batch.store import Store, UnitReport
from spatialguide.errors import BatchError


class Worker:
    """One painter and where its units go. Both engines have it, Ray one in each actor.

    Args:
        ledger: outlives the process.
    """

    def __init__(self, painter: Painter, store: Store, ledger: Book) -> None:
        self.painter, self._store, self._ledger = painter, store, ledger

    def begin(self, unit: Unit) -> bool:
        """Note a unit, before it is even parsed. Whether it is to be drawn whole: it was not what workers died with."""
        return self._ledger.begin(_item(unit)) < WHOLE_TRIES

    def one_by_one(self, unit: Unit) -> list[Outcome]:
        """The unit's outcomes, where workers have died with it: what a worker died with twice by itself is poison."""
        outcomes = []
        for request in unit.requests:
            item = f"request {request.index}"
            if self._ledger.begin(item) < SINGLE_TRIES:
                outcomes += self.painter.paint(self.painter.prepare(Unit(unit.number, (request,))))
                self._ledger.end(item)
            else:  # the ledger keeps it: the unit may have to be begun again for another
                outcomes.append(Outcome(request, FAILED, error="the process that drew it died each time"))
        return outcomes

    def commit(self, unit: Unit, outcomes: Sequence[Outcome]) -> UnitReport:
        """Write what was drawn, and forget what was noted.

        Raises:
            BatchError: workers die while they write it.
        """
        writing = f"writing {_item(unit)}"
        if self._ledger.begin(writing) >= WRITE_TRIES:
            raise BatchError(f"workers die again and again while they write {_item(unit)}: is its --unit too large?")
        report = self._store.commit(unit, outcomes)
        self._ledger.end(writing, _item(unit), *(f"request {request.index}" for request in unit.requests))
        return report


def _item(unit: Unit) -> str:
    return f"unit {unit.number}"
