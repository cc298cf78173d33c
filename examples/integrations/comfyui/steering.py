"""The attention override: +strength on an object's words inside its box, -strength outside."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spatialguide import Scene
from spatialguide.scenes.layout import Box

#: Text encoders, in ComfyUI's words, of models whose attention to words is a call of its own: SD 1, SD 2, SDXL.
_KNOWN = ({"l"}, {"h"}, {"l", "g"})


def positions(clip: Any, scene: Scene) -> tuple[list[list[int]], int]:
    """Places of each object's tokens among the prompt's, and how many tokens the model reads in all.

    Raises:
        ValueError: other text encoders, or a name that is not found.
    """
    encoded = clip.tokenize(scene.prompt, return_word_ids=True)
    if set(encoded) not in _KNOWN:
        raise ValueError(f"Spatial Bias steers Stable Diffusion 1, 2 and XL; this CLIP has the encoders {sorted(encoded)}")
    name = "l" if "l" in encoded else "h"
    rows = [token for row in encoded[name] for token in row]
    # A word's number is 0 for what is none: start, end, padding.
    places = [place for place, (_, _, word) in enumerate(rows) if word]
    # A textual inversion's tokens are tensors.
    ids = [token if isinstance(token := rows[place][0], int) else None for place in places]
    found = []
    for item in scene.objects:
        text = scene.prompt[slice(*item.span)]
        wanted = [token for row in clip.tokenize(text, return_word_ids=True)[name] for token, _, word in row if word]
        before = len(re.findall(rf"(?<!\w){re.escape(text)}(?!\w)", scene.prompt[: item.span.start], re.IGNORECASE))
        starts = [start for start in range(len(ids)) if ids[start : start + len(wanted)] == wanted]
        if len(starts) <= before:
            raise ValueError(f"'{text}' is not found among the prompt's tokens: write it without brackets and weights")
        found.append(places[starts[before] : starts[before] + len(wanted)])
    return found, len(rows)


class Steering:
    """What ComfyUI calls in attention's place.

    Args:
        words: places of each object's tokens.
        boxes: one for each object, in image sides.
        length: tokens that the model reads.
        strength: added to the scores inside the box, taken from those outside.
        stop: part of the sampling steps that is steered.
        before: the override that was there.
    """

    def __init__(
        self,
        words: Sequence[Sequence[int]],
        boxes: Sequence[Box],
        length: int,
        strength: float,
        stop: float,
        before: Callable[..., Tensor] | None = None,
    ) -> None:
        self._words, self._boxes, self._length, self._strength, self._stop = words, boxes, length, strength, stop
        self._before = before
        self._step: tuple[Any, bool] = (None, False)
        self._made: dict[tuple[int, int], Tensor] = {}

    def __call__(self, attention: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Attention, with the bias as its mask where a conditional row's pixels look at words."""
        options = kwargs.get("transformer_options") or {}
        queries, keys = args[:2]
        # A call with a mask of its own is another node's.
        free = kwargs.get("mask") is None and not any(each is not None for each in args[4:5])
        if free and self._is_on(options):
            bias = self._bias(queries, keys, options)
            if bias is not None:
                args, kwargs = args[:4], {**kwargs, "mask": bias}
        if self._before is not None:
            return self._before(attention, *args, **kwargs)
        return attention(*args, **kwargs)

    def _is_on(self, options: dict[str, Any]) -> bool:
        now, schedule = options.get("sigmas"), options.get("sample_sigmas")
        if now is None or schedule is None:
            return False
        if self._step[0] is not now:  # asked once a step: reading a tensor waits for the device
            index = int((schedule > now.max() * (1 + 1e-5)).sum())
            self._step = (now, index < self._stop * (len(schedule) - 1))
        return self._step[1]

    def _bias(self, queries: Tensor, keys: Tensor, options: dict[str, Any]) -> Tensor | None:
        """(images, pixels, words), zero in unconditional rows; None where pixels do not look at words."""
        pixels, words = queries.shape[-2], keys.shape[-2]
        height, width = options.get("activations_shape", (0, 0, 0, 0))[-2:]
        if height * width != pixels or words == pixels or words % self._length:
            return None
        if (height, width) not in self._made:
            self._made[height, width] = self._plane(height, width)
        # ComfyUI repeats a prompt that is shorter than the negative one.
        plane = self._made[height, width].to(queries).repeat(1, words // self._length)
        kinds = options.get("cond_or_uncond", [0])
        rows = torch.tensor([kind == 0 for kind in kinds]).repeat_interleave(queries.shape[0] // len(kinds))
        return rows.to(queries)[:, None, None] * plane

    def _plane(self, height: int, width: int) -> Tensor:
        """The bias of every pixel, by rows, on every word."""
        y, x = ((torch.arange(side) + 0.5) / side for side in (height, width))
        plane = torch.zeros(height, width, self._length)
        for words, (left, top, right, bottom) in zip(self._words, self._boxes, strict=True):
            inside = ((y > top) & (y < bottom))[:, None] & ((x > left) & (x < right))
            plane[..., list(words)] = torch.where(inside, self._strength, -self._strength)[..., None]
        return plane.flatten(0, 1)
