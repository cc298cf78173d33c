"""Attention layers of a model, ranked by how well their maps tell where objects will be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor

from spatialguide.contracts import LossTerm
from spatialguide.guidance.ranking import satisfaction
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.scenes.planned import Structure


class Watch(LossTerm):
    """Keeps the statistics of one image's every step, on layers that are each a level."""

    seen: list[Any] = Field(default_factory=list)

    def applies(self, scene: Structure) -> bool:
        return bool(scene.counts)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Tensor:
        shown = [float(satisfaction(statistics.at((level,)), scene)) for level in statistics.levels]
        self.seen.append((statistics.place[0].tolist(), shown, [maps[0, 0].numel() for maps in statistics.maps]))
        return statistics.mass.sum(dim=(1, 2))


@dataclass(frozen=True)
class RankedLayer:
    """An attention layer. cells: of its grid. agreement: how well it tells where objects will be, -1 to 1."""

    name: str
    cells: int
    agreement: float


def rank_layers(places: Mapping[str, Sequence[Any]], cells: Mapping[str, int], centres: Sequence[Any]) -> list[RankedLayer]:
    """Layers, the best first.

    Args:
        places: by layer, (x, y) of every object of every image. centres: where the detector found them, None where it did not;
            the mean of the other layers stands in for those.
    """
    points = np.array([places[name] for name in places])  # (layers, objects, 2)
    others = (points.sum(axis=0) - points) / (len(points) - 1) if len(points) > 1 else points
    known = np.array([centre is not None for centre in centres])
    given = np.array([centre or (0.0, 0.0) for centre in centres])
    ranked = []
    for name, own, rest in zip(places, points, others, strict=True):
        target = np.where(known[:, None], given, rest)
        with np.errstate(invalid="ignore", divide="ignore"):
            agreement = np.nan_to_num([np.corrcoef(own[:, axis], target[:, axis])[0, 1] for axis in (0, 1)]).mean()
        ranked.append(RankedLayer(name, cells[name], float(agreement)))
    return sorted(ranked, key=lambda layer: -layer.agreement)


def layer_sets(ranked: Sequence[RankedLayer]) -> dict[str, dict[str, list[str]]]:
    """The best layer at both levels, and the best two: the coarser one coarse, or both at both where their grids are alike."""
    (first, *_), two = ranked, sorted(ranked[:2], key=lambda layer: layer.cells)
    names = [layer.name for layer in two]
    alike = two[0].cells == two[-1].cells
    return {
        "best": {"coarse": [first.name], "mid": [first.name]},
        "best two": {"coarse": names if alike else names[:1], "mid": names if alike else names[1:]},
    }
