"""VISOR's prompts (SR2D), over any list of object names."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations

#: SR2D's relations in its order.
RELATION_PHRASES = ("to the left of", "to the right of", "above", "below")


def sr2d_prompts(names: Sequence[str]) -> list[str]:
    """All two-object relation prompts: every unordered pair, every relation, both orders, numbered as SR2D numbers them."""
    import inflect

    engine = inflect.engine()
    article = {name: engine.an(name) for name in names}
    prompts = []
    for first, second in combinations(names, 2):
        for phrase in RELATION_PHRASES:
            prompts.append(f"{article[first]} {phrase} {article[second]}")
            prompts.append(f"{article[second]} {phrase} {article[first]}")
    return prompts


def sample_prompts(names: Sequence[str], count: int, seed: int) -> list[str]:
    """A sample spread evenly over the four relations, without repeats.

    Args:
        count: how many; all that there are, if fewer.
    """
    rng = random.Random(seed)
    by_phrase = {p: [t for t in sr2d_prompts(names) if f" {p} " in t] for p in RELATION_PHRASES}
    for prompts in by_phrase.values():
        rng.shuffle(prompts)
    mixed = [prompt for group in zip(*by_phrase.values(), strict=True) for prompt in group]
    return mixed[:count]
