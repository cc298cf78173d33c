"""How well an image's maps show its scene: what `best_of` ranks candidates by, without a detector."""

from __future__ import annotations

from torch import Tensor

from spatialguide.statistics import ObjectStatistics

#: Distance at which a relation counts as held for sure, in image sides.
MARGIN = 0.25


def satisfaction(statistics: ObjectStatistics, distances: Tensor) -> Tensor:
    """Score of each image, (images,), without a graph; higher is better, and only images of one scene compare.

    Args:
        statistics: of images that share one scene.
        distances: signed distances of the scene's relations, (images, relations).
    """
    held = (distances / MARGIN).clamp(-1, 1).mean(dim=1) if distances.shape[1] else distances.new_zeros(distances.shape[0])
    return held
