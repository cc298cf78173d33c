"""Train the f4 autoencoder (diffusers' AutoencoderTiny) on synthetic scenes.

python -m training.train_vae runs/vae --steps 4000
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from diffusers import AutoencoderTiny
from torch import Tensor

from training import checkpoint
from training.optimizer import MuonAdamW, warm_cosine
from training.scenes import load_sprites, make_scene

VAE_CONFIG = {
    "encoder_block_out_channels": (48, 48, 48),
    "decoder_block_out_channels": (48, 48, 48),
    "num_encoder_blocks": (1, 2, 3),
    "num_decoder_blocks": (3, 2, 1),
    "latent_channels": 4,
    "scaling_factor": 1.0,
}
HELD_OUT_SEED = 10**9


def scene_batch(seed: int, step: int, size: int, sprites: dict) -> Tensor:
    """Images of one step, (size, 3, 64, 64) in [-1, 1]; a function of (seed, step) alone, so resuming is exact."""
    rng = np.random.default_rng((seed, step))
    pixels = np.stack([make_scene(rng, sprites).image for _ in range(size)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def psnr(vae: AutoencoderTiny, images: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of the reconstruction, mean over images."""
    with torch.no_grad():
        rebuilt = vae.decode(vae.encode(images).latents).sample.clamp(-1, 1)
    mse = ((rebuilt - images) / 2).square().mean(dim=(1, 2, 3))
    return float((-10 * mse.log10()).mean())


def train(
    out: Path,
    steps: int = 4000,
    batch: int = 16,
    peak_lr: float = 2e-3,
    seed: int = 0,
    compile_model: Annotated[bool, typer.Option("--compile/--no-compile")] = True,
) -> None:
    """Train, or go on from the checkpoint in OUT; writes the model folder to OUT/vae when done."""
    torch.manual_seed(seed)
    vae = AutoencoderTiny(**VAE_CONFIG)
    optimizer = MuonAdamW(
        vae.named_parameters(),
        is_outer=lambda name: name in ("encoder.layers.0.weight", f"decoder.layers.{len(vae.decoder.layers) - 1}.weight"),
        muon_lr=peak_lr,
        adam_lr=peak_lr,
    )
    start = 0
    state = checkpoint.load(out / "checkpoint.pt")
    if state:
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    sprites = load_sprites()
    held_out = scene_batch(HELD_OUT_SEED, 0, 64, sprites)

    def loss_of(images: Tensor, noise: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(images).latents
            # Noise on the latents makes the decoder forgiving of what a diffusion model gets slightly wrong.
            rebuilt = vae.decode(latents + 0.05 * noise).sample
        error = (rebuilt.float() - images).abs()
        latents = latents.float()
        moments = latents.mean(dim=(0, 2, 3)).square().mean() + (latents.std(dim=(0, 2, 3)) - 1).square().mean()
        return error.mean() + 2 * error.square().mean() + 0.02 * moments

    step_loss = torch.compile(loss_of) if compile_model else loss_of
    began = time.time()
    for step in range(start, steps):
        images = scene_batch(seed, step, batch, sprites).to(memory_format=torch.channels_last)
        noise = torch.randn(batch, 4, 16, 16, generator=torch.Generator().manual_seed(step))
        loss = step_loss(images, noise)
        loss.backward()
        optimizer.step(torch.tensor(warm_cosine(step, steps)))
        if (step + 1) % 200 == 0 or step + 1 == steps:
            print(
                f"step {step + 1} loss {loss.item():.4f} psnr {psnr(vae, held_out):.2f} {time.time() - began:.0f}s",
                flush=True,
            )
            checkpoint.save(
                out / "checkpoint.pt",
                vae=vae.state_dict(),
                optimizer=optimizer.state_dict(),
                step=step + 1,
            )
    vae.save_pretrained(out / "vae")


if __name__ == "__main__":
    typer.run(train)
