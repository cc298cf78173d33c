"""Object statistics: mass, centroid and variance of every object's map, on every observed layer.

Coordinates are linspace(0, 1) per axis, y growing downwards, as in InfSplign (arXiv 2512.17851).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spatialguide.errors import UnsupportedPipelineError
from spatialguide.guidance.constants import constant, values_of
from spatialguide.scenes.planned import Structure

_EPSILON = 1e-8


@dataclass(frozen=True)
class LayerMaps:
    """Maps of one layer: (images, objects, height, width), the share of each place's attention, float32, differentiable.

    attributes: those of the scene's attributes, alike, where a term reads them.
    """

    level: str
    maps: Tensor
    attributes: Tensor | None = None


@dataclass(frozen=True)
class ObjectStatistics:
    """Statistics of images of one structure (counts and relations alike), float32, differentiable.

    Attributes:
        levels: level name of each layer, such as "coarse" or "mid". A layer that serves two levels stands there twice.
        maps: per layer, (images, objects, height, width): the share of each place's attention that goes to the object.
        mass: (images, layers, objects): mean of the map over the grid.
        centroid: (images, layers, objects, 2): x then y, in [0, 1].
        variance: (images, layers, objects): mean squared distance from the centroid, in squared image sides.
        distances: (images, layers, relations): signed distance of each of the scene's relations, in image sides, positive
            where it holds.
        attributes: per layer, (images, attributes, height, width): the maps of the scene's `attribute_spans`; empty unless a
            term `reads_attributes`, and where their tokens are not known.
    """

    levels: tuple[str, ...]
    maps: tuple[Tensor, ...]
    mass: Tensor
    centroid: Tensor
    variance: Tensor
    distances: Tensor
    attributes: tuple[Tensor, ...] = ()

    @property
    def peak(self) -> Tensor:
        """Highest value of each map, (images, layers, objects)."""
        return torch.stack([maps.amax(dim=(-2, -1)) for maps in self.maps], dim=1)

    @property
    def place(self) -> Tensor:
        """Centroids as boxes are counted, from edge to edge of the grid: (images, layers, objects, 2), x then y, in [0, 1].

        `centroid` is counted from the first cell's middle to the last's, which on a coarse grid is a different thing.
        """
        cells = np.array([[[maps.shape[-1], maps.shape[-2]]] for maps in self.maps])
        shares, offsets = values_of((cells - 1) / cells), values_of(0.5 / cells)
        return self.centroid * constant(shares, self.centroid) + constant(offsets, self.centroid)

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
        # Layers of one level stand together: a slice copies nothing.
        rows = slice(keep[0], keep[-1] + 1) if keep[-1] - keep[0] == len(keep) - 1 else keep
        tensors = {name: getattr(self, name)[:, rows] for name in ("mass", "centroid", "variance", "distances")}
        maps, attributes = (tuple(each[i] for i in keep if each) for each in (self.maps, self.attributes))
        return replace(self, levels=tuple(self.levels[i] for i in keep), maps=maps, attributes=attributes, **tensors)


def object_statistics(layers: Sequence[LayerMaps], scene: Structure, map_size: int | None = None) -> ObjectStatistics:
    """Statistics over layers.

    Args:
        layers: maps per layer, each (images, objects, height, width).
        scene: whose relations the distances are of.
        map_size: resize the longer side to this first, bilinear and anti-aliased; None keeps native grids.
    """
    given = ([layer.maps for layer in layers], [layer.attributes for layer in layers if layer.attributes is not None])
    maps, attributes = (tuple(each if map_size is None else _resized(each, map_size) for each in part) for part in given)
    total, centroid, variance = _moments(torch.stack([_sums(each) for each in maps], dim=1))
    columns = [relation.distance(centroid) for relation in scene.relations]
    cells = constant(values_of([[each.shape[-2] * each.shape[-1]] for each in maps]), total)
    return ObjectStatistics(
        levels=tuple(layer.level for layer in layers),
        maps=maps,
        mass=total / cells,
        centroid=centroid,
        variance=variance,
        distances=torch.stack(columns, dim=-1) if columns else total.new_zeros(*total.shape[:2], 0),
        attributes=attributes,
    )


def moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Centroid and variance of maps.

        mu = sum(map * xy) / sum(map);  sigma^2 = sum(map * |xy - mu|^2) / sum(map) = sum(map * |xy|^2) / sum(map) - |mu|^2

    Args:
        maps: (..., height, width), not negative.

    Returns:
        Centroid (..., 2) as (x, y), and variance (...).
    """
    _, centroid, variance = _moments(_sums(maps))
    return centroid, variance


def _sums(maps: Tensor) -> Tensor:
    """Sums of map * (1, x, y, x^2 + y^2) over the grid, (..., 4), x and y counted from the middle for the sake of precision."""
    height, width = maps.shape[-2:]
    # Not a matrix product, whose rounding depends on the number of rows: an image must not depend on the others in its batch.
    return (maps.flatten(-2)[..., None, :] * _powers(height, width, maps.dtype, maps.device)).sum(dim=-1)


@lru_cache(maxsize=64)
def _powers(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1, x, y and x^2 + y^2 of every cell, (4, cells); made once, as copying to a device takes time."""
    with torch.inference_mode(False):
        y, x = torch.meshgrid(
            *(torch.linspace(-0.5, 0.5, size, dtype=torch.float64) for size in (height, width)), indexing="ij"
        )
        return torch.stack([torch.ones_like(x), x, y, x**2 + y**2]).flatten(1).to(device, dtype)


def _moments(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the map, centroid and variance."""
    total = sums[..., 0]
    mean = sums[..., 1:] / (total + _EPSILON)[..., None]
    centre = mean[..., :2]
    return total, centre + 0.5, mean[..., 2] - centre.square().sum(dim=-1)


def _resized(maps: Tensor, longer_side: int) -> Tensor:
    height, width = maps.shape[-2:]
    scale = longer_side / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False, antialias=True)
