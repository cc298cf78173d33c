"""How well an image's maps show its scene: what `best_of` ranks candidates by, without a detector."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.scenes.planned import Structure

#: Distance at which a relation counts as held for sure, in image sides: InfSplign's margin.
MARGIN = 0.25


def finest_maps(statistics: ObjectStatistics) -> Tensor:
    """Each object's map on the finest level, mean over its layers: (images, objects, height, width), no graph."""
    *_, last = layers = statistics.at((statistics.levels[-1],)).maps
    return torch.stack([maps for maps in layers if maps.shape == last.shape]).detach().mean(dim=0)


def satisfaction(statistics: ObjectStatistics, scene: Structure) -> Tensor:
    """min over relations of clip(d / MARGIN, -1, 1), minus the largest overlap of two objects' maps.

    On the finest level, where maps tell objects apart best. The overlap of two maps that sum to one is the sum of their smaller
    values: 0 for maps that are apart, 1 for equal ones; that of two objects which their relation puts in one place ("inside")
    does not count. The worst relation and the worst pair count, since one fault spoils an image.

    Returns:
        (images,), without a graph; higher is better, -inf where a map is not finite. Only images of one scene compare.
    """
    distances = statistics.at((statistics.levels[-1],)).distances.detach().mean(dim=1)
    score = distances.new_zeros(distances.shape[0])
    if scene.relations:
        score = (distances / MARGIN).clamp(-1, 1).amin(dim=1)
    pairs = [pair for pair in combinations(range(len(scene.counts)), 2) if pair not in scene.together]
    if pairs:
        maps = finest_maps(statistics).flatten(2)
        maps = maps / maps.sum(dim=-1, keepdim=True).clamp(min=1e-8)
        shared = [torch.minimum(maps[:, i], maps[:, j]).sum(dim=-1) for i, j in pairs]
        score = score - torch.stack(shared).amax(dim=0)
    return score.nan_to_num(nan=float("-inf"))
