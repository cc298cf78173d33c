"""What calibration tries: configurations that differ in layers, method, window and strength; and prompts to draw."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import product, zip_longest
from typing import Any

from spatialguide.config import GuideConfig, patched
from spatialguide.contracts import Benchmark
from spatialguide.guide import SpatialGuide

CONFIGURED = "configured"
#: Things that most models draw, for those without a vocabulary: of COCO's names.
NOUNS = ("cat", "dog", "horse", "car", "bus", "bicycle", "chair", "bench", "clock", "vase", "book", "pizza", "apple")
WINDOWS = (0.2, 0.4, 0.6)
STRENGTHS = {"relative": (1.0, 2.0, 4.0), "paper": (300.0, 1000.0, 3000.0)}
BIASES = (1.0, 2.0, 4.0)


def default_prompts(guide: SpatialGuide, nouns: Sequence[str] | None, count: int, seed: int) -> list[str]:
    """Prompts of two and three objects by turns, from the benchmark "multi".

    Args:
        nouns: by default the backend's vocabulary, or `NOUNS`.
    """
    names = list(nouns or guide.backend.vocabulary or NOUNS)
    made: Benchmark = guide.registry.make("benchmarks", "multi", {"objects": (2, min(3, len(names))), "names": names})
    return [case.prompt for case in made.cases(None, count, seed)]


def candidates(config: GuideConfig, sets: Mapping[str, Any], methods: Sequence[str], seed: int) -> dict[str, GuideConfig]:
    """Configurations to try in an order by chance, methods by turns; the given one first."""
    rng, by_method = random.Random(seed), []
    for method in methods:
        grid = list(product(sets, WINDOWS, range(len(BIASES))))
        rng.shuffle(grid)
        by_method.append([(method, *each) for each in grid])
    found = {CONFIGURED: config}
    for method, name, window, level in (each for turn in zip_longest(*by_method) for each in turn if each is not None):
        strength, bias = STRENGTHS[config.guidance.mode][level], BIASES[level]
        changes: dict[str, Any] = {"guidance.method": method, "guidance.layers": sets[name], "guidance.strength": strength}
        if method != "bias":
            changes["guidance.window"] = [0.0, window]
        if method != "gradient":
            changes |= {f"steerings.boxes.{key}": bias for key in ("inside", "outside")}
            changes["steerings.boxes.window"] = [0.0, window]
        how = {"gradient": f"{strength:g}", "bias": f"{bias:g}", "both": f"{strength:g} and {bias:g}"}[method]
        found[f"{method} {how}, to {window:g}, layers: {name}"] = patched(config, changes)
    return found
