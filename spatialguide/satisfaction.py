"""How well an image's maps show its scene: what `best_of` ranks candidates by, without a detector."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import torch
from torch import Tensor

from spatialguide.statistics import ObjectStatistics

#: Distance at which a relation counts as held for sure, in image sides.
MARGIN = 0.25


def finest(statistics: ObjectStatistics) -> ObjectStatistics:
    """The layers of the finest level, where maps tell objects apart best."""
    return statistics.at((statistics.levels[-1],))


def finest_maps(statistics: ObjectStatistics) -> Tensor:
    """Each object's map, mean over the layers that have the last one's grid: (images, objects, rows, columns), no graph."""
    *_, last = layers = statistics.maps
    return torch.stack([maps for maps in layers if maps.shape == last.shape]).detach().mean(dim=0)


def satisfaction(statistics: ObjectStatistics, distances: Tensor, together: Collection[tuple[int, int]] = ()) -> Tensor:
    """min over relations of clip(d / MARGIN, -1, 1), minus the largest overlap of two objects' maps.

    The overlap of two maps that sum to one is the sum of their smaller values: 0 for maps that are apart, 1 for equal ones. The
    worst relation and the worst pair count, since one fault spoils an image.

    Args:
        statistics: of images that share one scene, of the `finest` level.
        distances: signed distances of the scene's relations on that level, (images, relations).
        together: pairs of objects whose maps may overlap, since their relation puts them in one place ("inside").

    Returns:
        (images,), without a graph; higher is better, -inf where a map is not finite. Only images of one scene compare.
    """
    images, _, objects = statistics.mass.shape
    score = statistics.mass.new_zeros(images)
    if distances.shape[1]:
        score = (distances / MARGIN).clamp(-1, 1).amin(dim=1)
    pairs = [pair for pair in combinations(range(objects), 2) if pair not in together]
    if pairs:
        maps = finest_maps(statistics).flatten(2)
        maps = maps / maps.sum(dim=-1, keepdim=True).clamp(min=1e-8)
        shared = [torch.minimum(maps[:, i], maps[:, j]).sum(dim=-1) for i, j in pairs]
        score = score - torch.stack(shared).amax(dim=0)
    return score.nan_to_num(nan=float("-inf"))
