"""Image to image from a plain picture, called like text to image: pictures on backgrounds that training never showed."""

from __future__ import annotations

from functools import wraps
from typing import Any

from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image


class BackdropPipeline(StableDiffusionImg2ImgPipeline):  # type: ignore[misc]
    """backdrop: colour of the picture under the noise. noise: image-to-image's strength."""

    backdrop = "white"
    noise = 0.9

    @wraps(StableDiffusionImg2ImgPipeline.__call__)
    def __call__(self, prompt: Any, *, width: int = 128, height: int = 128, num_inference_steps: int = 20, **rest: Any) -> Any:
        """As the parent's, with the picture of the given size in place of one that the caller brings."""
        image = Image.new("RGB", (width, height), self.backdrop)
        noise = max(self.noise, 1 / num_inference_steps)  # at least one step
        return super().__call__(prompt, image=image, strength=noise, num_inference_steps=num_inference_steps, **rest)
