"""Plan many scenes with all cores."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import cache

import numpy as np

from training.world import Looks, Plans, make_scene

#: Scenes of one task; they are seeded together.
TASK = 1000


@cache
def _looks() -> Looks:
    return Looks()


def _task(seed: int, part: int) -> tuple[Plans, list[str]]:
    rng = np.random.default_rng((seed, part))
    scenes = [make_scene(rng, _looks()) for _ in range(TASK)]
    return Plans.of(scenes), [scene.caption for scene in scenes]


def make_plans(seed: int, count: int) -> tuple[Plans, list[str]]:
    """Scenes and their captions; a function of the seed alone, so resuming is exact. Forks: call it before a GPU is used."""
    parts = range(-(-count // TASK))
    if len(parts) == 1:
        found = [_task(seed, 0)]
    else:
        with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork")) as pool:
            found = list(pool.map(_task, [seed] * len(parts), parts))
    columns = (np.concatenate([getattr(plans, field.name) for plans, _ in found]) for field in fields(Plans))
    return Plans(*columns)[:count], [text for _, texts in found for text in texts][:count]
