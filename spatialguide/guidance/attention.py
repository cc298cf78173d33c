"""Attention observer: reads attention maps through ordinary module hooks, and changes nothing.

A layer's probabilities are rebuilt in float32 from its queries and keys, the outputs of to_q and to_k (or of the norms after
them), so whatever attention processor the model runs stays as it is. Only the columns of the objects' tokens are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spatialguide.contracts import Layers
from spatialguide.errors import BindingError, UnsupportedPipelineError
from spatialguide.guidance.layers import find_layer, is_joint
from spatialguide.guidance.statistics import LayerMaps

#: Token positions of each object of one scene.
Binding = tuple[tuple[int, ...], ...]


@dataclass
class ObjectTokens:
    """Where each image's objects stand among the tokens of the text.

    Args:
        bindings: one per image of the batch; images may have different numbers of objects.
    """

    bindings: Sequence[Binding]
    _weights: dict[tuple[int, int, int, torch.device], Tensor] = field(default_factory=dict)

    def weights(self, length: int, skipped: int, width: int, device: torch.device) -> Tensor:
        """1 / n at each of an object's n tokens and else 0, as attention's values: (images, 1, skipped + length, width).

        Args:
            length: tokens of the text. skipped: keys before them. width: at least the most objects of an image.

        Raises:
            BindingError: a token lies beyond the text.
        """
        key = (length, skipped, width, device)
        if key not in self._weights:
            last = max((max(tokens) for binding in self.bindings for tokens in binding), default=0)
            if last >= length:
                raise BindingError(
                    f"an object is token {last} of the prompt, but the denoiser sees only {length} tokens: shorten the prompt, "
                    "name the objects earlier, or raise the pipeline's max_sequence_length; for embeddings of your own, name "
                    "each object's tokens (attach(..., tokens=...))"
                )
            made = np.zeros((len(self.bindings), 1, skipped + length, width), dtype=np.float32)
            for image, binding in enumerate(self.bindings):
                for number, tokens in enumerate(binding):
                    made[image, 0, [skipped + token for token in tokens], number] = 1 / len(tokens)
            self._weights[key] = torch.from_numpy(made).to(device)
        return self._weights[key]

    @property
    def objects(self) -> int:
        """The most objects of an image."""
        return max(map(len, self.bindings))


@dataclass
class _Capture:
    """What one layer did. key: of the text; image_key: of the pixels, where they attend to each other in the same layer;
    bias: what the layer adds to its scores, to hide padding."""

    joint: bool
    query: Tensor | None = None
    key: Tensor | None = None
    image_key: Tensor | None = None
    bias: Tensor | None = None

    @property
    def complete(self) -> bool:
        return self.query is not None and self.key is not None and (self.image_key is not None or not self.joint)


@dataclass
class AttentionObserver:
    """Records queries and keys of chosen attention layers, and stops the graph after the last of them.

    A hook switches torch's gradient mode, which is the thread's, off in the middle of the denoiser's forward. Use as a context
    manager around one denoiser forward. On leaving, gradient mode is as it was.

    Args:
        denoiser: the module that holds the layers.
        layers: module names by level.
        graph: whether the maps are to be differentiated.
        first: row of the first image in what the denoiser receives; those before it are its unconditional part.
    """

    denoiser: nn.Module
    layers: Layers
    graph: bool = True
    first: int = 0
    _captures: dict[str, _Capture] = field(default_factory=dict)
    _handles: list[Any] = field(default_factory=list)
    _grad_before: bool = False

    def __enter__(self) -> AttentionObserver:
        self.start()
        return self

    def start(self) -> None:
        """Put the hooks on."""
        self._grad_before = torch.is_grad_enabled()
        found = {name: find_layer(self.denoiser, name) for _, name in self.layers}
        self._captures = {name: _Capture(is_joint(layer)) for name, layer in found.items()}
        taps = [(self._captures[name], tap) for name, layer in found.items() for tap in _taps(layer)]
        for name, layer in found.items():
            self._handles.append(layer.register_forward_pre_hook(_bias_recorder(self._captures[name]), with_kwargs=True))
        for capture, (attribute, module, part) in taps:
            self._handles.append(module.register_forward_hook(self._recorder(capture, attribute, part)))
        torch.set_grad_enabled(self.graph)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the hooks off, and leave the gradient mode as it was."""
        self.remove()
        torch.set_grad_enabled(self._grad_before)

    def remove(self) -> None:
        """Take the hooks off, and leave the gradient mode alone."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _recorder(self, capture: _Capture, attribute: str, part: tuple[int, int]) -> Any:
        number, of = part

        def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            # Gradient checkpointing runs the forward again in the backward: the first recording counts.
            if getattr(capture, attribute) is not None:
                return
            setattr(capture, attribute, output.chunk(of, dim=-1)[number])
            if all(c.complete for c in self._captures.values()):
                # Nothing after the last observed layer can reach the loss, so it needs no graph.
                torch.set_grad_enabled(False)

        return record

    def observed(self) -> list[Tensor]:
        """The queries and keys that were recorded."""
        captures = self._captures.values()
        return [part for each in captures for part in (each.query, each.key, each.image_key) if part is not None]

    def maps(self, tokens: ObjectTokens, size: tuple[int, int]) -> tuple[LayerMaps, ...]:
        """Object maps of all images of the batch, counted from `first`.

        Args:
            tokens: of each image's objects.
            size: (height, width) of the denoiser's sample, from which each layer's grid follows.

        Returns:
            Per layer, (images, objects, height, width); an image with fewer objects than others has empty maps at its end.

        Raises:
            UnsupportedPipelineError: an observed layer did not run.
            BindingError: a token lies beyond the text that the layer sees.
        """
        found = {}
        rows = slice(self.first, self.first + len(tokens.bindings))
        for name, capture in self._captures.items():
            query, key = capture.query, capture.key
            if query is None or key is None or (capture.joint and capture.image_key is None):
                raise UnsupportedPipelineError(
                    f"layer '{name}' did not run: its attention processor does not call to_q and to_k, or a cache (DeepCache) "
                    "skipped its block; set a processor of diffusers' own, such as AttnProcessor2_0, or switch the cache off"
                )
            heads = find_layer(self.denoiser, name).heads
            image_key, bias = (None if part is None else part[rows] for part in (capture.image_key, capture.bias))
            maps = object_maps(query[rows], key[rows], heads, tokens, image_key=image_key, bias=bias)
            found[name] = maps.reshape(*maps.shape[:2], *grid_of(maps.shape[-1], size))
        # A layer may serve two levels.
        return tuple(LayerMaps(level, found[name]) for level, name in self.layers)


def _taps(layer: Any) -> Iterator[tuple[str, nn.Module, tuple[int, int]]]:
    """Where a layer's queries and keys can be read: (attribute, module, (i, n)), the i-th of n equal chunks of its output."""
    norms = {name: getattr(layer, name, None) for name in ("norm_q", "norm_k", "norm_added_k")}
    fused = getattr(layer, "fused_projections", False)
    if not is_joint(layer):
        yield "query", norms["norm_q"] or layer.to_q, (0, 1)
        yield "key", norms["norm_k"] or layer.to_k, (0, 1)
        if fused and norms["norm_k"] is None:
            # Keys and values come out of one projection, side by side.
            yield "key", layer.to_kv, (0, 2)
        return
    sources: Mapping[str, tuple[Any, Any, int]] = {
        "query": (norms["norm_q"], layer.to_q, 0),
        "image_key": (norms["norm_k"], layer.to_k, 1),
        "key": (norms["norm_added_k"], layer.add_k_proj, 1),
    }
    for attribute, (norm, projection, number) in sources.items():
        yield attribute, norm or projection, (0, 1)
        if fused and norm is None:
            yield attribute, layer.to_added_qkv if attribute == "key" else layer.to_qkv, (number, 3)


