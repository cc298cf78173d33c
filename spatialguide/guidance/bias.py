"""Method "bias": what steerings add to the scores of attention, call by call of the denoiser.

    softmax(q k^T / sqrt(d) + B),  B[pixel, token] = fade * sum_s weight_s bias_s[object of the token, pixel]

B is finite, and zero between pixels, so that the picture stays one. Nothing needs a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from spatialguide.guidance.attention import Places, Seen, grid_of
from spatialguide.guidance.constants import constant
from spatialguide.guidance.scene_batch import Group, SceneBatch
from spatialguide.guidance.steering import Steer

#: Half precision ends at 65504; beyond some tens there is nothing left to win.
_LIMIT = 1e4


@dataclass(frozen=True)
class Sight:
    """What the last step saw, which the next is steered by.

    places: of the objects of each group of a batch, (images, objects, 2). unmet: how far each image is from showing its
    relations, 0 to 1, (images,).
    """

    places: tuple[Tensor, ...]
    unmet: Tensor


@dataclass
class Bias:
    """What one call of the denoiser adds to the scores of its attention.

    Args:
        batch: the images of the call, and their scenes.
        steers: active ones.
        sight: of the last step; None at the first.
        places: where pixels and text stand among the tokens.
        first: row of the first image in what the denoiser receives; other rows are left alone.
    """

    batch: SceneBatch
    steers: Sequence[Steer]
    sight: Sight | None
    places: Places
    first: int
    _finest: Tensor | None = None
    _made: dict[tuple[object, ...], Tensor] = field(default_factory=dict)
    #: The last mask of the model's own, the bias, and both together: some models hand one mask to all of their layers.
    _joined: tuple[Tensor, Tensor, Tensor] | None = None

    def mask(self, seen: Seen) -> Tensor:
        """The mask of a call of attention with the bias added, of the query's type and broadcastable to its scores."""
        (rows, _, queries, _), keys = seen.query.shape, seen.key.shape[2]
        kind = rows, queries, keys, seen.query.dtype
        if kind not in self._made:
            self._made[kind] = self._scores(rows, queries, keys, seen.query)
        bias = self._made[kind]
        if seen.mask is None:
            return bias
        if self._joined is None or self._joined[0] is not seen.mask or self._joined[1] is not bias:
            own = seen.mask
            joined = bias.masked_fill(~own, float("-inf")) if own.dtype == torch.bool else bias + own.to(bias.dtype)
            self._joined = own, bias, joined
        return self._joined[2]

    def steered(self, group: Group) -> list[Steer]:
        """The active steerings that have something to say of a group's scene."""
        return [steer for steer in group.steers if steer in self.steers]

    def _scores(self, rows: int, queries: int, keys: int, like: Tensor) -> Tensor:
        """(rows, 1, queries, keys)."""
        marks = self.batch.tokens.marks(keys, self.places, like.device)  # (images, objects, keys)
        if self._finest is None:
            self._finest = self._objects(like.device)
        bias = self._finest
        if not self.places.joint and (size := grid_of(queries, self.places.size)) != self.places.size:
            bias = functional.adaptive_avg_pool2d(bias, size)
        scores = (bias.flatten(2).mT @ marks).to(like.dtype)  # (images, pixels, keys)
        made = like.new_zeros(rows, 1, queries, keys)
        starts, pixels = self.places.pixels or (0,), scores.shape[1]
        if len(set(starts)) == 1:
            made[self.first : self.first + len(scores), 0, starts[0] : starts[0] + pixels] = scores
        else:
            for image, start in enumerate(starts):
                made[self.first + image, 0, start : start + pixels] = scores[image]
        return made

    def _objects(self, device: torch.device) -> Tensor:
        """The bias of each object at each pixel of the finest grid, (images, objects, height, width), float32."""
        found, most, size = [], self.batch.tokens.objects, self.places.size
        for number, group in enumerate(self.batch.groups):
            if self.sight is None:
                places = constant(group.scene.middles, torch.empty(0, device=device)).expand(len(group.rows), -1, -1)
            else:
                places = self.sight.places[number]
            parts = [steer.bias(places, group.scene, size) for steer in self.steered(group)]
            bias = torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0] if parts else places.new_zeros(1, 1, 1, 1)
            bias = bias.expand(len(group.rows), places.shape[1], *size)
            beyond = most - places.shape[1]  # objects of other images
            found.append(functional.pad(bias, (0, 0, 0, 0, 0, beyond)) if beyond else bias)
        joined = self.batch.joined(found)
        if self.sight is not None:
            joined = joined * self.sight.unmet[:, None, None, None]
        return joined.nan_to_num(0.0).clamp(-_LIMIT, _LIMIT)
