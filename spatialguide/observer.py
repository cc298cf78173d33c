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

import torch
from torch import Tensor, nn
from torch.nn import functional

from spatialguide.contracts import Layers
from spatialguide.errors import BindingError, UnsupportedPipelineError
from spatialguide.layers import find_layer, is_joint

Bindings = Sequence[tuple[tuple[int, ...], ...]]


@dataclass(frozen=True)
class LayerMaps:
    """Maps of one layer for the images of one scene: (images, objects, height, width), float32, differentiable."""

    level: str
    maps: Tensor


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

    Use as a context manager around one denoiser forward. On leaving, gradient mode is as it was.

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
        self._grad_before = torch.is_grad_enabled()
        found = {name: find_layer(self.denoiser, name) for _, name in self.layers}
        self._captures = {name: _Capture(is_joint(layer)) for name, layer in found.items()}
        taps = [(self._captures[name], tap) for name, layer in found.items() for tap in _taps(layer)]
        for name, layer in found.items():
            self._handles.append(layer.register_forward_pre_hook(_bias_recorder(self._captures[name]), with_kwargs=True))
        for capture, (attribute, module, part) in taps:
            self._handles.append(module.register_forward_hook(self._recorder(capture, attribute, part)))
        torch.set_grad_enabled(self.graph)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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

    def maps(self, rows: slice, tokens: tuple[tuple[int, ...], ...], size: tuple[int, int]) -> tuple[LayerMaps, ...]:
        """Object maps of the images `rows` of the batch, which share the token positions `tokens`.

        Args:
            rows: images of one scene, counted from `first`.
            tokens: positions per object, from `spatialguide.binding.bind`.
            size: (height, width) of the denoiser's sample, from which each layer's grid follows.

        Raises:
            UnsupportedPipelineError: an observed layer did not run.
            BindingError: a token lies beyond the text that the layer sees.
        """
        found = {}
        rows = slice(self.first + rows.start, self.first + rows.stop)
        for name, capture in self._captures.items():
            query, key = capture.query, capture.key
            if query is None or key is None or (capture.joint and capture.image_key is None):
                raise UnsupportedPipelineError(
                    f"layer '{name}' did not run: its attention processor does not call to_q and to_k; "
                    "set one of diffusers' own, such as AttnProcessor2_0"
                )
            heads = find_layer(self.denoiser, name).heads
            image_key, bias = (None if part is None else part[rows] for part in (capture.image_key, capture.bias))
            maps = object_maps(query[rows], key[rows], heads, tokens, image_key=image_key, bias=bias)
            height, width = grid_of(maps.shape[-1], size)
            found[name] = maps.reshape(*maps.shape[:-1], height, width)
        # A layer may serve two levels.
        return tuple(LayerMaps(level, found[name]) for level, name in self.layers)


def _taps(layer: Any) -> Iterator[tuple[str, nn.Module, tuple[int, int]]]:
    """Where a layer's queries and keys can be read: (what, module, (part, of so many) of its output)."""
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
    tokens: tuple[tuple[int, ...], ...],
    image_key: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Attention probability of each object at each pixel: mean over heads and over the object's tokens.

    Args:
        query: (images, pixels, channels), or (images, heads, pixels, head size).
        key: of the text, (images, text length, channels), or by heads like the queries.
        heads: attention heads; channels = heads * head size.
        tokens: positions per object.
        image_key: of the pixels, like the queries, where pixels and text share one softmax (SD3's joint attention).
        bias: (images, 1, text length), added to the scores.

    Returns:
        (images, objects, pixels), float32.

    Raises:
        BindingError: a token lies beyond the text length.
    """
    query, key = _by_heads(query, heads), _by_heads(key, heads)
    last = max(position for positions in tokens for position in positions)
    if last >= key.shape[2]:
        raise BindingError(
            f"an object is token {last} of the prompt, but the denoiser sees only {key.shape[2]} tokens: shorten the prompt, "
            "name the objects earlier, or raise the pipeline's max_sequence_length"
        )
    if image_key is not None:
        return _joint_maps(query, _by_heads(image_key, heads), key, tokens)
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if bias is not None:
        scores = scores + bias.float().unsqueeze(1)
    columns = sorted({position for positions in tokens for position in positions})
    # softmax over all tokens, but only the objects' columns are formed.
    probabilities = (scores[..., columns] - scores.logsumexp(dim=-1, keepdim=True)).exp().mean(dim=1)
    maps = [probabilities[..., [columns.index(p) for p in positions]].mean(dim=-1) for positions in tokens]
    return torch.stack(maps, dim=1)


def _joint_maps(query: Tensor, image_key: Tensor, key: Tensor, tokens: tuple[tuple[int, ...], ...]) -> Tensor:
    """The softmax runs over pixels and text; its matrix of pixels by pixels is never formed.

    Attention itself takes the mean of an object's columns, where the values are 1 / tokens at the object's tokens and else 0.
    """
    pixels = image_key.shape[2]
    # As wide as the keys, since fused attention kernels want one width.
    values = query.new_zeros(pixels + key.shape[2], max(query.shape[-1], len(tokens)))
    for number, positions in enumerate(tokens):
        values[[pixels + position for position in positions], number] = 1 / len(positions)
    keys = torch.cat([image_key, key], dim=2)
    spread = values.expand(*keys.shape[:2], *values.shape)
    columns = functional.scaled_dot_product_attention(query, keys, spread)[..., : len(tokens)]
    return columns.mean(dim=1).transpose(1, 2)


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
