"""Which attention layers of a denoiser are observed, unless the user names others."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from spatialguide.contracts import Layers
from spatialguide.errors import UnsupportedPipelineError

#: A decoder block with more cross-attention layers than this is sampled.
MANY_LAYERS = 6
#: Depths of a transformer's observed blocks: by then the layout is there, and what follows needs no graph.
DEPTHS = (1 / 3, 5 / 12, 1 / 2)


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
    if not hasattr(layer, "to_q") or not hasattr(layer, "to_k"):
        raise UnsupportedPipelineError(
            f"layer '{name}' of {type(denoiser).__name__} is no attention layer: "
            "name one that has to_q and to_k, such as an attn2"
        )
    return layer


def default_layers(denoiser: nn.Module) -> Layers:
    """A UNet's decoder layers, or a transformer's layers around the first half of its depth.

    Raises:
        UnsupportedPipelineError: the denoiser has no layers in which pixels attend to text.
    """
    if hasattr(denoiser, "transformer_blocks"):
        return transformer_layers(denoiser)
    return decoder_layers(denoiser)


def decoder_layers(denoiser: nn.Module) -> Layers:
    """Cross-attention layers of a UNet's decoder: the coarsest block that has any is "coarse", the next finer one "mid".

    For SD 1.x and 2.x these are up_blocks.1 and up_blocks.2, as in InfSplign. Where the coarsest block has many transformer
    layers (SDXL's has thirty), the second of its middle attention is "coarse", the third and fourth are "mid", as in
    InfSplign's code. The only block that has any serves both levels.

    Raises:
        UnsupportedPipelineError: the denoiser has no such layers.
    """
    by_block: dict[str, list[str]] = {}
    for name in _names(denoiser, r"up_blocks\..*\.attn2"):
        by_block.setdefault(".".join(name.split(".")[:2]), []).append(name)
    if not by_block:
        raise UnsupportedPipelineError(
            f"{type(denoiser).__name__} has no cross-attention layers (attn2) in its decoder: it cannot be guided; "
            "use a model whose pixels attend to text"
        )
    blocks = sorted(by_block, key=lambda block: int(block.rsplit(".", 1)[1]))
    coarsest = by_block[blocks[0]]
    if len(coarsest) > MANY_LAYERS:
        sampled = _sampled(coarsest)
        return Layers({"coarse": sampled[:1], "mid": sampled[1:] or sampled})
    return Layers({"coarse": tuple(coarsest), "mid": tuple(by_block[blocks[min(1, len(blocks) - 1)]])})


def transformer_layers(denoiser: nn.Module) -> Layers:
    """Three of a diffusion transformer's layers serve both levels, since all have one resolution.

    Cross-attention (PixArt's attn2), or the joint attention of pixels and text (SD3's attn).

    Raises:
        UnsupportedPipelineError: the denoiser has no such layers.
    """
    names = _names(denoiser, r"transformer_blocks\.\d+(\._orig_mod)?\.attn2", cross=True)
    names = names or _names(denoiser, r"transformer_blocks\.\d+(\._orig_mod)?\.attn", joint=True)
    if not names:
        raise UnsupportedPipelineError(
            f"{type(denoiser).__name__} has no layers in which pixels attend to text: use a model that has"
        )
    chosen = sorted({min(round(depth * len(names)), len(names) - 1) for depth in DEPTHS})
    return Layers(dict.fromkeys(("coarse", "mid"), tuple(names[number] for number in chosen)))


def is_joint(layer: Any) -> bool:
    """Whether pixels and text attend to each other in one attention."""
    return getattr(layer, "add_k_proj", None) is not None


def _names(denoiser: nn.Module, pattern: str, cross: bool = False, joint: bool = False) -> list[str]:
    """Attention layers by name, in order. cross: only those with keys from elsewhere; joint: only joint ones."""
    return [
        name
        for name, module in denoiser.named_modules()
        if re.fullmatch(pattern, name)
        and hasattr(module, "to_k")
        and (not cross or getattr(module, "is_cross_attention", False))
        and (not joint or is_joint(module))
    ]


def _sampled(names: list[str]) -> tuple[str, ...]:
    """Three layers of the middle attention, without its first where it has more than three."""
    attentions = list(dict.fromkeys(name.partition(".transformer_blocks.")[0] for name in names))
    middle = [name for name in names if name.startswith(f"{attentions[len(attentions) // 2]}.")]
    return tuple(middle[1:4] if len(middle) > 3 else middle)
