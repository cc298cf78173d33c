"""UNets: Stable Diffusion 1.x, 2.x, XL, and what derives from them."""

from __future__ import annotations

from collections.abc import Callable

from spatialguide.guidance.models import ModelFacts
from spatialguide.hookspecs import hookimpl

FACTS = (
    ModelFacts(
        "UNet2DConditionModel",
        "Stable Diffusion 1.x, 2.x; SDXL, its Turbo, Lightning and refiner; others with cross-attention",
        r"up_blocks\..*\.attn2",
        depths=(),
        steered=r".*\.attn2",
        tried="a bundled model with trained weights; random weights",
    ),
)


@hookimpl
def spatialguide_models(register: Callable[[str, ModelFacts], None]) -> None:
    """UNet2DConditionModel."""
    for facts in FACTS:
        register(facts.denoiser, facts)
