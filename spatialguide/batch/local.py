"""The local engine: one process and one model; reading, drawing and writing overlap."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from spatialguide.batch.painter import Painter, Prepared
from spatialguide.batch.requests import Unit
from spatialguide.batch.store import Store, UnitReport

#: Units that may wait to be written, so that memory stays flat where writing is slower than drawing.
_WAITING = 2


def run_local(units: Iterable[Unit], painter: Painter, store: Store) -> Iterator[UnitReport]:
    """Draw and commit units in order: while one is drawn, the next is parsed and the last is written."""
    painter.load()
    source = iter(units)

    def following() -> Prepared | None:
        unit = next(source, None)
        return None if unit is None else painter.prepare(unit)

    with ThreadPoolExecutor(1, "parse") as parser, ThreadPoolExecutor(1, "write") as writer:
        written: deque[Future[UnitReport]] = deque()
        coming = parser.submit(following)
        while (prepared := coming.result()) is not None:
            coming = parser.submit(following)
            written.append(writer.submit(store.commit, prepared.unit, painter.paint(prepared)))
            while len(written) > _WAITING or (written and written[0].done()):
                yield written.popleft().result()
        while written:
            yield written.popleft().result()
