"""What guidance costs beside the denoiser does not grow with the batch; counts are exact."""

from __future__ import annotations

import pytest

from spatialguide import SpatialGuide
from spatialguide.config import GuidanceConfig, GuideConfig
from spatialguide.evaluation.operators import BATCHES, AddedOperators, added_operators, scoring_operators, two_steps


@pytest.fixture(scope="module")
def guide() -> SpatialGuide:
    return SpatialGuide(two_steps(GuideConfig()))


@pytest.fixture(scope="module")
def added(guide: SpatialGuide) -> dict[str, AddedOperators]:
    return {name: added_operators(guide, *batch) for name, batch in BATCHES.items()}


def test_the_cost_does_not_grow_with_the_batch(added: dict[str, AddedOperators]) -> None:
    one, same, different = added.values()
    assert one.added <= 1.4 * one.plain
    assert same.added <= 1.1 * one.added
    assert different.added <= 2 * one.added


def test_a_guided_step_waits_for_the_device_once_at_most(added: dict[str, AddedOperators]) -> None:
    assert all(found.waits <= 1 for found in added.values())


def test_scoring_is_a_small_part(guide: SpatialGuide) -> None:
    assert scoring_operators(guide, "a cat to the left of a dog") <= 440


def test_a_bias_costs_a_sixth_of_a_plain_steps_operators_and_never_waits() -> None:
    config = GuideConfig(guidance=GuidanceConfig(method="bias"))
    found = added_operators(SpatialGuide(two_steps(config)), *BATCHES["one image"])
    assert found.added <= found.plain / 2 / 6
    assert found.waits == 0
