"""The tiny backend: loads the pipeline folder that ships with the package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from spatialguide.contracts import Backend, Generation, Layers

WEIGHTS = Path(str(files("spatialguide_plugins.tiny"))) / "weights"


def objects() -> dict[str, Any]:
    """What the training scenes show. names: of all objects; held_out: pairs of them that no scene shows together."""
    found: dict[str, Any] = json.loads((WEIGHTS / "objects.json").read_text(encoding="utf-8"))
    return found


@contextmanager
def _loading_quietly() -> Iterator[None]:
    """Silence the libraries while the model loads: bars that last a second, and notes on parts that we chose on purpose."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


class TinyBackend(Backend):
    """A 64x64 latent-diffusion model of emoji scenes (CLIPTextModel, UNet2DConditionModel, AutoencoderTiny)."""

    generation: ClassVar[Generation] = Generation(steps=20, guidance_scale=4.0, width=64, height=64)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the objects in the training scenes."""
        return tuple(objects()["names"])

    def load(self) -> Any:
        """The pipeline, in float32 on the CPU."""
        with _loading_quietly():
            from diffusers import StableDiffusionPipeline

            return StableDiffusionPipeline.from_pretrained(WEIGHTS / "pipeline", local_files_only=True, use_safetensors=True)

    def layers(self, pipeline: Any) -> Layers:
        """8x8 cross-attention as "coarse", 16x16 as "mid"."""
        from spatialguide.layers import decoder_layers

        return decoder_layers(pipeline.unet)
