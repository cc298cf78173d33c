from __future__ import annotations

import torch

from spatialguide.evaluation.memory import PeakMemory

MEGABYTES = 10**6


def peak(size: int) -> int | None:
    with PeakMemory(torch.device("cpu")) as memory:
        block = torch.ones(size, dtype=torch.uint8)
        del block
    return memory.used


def test_the_peak_of_a_block_is_found_though_it_is_freed() -> None:
    large = peak(300 * MEGABYTES)
    if large is None:  # the system does not tell
        return
    assert 290 * MEGABYTES < large < 400 * MEGABYTES
    # A later, smaller block has its own peak.
    small = peak(50 * MEGABYTES)
    assert small is not None
    assert 40 * MEGABYTES < small < 150 * MEGABYTES
