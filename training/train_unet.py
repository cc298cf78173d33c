"""Train the denoiser and text encoder of the tiny model on latents of synthetic scenes.

    python -m training.train_unet runs/unet --vae runs/vae/vae --steps 12000

Latents and tokens are prepared once and kept in the run folder. The run resumes from its checkpoint.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training import checkpoint
from training.optimizer import MuonAdamW
from training.scenes import load_sprites, make_scene
from training.tokenizer import save_tokenizer, train_tokenizer

TEXT_WIDTH = 128
UNET_CONFIG: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (96, 192),
    "layers_per_block": 1,
    "attention_head_dim": (2, 4),
    "cross_attention_dim": TEXT_WIDTH,
    "norm_num_groups": 16,
}
SCHEDULER_CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "steps_offset": 1,
}


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A two-layer CLIP text encoder for the tokenizer's vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=TEXT_WIDTH,
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def prepare(folder: Path, vae: AutoencoderTiny, tokenizer: CLIPTokenizer, scenes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Latents (scenes, 4, 16, 16) float16 and tokens (scenes, 77) int16, cached in the folder."""
    path = folder / f"data-{seed}-{scenes}.pt"
    cached = checkpoint.load(path)
    if cached is None:
        rng = np.random.default_rng((seed, 1))
        sprites = load_sprites()
        latents, tokens = [], []
        for start in range(0, scenes, 64):
            batch = [make_scene(rng, sprites) for _ in range(min(64, scenes - start))]
            images = torch.from_numpy(np.stack([scene.image for scene in batch])).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                latents.append(vae.encode(images).latents.half())
            captions = [scene.caption for scene in batch]
            padded = tokenizer(captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
            tokens.append(torch.tensor(padded["input_ids"], dtype=torch.int16))
        cached = {"latents": torch.cat(latents), "tokens": torch.cat(tokens)}
        checkpoint.save(path, **cached)
    return cached["latents"], cached["tokens"]


class Denoiser(nn.Module):
    """Text encoder and UNet under one loss."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.unet = unet

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predicted velocity."""
        states = self.text_encoder(tokens)[0]
        return self.unet(noisy, timesteps, states, return_dict=False)[0]


def noised(scheduler: DDPMScheduler, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, timesteps (stratified over the batch) and the velocity target."""
    size = latents.shape[0]
    strata = (torch.arange(size) + torch.rand(size, generator=generator)) / size
    timesteps = (strata * scheduler.config.num_train_timesteps).long()
    noise = torch.randn(latents.shape, generator=generator)
    return (
        scheduler.add_noise(latents, noise, timesteps),
        timesteps,
        scheduler.get_velocity(latents, noise, timesteps),
    )


def train(
    out: Path,
    vae: Annotated[Path, typer.Option(help="folder of the trained autoencoder")],
    steps: int = 12000,
    batch: int = 32,
    scenes: int = 60000,
    muon_lr: float = 2e-3,
    adam_lr: float = 1e-3,
    seed: int = 0,
    initial: Annotated[
        Path | None, typer.Option(help="pipeline folder whose text encoder, UNet and tokenizer to start from")
    ] = None,
    minutes: Annotated[float, typer.Option(help="stop after this long, with a checkpoint")] = 1e9,
    compile_model: Annotated[bool, typer.Option("--compile/--no-compile")] = True,
) -> None:
    """Train, or go on from the checkpoint in OUT; the averaged weights are in the checkpoint under "average"."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    if initial is not None and not (out / "tokenizer").exists():
        shutil.copytree(initial / "tokenizer", out / "tokenizer")
    if not (out / "tokenizer").exists():
        save_tokenizer(train_tokenizer(), out / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    latents, tokens = prepare(out, AutoencoderTiny.from_pretrained(vae), tokenizer, scenes, seed)
    empty = torch.tensor(tokenizer("", padding="max_length", max_length=tokenizer.model_max_length)["input_ids"])
    scheduler = DDPMScheduler(**SCHEDULER_CONFIG)
    model = Denoiser(make_text_encoder(tokenizer), UNet2DConditionModel(**UNET_CONFIG))
    if initial is not None:
        model.text_encoder = CLIPTextModel.from_pretrained(initial / "text_encoder", dtype=torch.float32)
        model.unet = UNet2DConditionModel.from_pretrained(initial / "unet", torch_dtype=torch.float32)
        model.train()
    # On a CPU the fused attention's backward takes several times as long as plain matrix products.
    model.unet.set_attn_processor(AttnProcessor())
    model.text_encoder.set_attn_implementation("eager")
    optimizer = MuonAdamW(
        model.named_parameters(),
        is_outer=lambda name: (
            ("embedding" in name and "time" not in name) or name in ("unet.conv_in.weight", "unet.conv_out.weight")
        ),
        muon_lr=muon_lr,
        adam_lr=adam_lr,
        steps=steps,
        warmup=200,
    )
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    start = 0
    state = checkpoint.load(out / "checkpoint.pt")
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, start = state["average"], state["step"]
    forward = torch.compile(model) if compile_model else model
    began, losses = time.time(), []
    for step in range(start, steps):
        rng = np.random.default_rng((seed, 2, step))
        rows = torch.from_numpy(rng.integers(0, scenes, size=batch))
        dropped = torch.from_numpy(rng.random(batch) < 0.1)
        ids = torch.where(dropped[:, None], empty, tokens[rows].long())
        generator = torch.Generator().manual_seed(seed * 10**7 + step)
        noisy, timesteps, target = noised(scheduler, latents[rows].float(), generator)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = forward(noisy.to(memory_format=torch.channels_last), timesteps, ids)
        loss = functional.mse_loss(predicted.float(), target)
        loss.backward()
        optimizer.step(step)
        decay = min(0.999, (step + 1) / (step + 20))
        torch._foreach_lerp_(list(average.values()), [v.detach() for v in model.state_dict().values()], 1 - decay)
        losses.append(loss.item())
        finished = step + 1 == steps or time.time() - began > 60 * minutes
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {np.mean(losses):.4f} {time.time() - began:.0f}s", flush=True)
            losses = []
        if (step + 1) % 500 == 0 or finished:
            checkpoint.save(
                out / "checkpoint.pt",
                model=model.state_dict(),
                optimizer=optimizer.state_dict(),
                average=average,
                step=step + 1,
            )
        if finished:
            break


if __name__ == "__main__":
    typer.run(train)
