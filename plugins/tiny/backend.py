"""The tiny backend: loads the pipeline folder that ships with the package."""

from __future__ import annotations

import json
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from spatialguide.contracts import Backend, Generation, Layers

WEIGHTS = Path(str(files("spatialguide_plugins.tiny"))) / "weights"


class TinyBackend(Backend):
    """A 64x64 latent-diffusion model of emoji scenes (CLIPTextModel, UNet2DConditionModel, AutoencoderTiny)."""

    generation: ClassVar[Generation] = Generation(steps=30, guidance_scale=3.0, width=64, height=64)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the objects in the training scenes."""
        names: list[str] = json.loads((WEIGHTS / "objects.json").read_text(encoding="utf-8"))
        return tuple(names)

    def load(self) -> Any:
        """The pipeline, in float32 on the CPU."""
        import torch
        from diffusers import StableDiffusionPipeline

        # safety_checker=None is what the folder says already; the weights are stored in half precision.
        return StableDiffusionPipeline.from_pretrained(
            WEIGHTS / "pipeline", torch_dtype=torch.float32, local_files_only=True, use_safetensors=True
        )

    def layers(self, pipeline: Any) -> Layers:
        """8x8 cross-attention as "coarse", 16x16 as "mid"."""
        names = [
            name for name, module in pipeline.unet.named_modules() if name.endswith("attn2") and name.startswith("up_blocks")
        ]
        return Layers(
            {
                "coarse": tuple(n for n in names if n.startswith("up_blocks.0.")),
                "mid": tuple(n for n in names if n.startswith("up_blocks.1.")),
            }
        )
