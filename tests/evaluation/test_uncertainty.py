from __future__ import annotations

import numpy as np
import pytest

from spatialguide.evaluation.uncertainty import bootstrap, compare


def mean(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[:, :1] / sums[:, 1:]


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        sample = (rng.random(100) < 0.3).astype(float)
        (interval,) = bootstrap(np.stack([sample, np.ones(100)], axis=1), mean, seed)
        covered += interval.low <= 0.3 <= interval.high
    assert 180 <= covered <= 200


def test_intervals_shrink_with_more_prompts_and_repeat() -> None:
    few, many = (np.stack([np.arange(n) % 2, np.ones(n)], axis=1).astype(float) for n in (20, 2000))
    (wide,), (narrow,) = bootstrap(few, mean), bootstrap(many, mean)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
    assert bootstrap(few, mean) == [wide]


def test_a_figure_that_is_never_defined_has_no_interval() -> None:
    (interval,) = bootstrap(np.zeros((5, 2)), mean)
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)


def test_methods_that_differ_and_methods_that_do_not() -> None:
    rng = np.random.default_rng(1)
    before = rng.normal(50, 10, 100)
    better = compare(before, before + 5 + rng.normal(0, 5, 100))
    assert better.difference == pytest.approx(5, abs=1.5)
    assert better.p_value < 0.001
    assert better.interval.low > 0
    same = compare(before, before + rng.normal(0, 5, 100))
    assert same.p_value > 0.05
    assert compare(before, before).p_value == 1


@pytest.mark.parametrize("sizes", [(2, 3), (0, 0)])
def test_values_must_be_paired(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="same prompts"):
        compare(np.zeros(sizes[0]), np.zeros(sizes[1]))
