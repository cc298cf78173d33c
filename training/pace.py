"""How many steps a run takes: as many as it is told, or as a time allows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

#: Steps that are left out of the timing (they compile and record), and up to which it goes.
WARM, TIMED = 20, 120


class Pace:
    """Numbers of steps, from `start`; how many there are is planned anew after TIMED steps where minutes are given."""

    def __init__(self, start: int, steps: int, minutes: float | None) -> None:
        self.start, self.steps, self.minutes, self.began = start, steps, minutes, time.time()

    def __iter__(self) -> Iterator[int]:
        step, timed = self.start, self.began
        while step < self.steps:
            if self.minutes is not None and step in (WARM, TIMED):
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                if step == TIMED:
                    left = 60 * self.minutes - self.seconds
                    self.steps = TIMED + max(0, int(left * (TIMED - WARM) / (time.time() - timed)))
                timed = time.time()
            yield step
            step += 1

    def ends(self, step: int) -> bool:
        """Whether this step is the last."""
        return step >= self.steps - 1

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.time() - self.began
