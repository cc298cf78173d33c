"""Where the objects of each image are to go: the nearest places to where they are in which all relations hold together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from spatialguide.layout import Box

#: Rounds of moving objects apart; each takes away most of what is still missing.
_ROUNDS = 40
#: Distances along an axis below this are no distances.
_SAME = 1e-6


def nearest_boxes(centres: Tensor, boxes: Sequence[Box], slack: float, fixed: Sequence[int] = ()) -> Tensor:
    """Boxes of the given sizes, as near to `centres` as can be, that keep the order of the given boxes.

    Two objects keep at least (1 - slack) of the distance that their given boxes' centres have, along each axis on which that
    distance is their largest. So the given boxes are one solution, and what they leave open follows the image. Solved by
    projecting on one distance after another until all hold (the method of projections onto convex sets).

    Args:
        centres: (..., objects, 2), in image sides.
        boxes: one per object, from `spatialguide.layout.boxes`.
        fixed: objects that keep their given box.

    Returns:
        (..., objects, 4), inside the picture, without a graph.
    """
    given = centres.new_tensor(list(boxes)).reshape(-1, 4)
    wanted, half = (given[:, :2] + given[:, 2:]) / 2, (given[:, 2:] - given[:, :2]) / 2
    first, second = _ordered(wanted)
    gaps = (1 - slack) * (wanted.flatten()[second] - wanted.flatten()[first])
    # A coordinate moves by the mean of what the distances ask of it.
    asking = torch.cat([first, second]).bincount(minlength=wanted.numel()).clamp(min=1)
    places = centres.detach().flatten(-2)
    low, high = half.clone(), 1 - half
    low[list(fixed)] = high[list(fixed)] = wanted[list(fixed)]
    low, high = low.flatten(), high.flatten()
    for _ in range(_ROUNDS):
        missing = (gaps - (places[..., second] - places[..., first])).relu() / 2  # each end goes half the way
        moves = torch.zeros_like(places).index_add(-1, second, missing).index_add(-1, first, -missing)
        places = (places + moves / asking).clamp(low, high)
    places = places.unflatten(-1, wanted.shape)
    return torch.cat([places - half, places + half], dim=-1)


def parts(boxes: Tensor, counts: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Each object's box cut into as many columns as the object is asked for.

    Args:
        boxes: (..., objects, 4).
        counts: per object.

    Returns:
        (..., parts, 4), and the object that each part belongs to.
    """
    owners = [index for index, count in enumerate(counts) for _ in range(count)]
    number = [part for count in counts for part in range(count)]
    of = boxes.new_tensor([counts[owner] for owner in owners])
    x0, y0, x1, y1 = boxes[..., owners, :].unbind(dim=-1)
    width = (x1 - x0) / of
    left = x0 + width * boxes.new_tensor(number)
    return torch.stack([left, y0, left + width, y1], dim=-1), owners


def _ordered(centres: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates that keep a distance, as places in the flattened (objects, 2): the lesser ones, the greater ones."""
    rows = []
    for i, j in combinations(range(centres.shape[0]), 2):
        distance = (centres[j] - centres[i]).tolist()
        longest = max(abs(d) for d in distance)
        ends = [(2 * i + axis, 2 * j + axis) for axis in (0, 1)]
        far = [longest - abs(d) < _SAME < longest for d in distance]
        rows += [end if d > 0 else end[::-1] for end, d, keep in zip(ends, distance, far, strict=True) if keep]
    first, second = torch.tensor(rows, dtype=torch.long, device=centres.device).reshape(-1, 2).unbind(dim=1)
    return first, second
