"""Attention observer: reads cross-attention maps through ordinary module hooks, and changes nothing.

A layer's probabilities are rebuilt from the outputs of its to_q and to_k in float32, so whatever attention processor the
model runs stays as it is. Only the columns of the objects' tokens are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from spatialguide.contracts import Layers
from spatialguide.errors import UnsupportedPipelineError

#: A decoder block with more cross-attention layers than this is sampled.
MANY_LAYERS = 6

Bindings = Sequence[tuple[tuple[int, ...], ...]]


@dataclass(frozen=True)
class LayerMaps:
    """Maps of one layer for the images of one scene: (images, objects, height, width), float32, differentiable."""

    level: str
    maps: Tensor


@dataclass
class _Capture:
    query: Tensor | None = None
    key: Tensor | None = None


@dataclass
class AttentionObserver:
    """Records queries and keys of chosen attn2 layers while `recording`, and stops the graph after the last of them.

    Use as a context manager around one denoiser forward. On leaving, gradient mode is as it was.

    Args:
        denoiser: the module that holds the layers.
        layers: module names by level.
    """

    denoiser: nn.Module
    layers: Layers
    _captures: dict[str, _Capture] = field(default_factory=dict)
    _handles: list[Any] = field(default_factory=list)
    _grad_before: bool = False

    def __enter__(self) -> AttentionObserver:
        self._grad_before = torch.is_grad_enabled()
        found = {name: find_layer(self.denoiser, name) for _, name in self.layers}
        self._captures = {name: _Capture() for name in found}
        for name, layer in found.items():
            capture = self._captures[name]
            self._handles.append(layer.to_q.register_forward_hook(self._recorder(capture, "query")))
            self._handles.append(layer.to_k.register_forward_hook(self._recorder(capture, "key")))
            if getattr(layer, "fused_projections", False):
                # Keys and values come out of one projection, side by side.
                recorder = self._recorder(capture, "key", parts=2)
                self._handles.append(layer.to_kv.register_forward_hook(recorder))
        torch.set_grad_enabled(True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.remove()
        torch.set_grad_enabled(self._grad_before)

    def remove(self) -> None:
        """Take the hooks off, and leave the gradient mode alone."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _recorder(self, capture: _Capture, attribute: str, parts: int = 1) -> Any:
        def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            # Gradient checkpointing runs the forward again in the backward: the first recording counts.
            if getattr(capture, attribute) is not None:
                return
            setattr(capture, attribute, output.chunk(parts, dim=-1)[0])
            if all(c.query is not None and c.key is not None for c in self._captures.values()):
                # Nothing after the last observed layer can reach the loss, so it needs no graph.
                torch.set_grad_enabled(False)

        return record

    def maps(self, rows: slice, tokens: tuple[tuple[int, ...], ...], size: tuple[int, int]) -> tuple[LayerMaps, ...]:
        """Object maps of the images `rows` of the batch, which share the token positions `tokens`.

        Args:
            rows: images of one scene within the observed batch.
            tokens: positions per object, from `spatialguide.binding.bind`.
            size: (height, width) of the denoiser's sample, from which each layer's grid follows.

        Raises:
            UnsupportedPipelineError: an observed layer did not run.
        """
        found = {}
        for name, capture in self._captures.items():
            if capture.query is None or capture.key is None:
                raise UnsupportedPipelineError(
                    f"layer '{name}' did not run: its attention processor does not call to_q and to_k"
                )
            heads = find_layer(self.denoiser, name).heads
            maps = object_maps(capture.query[rows], capture.key[rows], heads, tokens)
            height, width = grid_of(maps.shape[-1], size)
            found[name] = maps.reshape(*maps.shape[:-1], height, width)
        # A layer may serve two levels.
        return tuple(LayerMaps(level, found[name]) for level, name in self.layers)


def object_maps(query: Tensor, key: Tensor, heads: int, tokens: tuple[tuple[int, ...], ...]) -> Tensor:
    """Cross-attention probability of each object at each pixel: mean over heads and over the object's tokens.

    Args:
        query: (images, pixels, channels); key: (images, text length, channels).
        heads: attention heads; channels = heads * head size.
        tokens: positions per object.

    Returns:
        (images, objects, pixels), float32.
    """
    query, key = (t.float().reshape(*t.shape[:2], heads, -1).transpose(1, 2) for t in (query, key))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    columns = sorted({position for positions in tokens for position in positions})
    # softmax over all tokens, but only the objects' columns are formed.
    probabilities = (scores[..., columns] - scores.logsumexp(dim=-1, keepdim=True)).exp().mean(dim=1)
    maps = [probabilities[..., [columns.index(p) for p in positions]].mean(dim=-1) for positions in tokens]
    return torch.stack(maps, dim=1)


def grid_of(pixels: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a layer's grid: the sample's size halved, rounding up, until it has that many pixels.

    Raises:
        UnsupportedPipelineError: no halving gives that number.
    """
    height, width = size
    while height * width > pixels:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != pixels:
        raise UnsupportedPipelineError(f"a layer with {pixels} pixels does not fit a sample of {size[0]}x{size[1]}")
    return height, width


def find_layer(denoiser: nn.Module, name: str) -> Any:
    """The attention module called `name`.

    Raises:
        UnsupportedPipelineError: there is none, or it is no attention layer.
    """
    try:
        layer = denoiser.get_submodule(name)
    except AttributeError as error:
        raise UnsupportedPipelineError(f"the denoiser {type(denoiser).__name__} has no layer '{name}'") from error
    if not hasattr(layer, "to_q") or not hasattr(layer, "to_k"):
        raise UnsupportedPipelineError(f"layer '{name}' of {type(denoiser).__name__} is no attention layer")
    return layer


def decoder_layers(denoiser: nn.Module) -> Layers:
    """Cross-attention layers of a UNet's decoder: the coarsest block that has any is "coarse", the next finer one "mid".

    For SD 1.x and 2.x these are up_blocks.1 and up_blocks.2, as in InfSplign. Where the coarsest block has many transformer
    layers (SDXL's has thirty), the second to fourth of its middle attention serve both levels, as InfSplign has it. So does
    the only block that has any.

    Raises:
        UnsupportedPipelineError: the denoiser has no such layers.
    """
    by_block: dict[str, list[str]] = {}
    for name, module in denoiser.named_modules():
        if name.startswith("up_blocks.") and name.endswith(".attn2") and hasattr(module, "to_k"):
            by_block.setdefault(".".join(name.split(".")[:2]), []).append(name)
    if not by_block:
        raise UnsupportedPipelineError(
            f"{type(denoiser).__name__} has no cross-attention layers (attn2) in its decoder: only UNet pipelines can be guided"
        )
    blocks = sorted(by_block, key=lambda block: int(block.rsplit(".", 1)[1]))
    if len(by_block[blocks[0]]) > MANY_LAYERS:
        return Layers(dict.fromkeys(("coarse", "mid"), _sampled(by_block[blocks[0]])))
    return Layers({"coarse": tuple(by_block[blocks[0]]), "mid": tuple(by_block[blocks[min(1, len(blocks) - 1)]])})


def _sampled(names: list[str]) -> tuple[str, ...]:
    """Three layers of many."""
    attentions = list(dict.fromkeys(name.partition(".transformer_blocks.")[0] for name in names))
    middle = attentions[len(attentions) // 2]
    return tuple(f"{middle}.transformer_blocks.{number}.attn2" for number in (1, 2, 3))
