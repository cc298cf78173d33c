"""Full-size UNets with random weights, from their published configurations: cost does not depend on weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

#: Tokens of CLIP's text encoder.
TEXT_LENGTH = 77


@dataclass(frozen=True)
class Architecture:
    """A denoiser. unet: its configuration, where it differs from UNet2DConditionModel's defaults (SD 1.5's sizes); side: of
    its usual latents; text: channels of the text embedding; pooled: of SDXL's pooled text."""

    unet: Mapping[str, Any]
    side: int
    text: int
    prediction: str = "epsilon"
    pooled: int | None = None


_SD2 = {"attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024, "use_linear_projection": True}
ARCHITECTURES = {
    "sd15": Architecture({"cross_attention_dim": 768}, side=64, text=768),
    "sd21": Architecture(_SD2, side=96, text=1024, prediction="v_prediction"),
    "sdxl": Architecture(
        {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        side=128,
        text=2048,
        pooled=1280,
    ),
}


def make_unet(architecture: Architecture, dtype: torch.dtype, device: torch.device) -> Any:
    """The denoiser, in evaluation mode. Weights are small noise: initialising them well takes minutes and changes no cost."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=architecture.side, **architecture.unet)
    # torch's own `to`: diffusers' warns of parts that a trained model would keep in float32.
    unet = torch.nn.Module.to(unet, dtype).to_empty(device=device).eval()
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(0)
        for module in unet.modules():
            if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm)) and module.weight is not None:
                module.weight.fill_(1)
    return unet


def conditions(architecture: Architecture, batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What the denoiser is called with besides sample and timestep."""
    generator = torch.Generator(device).manual_seed(1)
    text = torch.randn(batch, TEXT_LENGTH, architecture.text, generator=generator, dtype=dtype, device=device)
    call: dict[str, Any] = {"encoder_hidden_states": text}
    if architecture.pooled is not None:
        pooled = torch.randn(batch, architecture.pooled, generator=generator, dtype=dtype, device=device)
        pixels = float(8 * architecture.side)
        times = torch.tensor([pixels, pixels, 0, 0, pixels, pixels], dtype=dtype, device=device).repeat(batch, 1)
        call["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": times}
    return call
