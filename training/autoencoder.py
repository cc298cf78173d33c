"""Train the f8 autoencoder (diffusers' AutoencoderTiny) on synthetic scenes.

python -m training.autoencoder runs/vae --minutes 1.5
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from diffusers import AutoencoderTiny
from torch import Tensor

from training import checkpoint
from training.muon import Trainer, warm_cosine
from training.pace import Pace
from training.paint import load_bank, paint
from training.plans import make_plans

CHANNELS = 12
CONFIG = {
    "encoder_block_out_channels": (64, 64, 64, 64),
    "decoder_block_out_channels": (64, 64, 64, 64),
    "num_encoder_blocks": (1, 2, 3, 3),
    "num_decoder_blocks": (3, 3, 2, 1),
    "latent_channels": CHANNELS,
    "scaling_factor": 1.0,
}
HELD_OUT_SEED = 10**9


@torch.no_grad()
def psnr(vae: AutoencoderTiny, images: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of the reconstruction, mean over images."""
    rebuilt = torch.cat([vae.decode(vae.encode(each).latents).sample for each in images.split(32)]).float().clamp(-1, 1)
    return float((-10 * ((rebuilt - images.float()) / 2).square().mean(dim=(1, 2, 3)).log10()).mean())


def loss_of(vae: AutoencoderTiny, images: Tensor, noise: Tensor) -> Tensor:
    """Absolute and squared error, that of differences between neighbours (edges), and latents of mean 0 and spread 1."""
    latents = vae.encode(images).latents
    # Noise on the latents makes the decoder forgiving of what a diffusion model gets slightly wrong.
    rebuilt = vae.decode(latents + 0.05 * noise).sample
    error, latents = rebuilt.float() - images.float(), latents.float()
    edges = sum(error.diff(dim=axis).abs().mean() for axis in (2, 3))
    moments = latents.mean(dim=(0, 2, 3)).square().mean() + (latents.std(dim=(0, 2, 3)) - 1).square().mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * edges + 0.02 * moments


def train(
    out: Path,
    steps: int = 6000,
    batch: int = 64,
    scenes: int = 60000,
    peak_lr: float = 2e-3,
    seed: int = 0,
    minutes: float | None = None,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Train, or go on from the checkpoint in OUT; writes the model folder to OUT/vae.

    minutes: after 120 steps, plan as many as this time allows; the checkpoint keeps the number.
    """
    torch.manual_seed(seed)
    place = torch.device(device)
    plans, _ = make_plans(seed, scenes)
    bank = load_bank(place)
    held_out = paint(make_plans(HELD_OUT_SEED, 64)[0], bank)
    vae = AutoencoderTiny(**CONFIG).to(place, memory_format=torch.channels_last)
    trainer = Trainer(
        vae,
        loss_of,
        is_outer=lambda name: name in ("encoder.layers.0.weight", f"decoder.layers.{len(vae.decoder.layers) - 1}.weight"),
        muon_lr=peak_lr,
        adam_lr=peak_lr,
    )
    pace = Pace(0, steps, minutes)
    if state := checkpoint.load(out / "checkpoint.pt"):
        trainer.load_state_dict(state)
        pace = Pace(state["step"], state["steps"], None)
    precision = next(trainer.copy.parameters()).dtype
    for step in pace:
        first = step * batch % (scenes - batch)
        images = paint(plans[first : first + batch], bank).to(precision, memory_format=torch.channels_last)
        noise = torch.randn(batch, CHANNELS, 16, 16, generator=torch.Generator(place).manual_seed(step), device=place)
        loss = trainer.step(warm_cosine(step, pace.steps), images, noise.to(precision))
        if pace.ends(step) or (step + 1) % 500 == 0:
            figures = f"loss {loss.item():.4f} psnr {psnr(vae, held_out):.2f}"
            print(f"step {step + 1}/{pace.steps} {figures} {pace.seconds:.0f}s", flush=True)
            checkpoint.save(out / "checkpoint.pt", **trainer.state_dict(), step=step + 1, steps=pace.steps)
    with torch.no_grad():
        spread = torch.cat([vae.encode(each).latents for each in held_out.split(16)]).std()
    vae.register_to_config(scaling_factor=float(1 / spread))
    vae.to(memory_format=torch.contiguous_format).save_pretrained(out / "vae")


if __name__ == "__main__":
    typer.run(train)
