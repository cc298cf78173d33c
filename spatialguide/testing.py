"""What the tests of a plugin need: statistics of maps that you draw, scenes, and what a term does to a map.

>>> maps = {"coarse": blobs([(0.2, 0.5), (0.8, 0.5)])}
>>> scene = planned("a cat to the left of a dog", [("cat", "left_of", "dog")])
>>> statistics(maps, scene).distances.round(decimals=1)
tensor([[[0.6000]]])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spatialguide.guidance.statistics import LayerMaps, ObjectStatistics, object_statistics
from spatialguide.registry import Registry, default_registry
from spatialguide.scenes.planned import PlannedScene, Structure, plan
from spatialguide.scenes.records import scene_from_triples


def planned(
    prompt: str, triples: Iterable[tuple[str, str, str | Sequence[str]]], registry: Registry | None = None
) -> PlannedScene:
    """A scene from (subject, predicate, ground or grounds), with its predicates: what a term is called with.

    Args:
        registry: plugins; all installed ones by default.
    """
    return plan(scene_from_triples(prompt, triples), (registry or default_registry()).relations())


def statistics(
    maps: Tensor | Mapping[str, Tensor | Sequence[Tensor]], scene: Structure, map_size: int | None = None
) -> ObjectStatistics:
    """Object statistics of maps, as a term is called with.

    Args:
        maps: (images, objects, height, width), not negative, of one layer at the levels "coarse" and "mid"; or by level, a
            tensor or several for as many layers.
        scene: whose relations `distances` are of.
    """
    by_level: Mapping[str, Any] = dict.fromkeys(("coarse", "mid"), maps) if isinstance(maps, Tensor) else maps
    layers = [
        LayerMaps(level, each)
        for level, given in by_level.items()
        for each in ([given] if isinstance(given, Tensor) else given)
    ]
    return object_statistics(layers, scene, map_size)


def blobs(centres: Sequence[tuple[float, float]], size: int = 16, spread: float = 0.1) -> Tensor:
    """One image with a round spot of attention for each object, (1, objects, size, size).

    Args:
        centres: (x, y) in [0, 1], as `ObjectStatistics.centroid` counts. spread: standard deviation, in image sides.
    """
    grid = torch.linspace(0, 1, size)
    spots = [torch.outer(*((-((grid - middle) ** 2) / (2 * spread**2)).exp() for middle in (y, x))) for x, y in centres]
    return torch.stack(spots)[None]
