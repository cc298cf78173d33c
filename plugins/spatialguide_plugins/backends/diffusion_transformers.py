"""Diffusion transformers as backends, each with the settings that its makers give."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from spatialguide.contracts import Backend, Generation
from spatialguide.hookspecs import hookimpl
from spatialguide.models.loading import Family, PipelineBackend

# Cleaning is for scraped captions; it would move the words that guidance binds.
_AS_WRITTEN = {"clean_caption": False}
#: float16 is too narrow for these.
_BF16 = "bfloat16"
FAMILIES = {
    "pixart_alpha": Family(
        "PixArtAlphaPipeline", "PixArt-alpha/PixArt-XL-2-1024-MS", Generation(20, 4.5, 1024, 1024, _AS_WRITTEN)
    ),
    "pixart_sigma": Family(
        "PixArtSigmaPipeline", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", Generation(20, 4.5, 1024, 1024, _AS_WRITTEN)
    ),
    "sd3": Family("StableDiffusion3Pipeline", "stabilityai/stable-diffusion-3.5-medium", Generation(40, 4.5, 1024, 1024)),
    "sana": Family(
        "SanaPipeline",
        "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers",
        Generation(20, 4.5, 1024, 1024, _AS_WRITTEN),
        _BF16,
    ),
    "flux": Family("FluxPipeline", "black-forest-labs/FLUX.1-dev", Generation(28, 3.5, 1024, 1024), _BF16),
    "flux_schnell": Family("FluxPipeline", "black-forest-labs/FLUX.1-schnell", Generation(4, 0.0, 1024, 1024), _BF16),
    "flux2_klein": Family(
        "Flux2KleinPipeline", "black-forest-labs/FLUX.2-klein-base-9B", Generation(50, 4.0, 1024, 1024), _BF16
    ),
    "z_image": Family("ZImagePipeline", "Tongyi-MAI/Z-Image", Generation(50, 5.0, 1024, 1024), _BF16),
    "z_image_turbo": Family("ZImagePipeline", "Tongyi-MAI/Z-Image-Turbo", Generation(8, 0.0, 1024, 1024), _BF16),
    # Without a negative prompt there is no classifier-free guidance.
    "qwen_image": Family(
        "QwenImagePipeline",
        "Qwen/Qwen-Image",
        Generation(50, 4.0, 1024, 1024, {"negative_prompt": " "}, scale="true_cfg_scale"),
        _BF16,
    ),
}


@hookimpl
def spatialguide_backends(register: Callable[[str, Callable[..., Backend]], None]) -> None:
    """pixart_alpha, pixart_sigma, sd3, sana, flux, flux_schnell, flux2_klein, z_image, z_image_turbo, qwen_image."""
    for name, family in FAMILIES.items():
        register(name, partial(PipelineBackend, family))
