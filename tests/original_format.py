"""Writes a small Stable Diffusion pipeline as one file in the original (CompVis) layout, as checkpoints are shared."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE = {"conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut", "mid_block.attentions.0": "mid.attn_1"}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def save_original(pipeline: StableDiffusionPipeline, path: Path) -> None:
    """Everything of the pipeline that has weights, under its original names."""
    tensors = {
        f"model.diffusion_model.{_unet_name(name, pipeline)}": value for name, value in pipeline.unet.state_dict().items()
    }
    tensors |= {f"first_stage_model.{_vae_name(name, pipeline)}": v for name, v in pipeline.vae.state_dict().items()}
    wrapped = "" if hasattr(pipeline.text_encoder, "text_model") else "text_model."
    tensors |= {f"cond_stage_model.transformer.{wrapped}{name}": v for name, v in pipeline.text_encoder.state_dict().items()}
    save_file({name: value.contiguous() for name, value in tensors.items() if value.dtype != torch.int64}, path)


def _unet_name(name: str, pipeline: StableDiffusionPipeline) -> str:
    for here, there in _UNET.items():
        if name.startswith(f"{here}."):
            return name.replace(here, there, 1)
    per_block = pipeline.unet.config.layers_per_block + 1
    found = re.fullmatch(r"(down|up|mid)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", name)
    assert found, name
    side, block, kind, layer, rest = found[1], int(found[2] or 0), found[3], int(found[4]), found[5]
    if kind == "resnets":
        head, dot, tail = rest.partition(".")
        rest = f"{_RESNET[head]}{dot}{tail}"
    if side == "mid":
        return f"middle_block.{2 * layer + (kind == 'attentions')}.{rest}"
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{per_block * (block + 1)}.0.{rest.replace('conv', 'op', 1)}"
        return f"input_blocks.{1 + per_block * block + layer}.{int(kind == 'attentions')}.{rest}"
    if kind == "upsamplers":
        place = 1 + hasattr(pipeline.unet.up_blocks[block], "attentions")
        return f"output_blocks.{per_block * block + per_block - 1}.{place}.{rest}"
    return f"output_blocks.{per_block * block + layer}.{int(kind == 'attentions')}.{rest}"


def _vae_name(name: str, pipeline: StableDiffusionPipeline) -> str:
    last = len(pipeline.vae.config.block_out_channels) - 1
    if "attentions" in name:
        for here, there in _VAE_ATTENTION.items():
            name = name.replace(f".{here}.", f".{there}.")
    for here, there in _VAE.items():
        name = name.replace(here, there)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{last - int(m[1])}.block", name)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)
