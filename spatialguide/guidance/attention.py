"""Attention observer: sees the attention call itself, inside the observed layers, and may add a bias to its scores.

`scaled_dot_product_attention` gets queries and keys after every norm and rotary embedding, whatever projections a model has and
however it calls them. The probabilities of the objects' tokens are computed from them anew, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from spatialguide.contracts import Layers
from spatialguide.errors import BindingError, UnsupportedPipelineError
from spatialguide.guidance.statistics import LayerMaps

#: Token positions of each object of one scene; negative ones count from the end of the text.
Binding = tuple[tuple[int, ...], ...]
#: diffusers' processors that compute attention in ways that cannot be seen; for observed calls the usual one stands in.
_HIDDEN_PROCESSORS = ("AttnProcessor", "SlicedAttnProcessor", "XFormersAttnProcessor")
#: Parameters of scaled_dot_product_attention, in order.
_ATTENTION = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@dataclass(frozen=True)
class Places:
    """Where pixels and text stand among the tokens of attention layers.

    Attributes:
        size: (height, width) of the grid of pixels; for cross-attention, of the sample that the layers' grids are halvings of.
        joint: whether pixels and text share one attention.
        text, pixels: first position of the text among the keys, and of the pixels among the queries, for each image; empty
            where it is 0.
        length: tokens of the text; None: as many as there are keys from there on.
    """

    size: tuple[int, int]
    joint: bool = True
    text: tuple[int, ...] = ()
    pixels: tuple[int, ...] = ()
    length: int | None = None


@dataclass
class ObjectTokens:
    """Where each image's objects stand among the tokens of the text.

    Args:
        bindings: one per image of the batch; images may have different numbers of objects.
    """

    bindings: Sequence[Binding]
    _weights: dict[tuple[int, tuple[int, ...], int | None, int, torch.device], Tensor] = field(default_factory=dict)

    def weights(self, keys: int, places: Places, width: int, device: torch.device) -> Tensor:
        """1 / n at each of an object's n tokens and else 0, as attention's values: (images, 1, keys, width).

        Args:
            keys: of the layer. width: at least the most objects of an image.

        Raises:
            BindingError: a token lies beyond the text.
        """
        key = (keys, places.text, places.length, width, device)
        if key not in self._weights:
            made = np.zeros((len(self.bindings), 1, keys, width), dtype=np.float32)
            for image, binding in enumerate(self.bindings):
                start = places.text[image] if places.text else 0
                length = keys - start if places.length is None else places.length
                for number, tokens in enumerate(binding):
                    made[image, 0, [start + _within(token, length) for token in tokens], number] = 1 / len(tokens)
            self._weights[key] = torch.from_numpy(made).to(device)
        return self._weights[key]

    def marks(self, keys: int, places: Places, device: torch.device) -> Tensor:
        """1 at each of an object's tokens and else 0, (images, objects, keys)."""
        key = (keys, places.text, places.length, -1, device)
        if key not in self._weights:
            self._weights[key] = (self.weights(keys, places, self.objects, device)[:, 0] > 0).mT.float()
        return self._weights[key]

    @property
    def objects(self) -> int:
        """The most objects of an image."""
        return max(map(len, self.bindings))


def _within(token: int, length: int) -> int:
    place = token if token >= 0 else length + token
    if not 0 <= place < length:
        raise BindingError(
            f"an object is token {token} of the prompt, but the denoiser sees only {length} tokens: shorten the prompt, "
            "name the objects earlier, or raise the pipeline's max_sequence_length; for embeddings of your own, name "
            "each object's tokens (attach(..., tokens=...))"
        )
    return place


@dataclass(frozen=True)
class Seen:
    """One attention call. query, key: (rows, heads, tokens, head size); mask: as the call got it."""

    query: Tensor
    key: Tensor
    mask: Tensor | None = None
    scale: float | None = None


class _Tap(TorchFunctionMode):
    """While it is entered, this thread's first call of attention is shown before it is made, and gets the mask that comes back.

    The first counts: an image adapter's attention follows the text's.
    """

    def __init__(self, show: Callable[[Seen], Tensor | None]) -> None:
        super().__init__()
        self._show: Callable[[Seen], Tensor | None] | None = show

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention and self._show is not None:
            given = {**dict(zip(_ATTENTION, args, strict=False)), **kwargs}
            show, self._show = self._show, None
            mask = show(Seen(given["query"], given["key"], given.get("attn_mask"), given.get("scale")))
            if mask is not None:
                return func(**{**given, "attn_mask": mask})
        return func(*args, **kwargs)


