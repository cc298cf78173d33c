"""Train the UNet and text encoder of the bundled model on latents of synthetic scenes.

    python -m training.denoiser plan runs/data --tokenizer runs/tokenizer --scenes 500000
    python -m training.denoiser encode runs/data --vae runs/vae/vae
    python -m training.denoiser train runs/unet --data runs/data --tokenizer runs/tokenizer --minutes 6

The run resumes from its checkpoint; `--initial` starts from the weights of a pipeline folder.
"""

from __future__ import annotations

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
from training.autoencoder import CHANNELS
from training.muon import Trainer, warm_cosine
from training.pace import TIMED, Pace
from training.paint import load_bank, paint
from training.plans import make_plans
from training.world import Plans

TEXT_WIDTH = 256
#: Seconds between checkpoints.
SAVE_EVERY = 300
UNET_CONFIG: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (144, 288),
    "layers_per_block": 1,
    "attention_head_dim": (3, 6),
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
app = typer.Typer(add_completion=False)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A four-layer CLIP text encoder for the tokenizer's vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=TEXT_WIDTH,
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


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


def loss_of(model: Denoiser, noisy: Tensor, timesteps: Tensor, tokens: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the velocity."""
    return functional.mse_loss(model(noisy, timesteps, tokens).float(), target)


@app.command()
def plan(out: Path, tokenizer: Annotated[Path, typer.Option()], scenes: int = 500000, seed: int = 1) -> None:
    """Write scenes in numbers, and the tokens (scenes, 77) int16 of their captions: needs no autoencoder."""
    began = time.time()
    plans, captions = make_plans(seed, scenes)
    words = CLIPTokenizer.from_pretrained(tokenizer)
    padded = words(captions, padding="max_length", max_length=words.model_max_length, truncation=True, return_tensors="np")
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "plans.npz", tokens=padded["input_ids"].astype(np.int16), **vars(plans))
    print(f"{scenes} scenes planned {time.time() - began:.0f}s", flush=True)


@app.command()
def encode(
    out: Path,
    vae: Annotated[Path, typer.Option(help="folder of the trained autoencoder")],
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Write latents (scenes, CHANNELS, 16, 16) float16, scaled to spread 1, of the scenes planned in OUT."""
    place = torch.device(device)
    began = time.time()
    kept = dict(np.load(out / "plans.npz"))
    tokens, plans = torch.from_numpy(kept.pop("tokens")), Plans(**kept)
    scenes = len(tokens)
    encoder = AutoencoderTiny.from_pretrained(vae).to(place, memory_format=torch.channels_last)
    precision = torch.bfloat16 if place.type == "cuda" else torch.float32
    encoder.to(precision)
    bank = load_bank(place)
    latents = torch.empty(scenes, CHANNELS, 16, 16, dtype=torch.float16, device=place)
    with torch.no_grad():
        for start in range(0, scenes, 512):
            rows = slice(start, start + 512)
            images = paint(plans[rows], bank).to(precision, memory_format=torch.channels_last)
            latents[rows] = (encoder.encode(images).latents * encoder.config.scaling_factor).half()
    checkpoint.save(out / "data.pt", latents=latents, tokens=tokens)
    print(f"latents {time.time() - began:.0f}s spread {latents[:1000].float().std():.3f}", flush=True)


def noised(scheduler: DDPMScheduler, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, timesteps (stratified over the batch) and the velocity target."""
    size, device = latents.shape[0], latents.device
    strata = (torch.arange(size, device=device) + torch.rand(size, generator=generator, device=device)) / size
    timesteps = (strata * scheduler.config.num_train_timesteps).long()
    noise = torch.randn(latents.shape, generator=generator, device=device)
    return scheduler.add_noise(latents, noise, timesteps), timesteps, scheduler.get_velocity(latents, noise, timesteps)


@app.command()
def train(
    out: Path,
    data: Annotated[Path, typer.Option(help="folder of prepared latents")],
    tokenizer: Annotated[Path, typer.Option()],
    steps: int = 15000,
    batch: int = 256,
    muon_lr: float = 2e-3,
    adam_lr: float = 1e-3,
    seed: int = 0,
    initial: Annotated[Path | None, typer.Option(help="pipeline folder whose text encoder and UNet to start from")] = None,
    minutes: Annotated[float | None, typer.Option(help="plan as many steps as this time allows")] = None,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Train, or go on from the checkpoint in OUT; the averaged weights are in the checkpoint under "average"."""
    torch.manual_seed(seed)
    words = CLIPTokenizer.from_pretrained(tokenizer)
    place = torch.device(device)
    prepared = checkpoint.load(data / "data.pt")
    if prepared is None:
        raise typer.BadParameter(f"no data in {data}")
    latents, tokens = prepared["latents"].to(place), prepared["tokens"].to(place)
    empty = torch.tensor(words("", padding="max_length", max_length=words.model_max_length)["input_ids"], device=place)
    scheduler = DDPMScheduler(**SCHEDULER_CONFIG)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to(place)
    model = Denoiser(make_text_encoder(words), UNet2DConditionModel(**UNET_CONFIG))
    if initial is not None:
        model.text_encoder = CLIPTextModel.from_pretrained(initial / "text_encoder", dtype=torch.float32)
        model.unet = UNet2DConditionModel.from_pretrained(initial / "unet", torch_dtype=torch.float32)
    model.train()
    if place.type == "cpu":
        # There the fused attention's backward takes several times as long as plain matrix products.
        model.unet.set_attn_processor(AttnProcessor())
        model.text_encoder.set_attn_implementation("eager")
    model.to(place)
    model.unet.to(memory_format=torch.channels_last)
    trainer = Trainer(
        model,
        loss_of,
        is_outer=lambda name: (
            ("embedding" in name and "time" not in name) or name in ("unet.conv_in.weight", "unet.conv_out.weight")
        ),
        muon_lr=muon_lr,
        adam_lr=adam_lr,
    )
    weights = [value.detach() for value in model.state_dict().values()]
    average = [value.clone() for value in weights]
    pace = Pace(0, steps, minutes)
    if state := checkpoint.load(out / "checkpoint.pt"):
        trainer.load_state_dict(state)
        average = [value.to(place) for value in state["average"].values()]
        pace = Pace(state["step"], state["steps"], None)
    precision = next(trainer.copy.parameters()).dtype
    saved = time.time()
    losses: list[Tensor] = []
    for step in pace:
        generator = torch.Generator(place).manual_seed(seed * 10**7 + step)
        rows = torch.randint(len(latents), (batch,), generator=generator, device=place)
        dropped = torch.rand(batch, 1, generator=generator, device=place) < 0.1
        ids = torch.where(dropped, empty, tokens[rows].long())
        noisy, timesteps, target = noised(scheduler, latents[rows].float(), generator)
        noisy = noisy.to(precision, memory_format=torch.channels_last)
        losses.append(trainer.step(warm_cosine(step, pace.steps, warmup=200), noisy, timesteps, ids, target))
        torch._foreach_lerp_(average, weights, 1 - min(0.9995, (step + 1) / (step + 20)))
        finished = pace.ends(step)
        if (step + 1) % 250 == 0 or finished:
            print(f"step {step + 1}/{pace.steps} loss {torch.stack(losses).mean():.4f} {pace.seconds:.0f}s", flush=True)
            losses = []
        if finished or (time.time() - saved > SAVE_EVERY and (pace.minutes is None or step >= TIMED)):
            kept = dict(zip(model.state_dict(), average, strict=True))
            checkpoint.save(out / "checkpoint.pt", **trainer.state_dict(), average=kept, step=step + 1, steps=pace.steps)
            saved = time.time()


if __name__ == "__main__":
    app()
