"""The local engine: one process and one model; reading, drawing and writing overlap."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from spatialguide.batch.ledger import StoredLedger
from spatialguide.batch.painter import Painter, Prepared
from spatialguide.batch.requests import Unit
from spatialguide.batch.store import Store, UnitReport
from spatialguide.batch.worker import Worker

#: Units that may wait to be written, so that memory stays flat where writing is slower than drawing.
_WAITING = 2


def run_local(units: Iterable[Unit], painter: Painter, store: Store) -> Iterator[UnitReport]:
    """Draw and commit units in order: while one is drawn, the next is parsed and the last is written.

    Each is noted in the store before it is begun. One with which processes have died is drawn by itself, request by request.
    """
    painter.load()
    ledger = StoredLedger(store)
    worker, source = Worker(painter, store, ledger), iter(units)

    def following() -> tuple[Unit, Prepared | None] | None:
        unit = next(source, None)
        return None if unit is None else (unit, painter.prepare(unit) if worker.begin(unit) else None)

    with ledger, ThreadPoolExecutor(1, "parse") as parser, ThreadPoolExecutor(1, "write") as writer:
        written: deque[Future[UnitReport]] = deque()
        coming = parser.submit(following)
        while (found := coming.result()) is not None:
            unit, prepared = found
            if prepared is None:
                while written:
                    yield written.popleft().result()
                outcomes = worker.one_by_one(unit)
                coming = parser.submit(following)
            else:
                coming = parser.submit(following)
                outcomes = painter.paint(prepared)
            written.append(writer.submit(worker.commit, unit, outcomes))
            while len(written) > _WAITING or (written and written[0].done()):
                yield written.popleft().result()
        while written:
            yield written.popleft().result()