@dataclass
class AttentionObserver:
    """Records the attention calls of chosen layers, stops the graph at the last of them, and steers those of others.

    Use as a context manager around one denoiser forward, in which it switches torch's gradient mode, which is the thread's. On
    leaving, gradient mode and layers are as they were.

    Args:
        denoiser: the module that holds the layers.
        layers: module names by level.
        graph: whether the maps are to be differentiated.
        first: row of the first image in what the denoiser receives; those before it are its unconditional part.
        steered: names of the layers whose attention is steered.
        mask: from a call of theirs to its new mask; what is recorded is what they see without.
    """

    denoiser: nn.Module
    layers: Layers
    graph: bool = True
    first: int = 0
    steered: Sequence[str] = ()
    mask: Callable[[Seen], Tensor] | None = None
    _seen: dict[str, Seen] = field(default_factory=dict)
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _grad_before: bool = False

    def __enter__(self) -> AttentionObserver:
        self.start()
        return self

    def start(self) -> None:
        """Look into the layers from now on."""
        self._grad_before = torch.is_grad_enabled()
        observed = {name for _, name in self.layers}
        for name in {*observed, *(self.steered if self.mask else ())}:
            layer = find_layer(self.denoiser, name)
            self._undo.append(_show_attention(layer))
            self._undo.append(_replace(layer, "forward", self._watched(name, layer.forward, observed)))
        torch.set_grad_enabled(self.graph)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave layers and gradient mode as they were."""
        self.remove()
        torch.set_grad_enabled(self._grad_before)

    def remove(self) -> None:
        """Leave the layers as they were, and the gradient mode alone."""
        while self._undo:
            self._undo.pop()()

    def _watched(self, name: str, forward: Callable[..., Any], observed: set[str]) -> Callable[..., Any]:
        """A layer's forward with a tap on it."""

        def show(seen: Seen) -> Tensor | None:
            mask = self.mask(seen) if self.mask is not None and name in self.steered else None
            # Checkpointing runs the forward again.
            if name in observed and name not in self._seen:
                self._seen[name] = seen
                if len(self._seen) == len(observed):
                    # Nothing after the last observed attention can reach the loss, so it needs no graph.
                    torch.set_grad_enabled(False)
            return mask

        def watched(*args: Any, **kwargs: Any) -> Any:
            with _Tap(show):
                return forward(*args, **kwargs)

        return watched

    @property
    def saw(self) -> bool:
        """Whether any of the layers ran."""
        return bool(self._seen)

    def forget(self) -> None:
        """Let go of what was recorded, and of its graph."""
        self._seen.clear()

    def observed(self) -> list[Tensor]:
        """The queries and keys that were recorded."""
        return [part for seen in self._seen.values() for part in (seen.query, seen.key)]

    def maps(self, tokens: ObjectTokens, places: Places) -> tuple[LayerMaps, ...]:
        """Object maps of all images of the batch, counted from `first`.

        Args:
            tokens: of each image's objects.
            places: where pixels and text stand in the observed layers.

        Returns:
            Per layer, (images, objects, height, width); an image with fewer objects than others has empty maps at its end.

        Raises:
            UnsupportedPipelineError: an observed layer did not run, or its attention could not be seen.
            BindingError: a token lies beyond the text that the layer sees.
        """
        found = {}
        for name in {name: None for _, name in self.layers}:
            if name not in self._seen:
                processor = type(getattr(find_layer(self.denoiser, name), "processor", None)).__name__
                raise UnsupportedPipelineError(
                    f"layer '{name}' made no call of torch's scaled_dot_product_attention that could be seen: a cache skipped "
                    f"its block, which is to be switched off, or its attention processor ({processor}) computes attention in "
                    "another way; set one of diffusers' own, such as AttnProcessor2_0"
                )
            seen = self._seen[name]
            rows = slice(self.first, self.first + len(tokens.bindings))
            maps = object_maps(_rows(seen, rows), tokens, places)
            grid = places.size if places.joint else grid_of(maps.shape[-1], places.size)
            found[name] = maps.reshape(*maps.shape[:2], *grid)
        # A layer may serve two levels.
        return tuple(LayerMaps(level, found[name]) for level, name in self.layers)


