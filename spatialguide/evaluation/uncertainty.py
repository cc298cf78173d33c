"""How sure a figure is: bootstrap intervals over prompts, and a paired test between two methods.

Images of one prompt are not independent of each other, so prompts are resampled, with all their images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_FLIPS = 10 * RESAMPLES
#: The smallest p-value that so many flips can give.
LEAST_P = 1 / _FLIPS
_ROWS_AT_ONCE = 100
_JACKKNIFE_GROUPS, _JACKKNIFE_LEAST = 40, 3
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Interval:
    """A 95% confidence interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.1f} to {self.high:.1f}"


@dataclass(frozen=True)
class Figure:
    """A value and its 95% confidence interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """Method B against method A on the same prompts and seeds. p_value: two-sided, of no difference."""

    difference: float
    interval: Interval
    p_value: float


def bootstrap(
    per_prompt: NDArray[np.float64], figures: Callable[[NDArray[np.float64]], NDArray[np.float64]], seed: int = 0
) -> list[Interval]:
    """Percentile intervals of figures that follow from sums over prompts.

    Args:
        per_prompt: (prompts, quantities), what is summed over prompts.
        figures: sums (resamples, quantities) to figures (resamples, figures); NaN where one is not defined.

    Returns:
        One interval per figure; NaN where no resample defines it.
    """
    prompts = per_prompt.shape[0]
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, RESAMPLES, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, RESAMPLES - start)
        counts = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=rows)
        parts.append(figures(counts.astype(np.float64) @ per_prompt))
    values = np.concatenate(parts)
    return [_interval(values[:, column]) for column in range(values.shape[1])]


def mean_figure(per_prompt: NDArray[np.float64], seed: int = 0) -> Figure:
    """Mean over prompts, with its bootstrap interval."""
    columns = np.stack([per_prompt, np.ones_like(per_prompt)], axis=1)
    (interval,) = bootstrap(columns, lambda sums: sums[:, :1] / sums[:, 1:], seed)
    return Figure(float(per_prompt.mean()), interval)


def jackknife(prompts: int, figure: Callable[[NDArray[np.int64]], float]) -> Figure:
    """A figure that does not follow from sums, with an interval from leaving out a group of prompts at a time.

    Args:
        prompts: how many there are.
        figure: the figure of the prompts of the given numbers.

    Returns:
        The interval is NaN for fewer than three prompts.
    """
    numbers = np.arange(prompts)
    value = figure(numbers)
    groups = min(prompts, _JACKKNIFE_GROUPS)
    if groups < _JACKKNIFE_LEAST:
        return Figure(value, Interval(float("nan"), float("nan")))
    left_out = np.array([figure(numbers[numbers % groups != group]) for group in range(groups)])
    error = float(np.sqrt((groups - 1) * left_out.var()))
    return Figure(value, Interval(value - _NORMAL_95 * error, value + _NORMAL_95 * error))


def compare(first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0) -> Comparison:
    """Paired comparison of two methods.

    Args:
        first, second: (prompts,), each method's value per prompt, in the same order.

    Returns:
        Mean difference (second - first), its bootstrap interval, and the p-value of a sign-flip permutation test over
        prompts: were the methods alike, each prompt's difference could as well have the other sign.

    Raises:
        ValueError: the arrays differ in shape or are empty.
    """
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(f"two methods need one value for each of the same prompts, not {first.shape} and {second.shape}")
    difference = second - first
    observed = float(difference.mean())
    rng = np.random.default_rng(seed)
    as_large = 0
    for start in range(0, _FLIPS, _ROWS_AT_ONCE):
        signs = rng.choice((-1.0, 1.0), size=(min(_ROWS_AT_ONCE, _FLIPS - start), difference.size))
        as_large += int((np.abs(signs @ difference / difference.size) >= abs(observed) - 1e-12).sum())
    return Comparison(observed, mean_figure(difference, seed).interval, (as_large + 1) / (_FLIPS + 1))


def _interval(values: NDArray[np.float64]) -> Interval:
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(known, (2.5, 97.5))
    return Interval(float(low), float(high))
