"""Diffusion transformers as backends: PixArt (cross-attention) and Stable Diffusion 3 (pixels and text in one attention)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from spatialguide.contracts import Backend, Generation
from spatialguide.hookspecs import hookimpl
from spatialguide.models.loading import Family, PipelineBackend

# Cleaning is for scraped captions; it would move the words that guidance binds.
_AS_WRITTEN = {"clean_caption": False}
FAMILIES = {
    "pixart_alpha": Family(
        "PixArtAlphaPipeline", "PixArt-alpha/PixArt-XL-2-1024-MS", Generation(20, 4.5, 1024, 1024, _AS_WRITTEN)
    ),
    "pixart_sigma": Family(
        "PixArtSigmaPipeline", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", Generation(20, 4.5, 1024, 1024, _AS_WRITTEN)
    ),
    "sd3": Family("StableDiffusion3Pipeline", "stabilityai/stable-diffusion-3.5-medium", Generation(40, 4.5, 1024, 1024)),
}


@hookimpl
def spatialguide_backends(register: Callable[[str, Callable[..., Backend]], None]) -> None:
    """pixart_alpha, pixart_sigma, sd3."""
    for name, family in FAMILIES.items():
        register(name, partial(PipelineBackend, family))
