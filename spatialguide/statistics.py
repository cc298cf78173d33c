"""Object statistics: mass, peak, centroid and variance of every object's map, on every observed layer.

Coordinates are linspace(0, 1) per axis, y growing downwards, as in InfSplign (arXiv 2512.17851).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from spatialguide.errors import UnsupportedPipelineError
from spatialguide.observer import LayerMaps

_EPSILON = 1e-8


@dataclass(frozen=True)
class ObjectStatistics:
    """Statistics of images of one scene, or of scenes of one structure.

    Axes are (images, layers, objects), float32, differentiable.

    Attributes:
        levels: level name of each layer.
        mass: mean probability over the grid.
        peak: highest probability on the grid.
        centroid: (images, layers, objects, 2), x then y, in [0, 1].
        variance: mean squared distance from the centroid, in squared image sides.
        maps: per layer, (images, objects, height, width).
    """

    levels: tuple[str, ...]
    mass: Tensor
    peak: Tensor
    centroid: Tensor
    variance: Tensor
    maps: tuple[Tensor, ...]

    @property
    def place(self) -> Tensor:
        """Centroids as boxes are counted, from edge to edge of the grid: (images, layers, objects, 2), x then y, in [0, 1].

        `centroid` is counted from the first cell's middle to the last's, which on a coarse grid is a different thing.
        """
        cells = self.centroid.new_tensor([[m.shape[-1], m.shape[-2]] for m in self.maps])[:, None]
        return (self.centroid * (cells - 1) + 0.5) / cells

    def at(self, levels: Iterable[str]) -> ObjectStatistics:
        """The layers of the given levels only.

        Raises:
            UnsupportedPipelineError: no layer is at any of these levels.
        """
        wanted = tuple(levels)
        keep = [i for i, level in enumerate(self.levels) if level in wanted]
        if not keep:
            raise UnsupportedPipelineError(
                f"no observed layer is at level {' or '.join(wanted)}: set a term's levels to those observed, "
                f"{', '.join(sorted(set(self.levels)))}"
            )
        if len(keep) == len(self.levels):
            return self
        return ObjectStatistics(
            tuple(self.levels[i] for i in keep),
            self.mass[:, keep],
            self.peak[:, keep],
            self.centroid[:, keep],
            self.variance[:, keep],
            tuple(self.maps[i] for i in keep),
        )


def moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Centroid and variance of maps.

    mu = sum(map * xy) / sum(map);  sigma^2 = sum(map * |xy - mu|^2) / sum(map)   (InfSplign)

    Args:
        maps: (..., height, width), not negative.

    Returns:
        Centroid (..., 2) as (x, y), and variance (...).
    """
    height, width = maps.shape[-2:]
    y = torch.linspace(0, 1, height, device=maps.device, dtype=maps.dtype)
    x = torch.linspace(0, 1, width, device=maps.device, dtype=maps.dtype)
    weights = maps / (maps.sum(dim=(-2, -1), keepdim=True) + _EPSILON)
    along_x, along_y = weights.sum(dim=-2), weights.sum(dim=-1)
    centroid = torch.stack([(along_x * x).sum(dim=-1), (along_y * y).sum(dim=-1)], dim=-1)
    variance = (along_x * (x - centroid[..., :1]).square()).sum(dim=-1)
    variance = variance + (along_y * (y - centroid[..., 1:]).square()).sum(dim=-1)
    return centroid, variance


def object_statistics(layers: Sequence[LayerMaps], map_size: int | None = None) -> ObjectStatistics:
    """Statistics over layers.

    Args:
        layers: maps per layer, each (images, objects, height, width).
        map_size: resize the longer side to this first, bilinear and anti-aliased; None keeps native grids.
    """
    maps = tuple(layer.maps if map_size is None else _resized(layer.maps, map_size) for layer in layers)
    centroids, variances = zip(*(moments(m) for m in maps), strict=True)
    return ObjectStatistics(
        levels=tuple(layer.level for layer in layers),
        mass=torch.stack([m.mean(dim=(-2, -1)) for m in maps], dim=1),
        peak=torch.stack([m.amax(dim=(-2, -1)) for m in maps], dim=1),
        centroid=torch.stack(centroids, dim=1),
        variance=torch.stack(variances, dim=1),
        maps=maps,
    )


def _resized(maps: Tensor, longer_side: int) -> Tensor:
    height, width = maps.shape[-2:]
    scale = longer_side / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False, antialias=True)