def _bias_recorder(capture: _Capture) -> Any:
    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if capture.bias is None:
            capture.bias = kwargs.get("attention_mask")

    return record


def object_maps(
    query: Tensor,
    key: Tensor,
    heads: int,
    tokens: ObjectTokens,
    image_key: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Attention probability of each object at each pixel: mean over heads and over the object's tokens.

    Attention itself takes the mean of an object's columns, since the values are 1 / n at the object's n tokens and else 0; the
    matrix of pixels by keys is never formed.

    Args:
        query: (images, pixels, channels), or (images, heads, pixels, head size).
        key: of the text, (images, text length, channels), or by heads like the queries.
        heads: attention heads; channels = heads * head size.
        tokens: of each image's objects.
        image_key: of the pixels, like the queries, where pixels and text share one softmax (SD3's joint attention).
        bias: (images, 1, text length), added to the scores.

    Returns:
        (images, objects, pixels), float32.

    Raises:
        BindingError: a token lies beyond the text length.
    """
    query, keys = _by_heads(query, heads), _by_heads(key, heads)
    length, pixels = keys.shape[2], 0
    if image_key is not None:
        keys, pixels = torch.cat([_by_heads(image_key, heads), keys], dim=2), image_key.shape[-2]
    # As wide as the keys, since fused attention kernels want one width.
    values = tokens.weights(length, pixels, max(query.shape[-1], tokens.objects), query.device)
    mask = None if bias is None else bias.float().unsqueeze(1).expand(-1, -1, query.shape[2], -1)
    spread = values.expand(-1, keys.shape[1], -1, -1)
    shares = functional.scaled_dot_product_attention(query, keys, spread, attn_mask=mask)[..., : tokens.objects]
    return shares.mean(dim=1).transpose(1, 2)


def _by_heads(states: Tensor, heads: int) -> Tensor:
    """(images, heads, length, head size), float32."""
    if states.ndim == 4:
        return states.float()
    return states.float().reshape(*states.shape[:2], heads, -1).transpose(1, 2)


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
