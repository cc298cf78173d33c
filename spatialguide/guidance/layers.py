"""Which attention layers of a denoiser are observed, unless the user names others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from torch import nn

from spatialguide.contracts import Layers
from spatialguide.errors import UnsupportedPipelineError

if TYPE_CHECKING:
    from spatialguide.guidance.models import ModelFacts

#: A decoder block with more cross-attention layers than this is sampled.
MANY_LAYERS = 6


def default_layers(denoiser: nn.Module, facts: ModelFacts) -> Layers:
    """A UNet's decoder layers, or those of a transformer at the depths that its facts name.

    Raises:
        UnsupportedPipelineError: the denoiser has no layers in which pixels attend to text.
    """
    names = _attention_layers(denoiser, facts, facts.layers)
    if not names:
        raise UnsupportedPipelineError(
            f"{type(denoiser).__name__} has no layers called {facts.layers} in which pixels attend to text: it cannot be "
            "guided; use a model that has, or name its layers"
        )
    if not facts.depths:
        return decoder_layers(names)
    chosen = sorted({min(round(depth * len(names)), len(names) - 1) for depth in facts.depths})
    # All have one resolution, and serve both levels.
    return Layers(dict.fromkeys(("coarse", "mid"), tuple(names[number] for number in chosen)))


def steered_layers(denoiser: nn.Module, facts: ModelFacts) -> tuple[str, ...]:
    """All layers whose attention a bias steers."""
    return tuple(_attention_layers(denoiser, facts, facts.steered or facts.layers))


def _attention_layers(denoiser: nn.Module, facts: ModelFacts, pattern: str) -> list[str]:
    return [
        name
        for name, module in denoiser.named_modules()
        if re.fullmatch(pattern, name)
        and hasattr(module, "processor")
        and (facts.text != "apart" or getattr(module, "is_cross_attention", True))
    ]


def decoder_layers(names: list[str]) -> Layers:
    """Cross-attention layers of a UNet's decoder: the coarsest block that has any is "coarse", the next finer one "mid".

    For SD 1.x and 2.x these are up_blocks.1 and up_blocks.2, as in InfSplign. Where the coarsest block has many transformer
    layers (SDXL's has thirty), the second of its middle attention is "coarse", the third and fourth are "mid", as in
    InfSplign's code. The only block that has any serves both levels.
    """
    by_block: dict[str, list[str]] = {}
    for name in names:
        by_block.setdefault(".".join(name.split(".")[:2]), []).append(name)
    blocks = sorted(by_block, key=lambda block: int(block.rsplit(".", 1)[1]))
    coarsest = by_block[blocks[0]]
    if len(coarsest) > MANY_LAYERS:
        sampled = _sampled(coarsest)
        return Layers({"coarse": sampled[:1], "mid": sampled[1:] or sampled})
    return Layers({"coarse": tuple(coarsest), "mid": tuple(by_block[blocks[min(1, len(blocks) - 1)]])})


def _sampled(names: list[str]) -> tuple[str, ...]:
    """Three layers of the middle attention, without its first where it has more than three."""
    attentions = list(dict.fromkeys(name.partition(".transformer_blocks.")[0] for name in names))
    middle = [name for name in names if name.startswith(f"{attentions[len(attentions) // 2]}.")]
    return tuple(middle[1:4] if len(middle) > 3 else middle)