def find_layer(denoiser: nn.Module, name: str) -> Any:
    """The attention module called `name`.

    Raises:
        UnsupportedPipelineError: there is none, or it is no attention layer.
    """
    try:
        layer = denoiser.get_submodule(name)
    except AttributeError as error:
        raise UnsupportedPipelineError(
            f"the denoiser {type(denoiser).__name__} has no layer '{name}': take names from its named_modules()"
        ) from error
    layer = getattr(layer, "_orig_mod", layer)
    if not hasattr(layer, "processor") and "attention" not in type(layer).__name__.lower():
        raise UnsupportedPipelineError(
            f"layer '{name}' of {type(denoiser).__name__} is no attention layer but {type(layer).__name__}: "
            "name one in which pixels attend to text, such as an attn2"
        )
    return layer


def _show_attention(layer: Any) -> Callable[[], None]:
    """Let a layer compute attention where it can be seen; returns what undoes it."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    processor = getattr(layer, "processor", None)
    if type(processor).__name__ in _HIDDEN_PROCESSORS:
        return _replace(layer, "processor", AttnProcessor2_0())
    if hasattr(processor, "_attention_backend"):
        return _replace(processor, "_attention_backend", "native")
    return lambda: None


def _replace(owner: Any, name: str, value: Any) -> Callable[[], None]:
    """Set an attribute of one object; returns what undoes it."""
    own, had = owner.__dict__, name in owner.__dict__
    before = own.get(name)
    own[name] = value

    def undo() -> None:
        if had:
            own[name] = before
        else:
            own.pop(name, None)

    return undo


def _rows(seen: Seen, rows: slice) -> Seen:
    mask = seen.mask
    if mask is not None:
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
        mask = mask[rows] if mask.shape[0] > 1 else mask
    return Seen(seen.query[rows], seen.key[rows], mask, seen.scale)


def object_maps(seen: Seen, tokens: ObjectTokens, places: Places) -> Tensor:
    """Attention probability of each object at each pixel: mean over heads and over the object's tokens.

    Attention itself takes the mean of an object's columns, since the values are 1 / n at the object's n tokens and else 0; the
    matrix of pixels by keys is never formed.

    Args:
        seen: queries and keys of these images alone, (images, heads, tokens, head size); mask: broadcastable to (images, heads,
            queries, keys), added to the scores or, of booleans, saying which of them count.
        tokens: of each image's objects.

    Returns:
        (images, objects, pixels), float32.

    Raises:
        BindingError: a token lies beyond the text.
    """
    query, mask = seen.query, seen.mask
    if places.joint:
        count = places.size[0] * places.size[1]
        query = _pixels(query, places, count)
        mask = mask if mask is None or mask.shape[2] == 1 else _pixels(mask, places, count)
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.float()
    query, key = query.float(), seen.key.float()
    # As wide as the keys, since fused attention kernels want one width.
    values = tokens.weights(key.shape[2], places, max(key.shape[-1], tokens.objects), key.device)
    shares = functional.scaled_dot_product_attention(
        query,
        key,
        values.expand(-1, key.shape[1], -1, -1),
        attn_mask=mask,
        scale=seen.scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return shares[..., : tokens.objects].mean(dim=1).transpose(1, 2)


def _pixels(queries: Tensor, places: Places, count: int) -> Tensor:
    """The pixels among (images, heads, tokens, ...)."""
    starts = places.pixels or (0,)
    if len(set(starts)) == 1:
        return queries[:, :, starts[0] : starts[0] + count]
    rows = [queries[image, :, start : start + count] for image, start in enumerate(starts)]
    return torch.stack(rows)


def grid_of(pixels: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a layer's grid: the sample's size halved, rounding up, until it has that many pixels.

    Raises:
        UnsupportedPipelineError: no halving gives that number.
    """
    height, width = size
    while height * width > pixels:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != pixels:
        raise UnsupportedPipelineError(
            f"a layer with {pixels} pixels does not fit a sample of {size[0]}x{size[1]}: "
            "name layers on the sample's own grid, scaled down"
        )
    return height, width
