"""Which calls of the denoiser are guided: by timestep, the window, and patience."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from spatialguide.config import GuidanceConfig
from spatialguide.guidance.steering import Steer

#: Where in the sampling an image is looked at to be ranked, as a fraction: the layout is there by then, and the default's
#: guidance over.
RANKED = 0.4


@dataclass(frozen=True)
class StepPlan:
    """What is done with a call of the denoiser.

    index: number of its sampling step. progress: how much of the sampling is done before it. timestep: as a number.
    guided: it is corrected.
    biased: its attention is steered.
    split: the parts of its batch run one after the other. So they do in guided calls, and in those that would be guided if not
        all images had finished before: an image is to come out the same, to the last bit, whether the others of its batch have
        finished or not.
    observed: its maps are scored. That alone changes no bit.
    ranked: candidates are ranked by its maps.
    """

    index: int
    progress: float
    timestep: float
    guided: bool
    biased: bool
    split: bool
    observed: bool
    ranked: bool


class Schedule:
    """The steps of one generation, counted from the first that runs: image to image runs the schedule's last part, SDXL's base
    before a refiner its first. Keyed on the timestep's value, since some schedulers call more than once a step, and some
    pipelines copy their scheduler.

    Args:
        config: method, window, strength, patience.
        watched: every step is observed.
        steers: their windows are those of the bias.
    """

    def __init__(self, config: GuidanceConfig, watched: bool, steers: Sequence[Steer] = ()) -> None:
        self._config, self._watched, self._steers = config, watched, steers
        self._tensor: Tensor | None = None
        self._values: list[float] = []
        self._visited: list[float] = []
        self._last = -1
        self._held: Tensor | None = None
        self._counted = -1
        self._all_finished = False

    def plan(self, pipeline: Any, timestep: Any) -> StepPlan | None:
        """What is done with the call at a timestep; None where it is left alone."""
        value = self._value(pipeline.scheduler, timestep)
        if not self._visited or value not in self._visited or self._visited.index(value) < self._last:
            self._begin(pipeline, value)
        self._last = index = _nearest(self._visited, value)
        run, (start, stop) = len(self._visited), self._config.window
        every = {"gradient": 1, "bias": None}.get(self._config.method, self._config.every)
        in_turn = self._config.strength > 0 and start <= index / run < stop
        in_turn = in_turn and every is not None and (index - math.ceil(start * run)) % every == 0
        guided = in_turn and not self._all_finished
        biased = bool(self.active(index / run))
        ranked = self._config.best_of > 1 and index == min(math.ceil(RANKED * run), run - 1)
        observed = guided or biased or ranked or self._watched
        return StepPlan(index, index / run, value, guided, biased, in_turn, observed, ranked) if in_turn or observed else None

    def active(self, progress: float) -> list[Steer]:
        """The steerings of a step after so much of the sampling."""
        steered = self._config.strength > 0 and self._config.method != "gradient"
        return [steer for steer in self._steers if steered and steer.active(progress)]

    def unfinished(self, holds: Tensor, index: int) -> Tensor:
        """Images whose relations have not yet held for `patience` guided steps in a row, (images,); counts this step once.

        Once finished stays finished, so that an image does not depend on the others in its batch.

        Args:
            holds: whether an image's relations hold now.
        """
        held = torch.zeros_like(holds, dtype=torch.long) if self._held is None else self._held
        finished = held >= (self._config.patience or 0)
        if index != self._counted:
            held = torch.where(finished, held, (held + 1) * holds)
        self._held, self._counted = held, index
        if self._config.method != "bias":  # only corrections are spared by all being done
            self._all_finished = bool((held >= (self._config.patience or 0)).all())
        return ~finished

    def _begin(self, pipeline: Any, value: float) -> None:
        first = _nearest(self._values, value)
        run = getattr(pipeline, "num_timesteps", len(self._values) - first)
        self._visited = [value for value, _ in groupby(self._values[first : first + run])]
        self._held, self._counted, self._all_finished = None, -1, False

    def _value(self, scheduler: Any, timestep: Any) -> float:
        """The timestep as a number, without waiting for the device where it is one of the scheduler's own."""
        tensor: Tensor = scheduler.timesteps
        if self._tensor is not tensor:
            self._tensor, self._values = tensor, [float(value) for value in tensor.tolist()]
        if isinstance(timestep, Tensor) and timestep.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
            return self._values[(timestep.storage_offset() - tensor.storage_offset()) // tensor.stride(0)]
        # Half precision and a change of units lose digits.
        value = float(torch.as_tensor(timestep).flatten()[0])
        return self._values[_nearest(self._values, value)]


def _nearest(values: list[float], value: float) -> int:
    return min(range(len(values)), key=lambda index: abs(values[index] - value))
