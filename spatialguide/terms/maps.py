"""What loss terms do with whole maps: masks of boxes, smoothing, normalisation; gradients are finite for every map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from spatialguide.guidance.constants import constant
from spatialguide.scenes.layout import Box

#: Below this a map counts as empty, or as flat.
_TINY = 1e-8


def layer_mean(values: Iterable[Tensor]) -> Tensor:
    """Mean over layers of one (images,) tensor per layer."""
    return torch.stack(list(values)).mean(dim=0)


def box_masks(boxes: Sequence[Box], maps: Tensor) -> Tensor:
    """Which cells of the maps' grid have their centre in each box; the nearest cells where a box holds none.

    Args:
        boxes: one per object.
        maps: (..., height, width), for its grid, device and dtype.

    Returns:
        (objects, height, width); ones and zeros.
    """
    edges = constant(tuple(boxes), maps).view(-1, 4)
    middle, half = (edges[:, :2] + edges[:, 2:]) / 2, (edges[:, 2:] - edges[:, :2]) / 2
    columns, rows = axis_masks(middle, half, maps)
    return rows[..., :, None] * columns[..., None, :]


def axis_masks(middle: Tensor, half: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The columns and the rows of the maps' grid that each box covers, see `box_masks`.

    Args:
        middle: of each box, (..., objects, 2), x then y. half: of its size, alike.

    Returns:
        (..., objects, width) and (..., objects, height).
    """
    height, width = maps.shape[-2:]
    if height == width:
        columns, rows = _covered(middle, half, width).unbind(dim=-2)
    else:
        columns, rows = (_covered(middle[..., axis], half[..., axis], size) for axis, size in ((0, width), (1, height)))
    return columns, rows


def _covered(middle: Tensor, half: Tensor, cells: int) -> Tensor:
    """Cells whose centre lies no farther from the middle than half, or than the nearest cell's: (..., cells)."""
    centres = constant(tuple((number + 0.5) / cells for number in range(cells)), middle)
    distance = (middle[..., None] - centres).abs()
    return (distance <= torch.maximum(half[..., None] + _TINY, distance.amin(dim=-1, keepdim=True))).to(middle.dtype)


def top_mean(values: Tensor, cells: Tensor, fraction: float) -> Tensor:
    """Mean over the largest values, as many as `fraction` of the marked cells but at least one.

    Args:
        values: (images, objects, height, width).
        cells: ones and zeros that broadcast over them.

    Returns:
        (images, objects).
    """
    ranked = values.flatten(2).sort(dim=-1, descending=True).values
    return (ranked * top_weights(cells.sum(dim=(-2, -1)), fraction, ranked.shape[-1])).sum(dim=-1)


def top_weights(cells: Tensor, fraction: float, length: int) -> Tensor:
    """1 / n for the first n of a ranking and else 0, (..., length), where n is `fraction` of the cells but at least one."""
    count = (cells * fraction).floor().clamp(min=1)[..., None]
    return (constant(tuple(map(float, range(length))), cells) < count) / count


def smoothed(maps: Tensor, sigma: float, kernel_size: int) -> Tensor:
    """Gaussian smoothing, edge cells repeated beyond the border; sigma 0 returns the maps.

    Args:
        maps: (images, objects, height, width).
        sigma: standard deviation in cells.
        kernel_size: side of the kernel in cells, odd.
    """
    if sigma == 0:
        return maps
    reach = kernel_size // 2
    kernel = (-(torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype) / sigma).square() / 2).softmax(dim=0)
    padded = functional.pad(maps.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1)).view_as(maps)


def distributions(maps: Tensor) -> Tensor:
    """Maps scaled to sum to one; an empty map counts as an even one."""
    total = maps.sum(dim=(-2, -1), keepdim=True)
    empty = total < _TINY
    return torch.where(empty, torch.full_like(maps, 1 / maps[0, 0].numel()), maps / total.masked_fill(empty, 1))


def superiority(first: Tensor, second: Tensor, gap: int = 0) -> Tensor:
    """P(x + gap < y) + P(x + gap = y) / 2 for cells x, y drawn from two distributions over an axis: how surely one is before.

    Args:
        first, second: of x and of y, (..., cells), each summing to one.

    Returns:
        (...).
    """
    cells = range(first.shape[-1])
    before = constant(tuple(tuple((1 + (j - i > gap) - (j - i < gap)) / 2 for j in cells) for i in cells), first)
    return (first[..., :, None] * second[..., None, :] * before).sum(dim=(-2, -1))


def stretched(maps: Tensor) -> Tensor:
    """Maps scaled to reach from 0 to 1; a flat map becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    span = high - low
    return (maps - low) / span.masked_fill(span < _TINY, 1)


def directions(maps: Sequence[Tensor]) -> Tensor:
    """Maps of all layers, averaged down to the smallest grid, as vectors of length one; an empty map stays zero.

    Args:
        maps: per layer, (images, objects, height, width).

    Returns:
        (images, layers, objects, cells).
    """
    size = min(m.shape[-2] for m in maps), min(m.shape[-1] for m in maps)
    vectors = torch.stack([functional.adaptive_avg_pool2d(m, size).flatten(2) for m in maps], dim=1)
    square = vectors.square().sum(dim=-1, keepdim=True)
    return vectors * square.masked_fill(square < _TINY**2, 1).rsqrt()
