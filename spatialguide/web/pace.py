"""How long a drawing still takes."""

from __future__ import annotations

import time
from collections.abc import Callable

#: The parts of a drawing, in order.
_PARTS = ("drawing unguided", "drawing guided")
#: A guided image takes about so many times as long: a guided step 1.5 to 4 times (`bench cost`), for 40% of the steps.
_GUIDED_COST = 1.5


class Pace:
    """An estimate from the steps that are done. clock: seconds, from any start."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._what, self._begun, self._at = "", 0.0, 0

    def left(self, what: str, done: int, total: int) -> float | None:
        """Seconds that are left once a step is done; None while nothing is known.

        Args:
            what, done, total: as a studio's `say` is told them.
        """
        now = self._clock()
        if what != self._what or done < self._at:
            self._what, self._begun, self._at = what, now, done
        if what not in _PARTS or done <= self._at:
            return None
        step = (now - self._begun) / (done - self._at)
        guided_to_come = total * _GUIDED_COST if what == _PARTS[0] else 0
        return step * (total - done + guided_to_come)


def in_words(seconds: float) -> str:
    """'about 40 s', 'about 3 min': no more exact than it is."""
    if seconds < 10:
        return f"about {max(1, round(seconds))} s"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s"
    return f"about {round(seconds / 60)} min"


def share(what: str, done: int, total: int) -> float | None:
    """How much of the drawing is done, both images together; None where there are no steps to count."""
    if not total:
        return None
    part = done / total
    if what not in _PARTS:
        return part
    whole = 1 + _GUIDED_COST
    return part / whole if what == _PARTS[0] else (1 + _GUIDED_COST * part) / whole
