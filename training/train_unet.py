"""Train the denoiser and text encoder of the tiny model on latents of synthetic scenes.

    python -m training.train_unet runs/unet --vae runs/vae/vae --steps 12000

Latents and tokens are prepared once and kept in the run folder. The run resumes from its checkpoint.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
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
from training.optimizer import MuonAdamW, warm_cosine
from training.scenes import load_sprites, make_scene
from training.tokenizer import save_tokenizer, train_tokenizer

TEXT_WIDTH = 128
#: Scenes made by one task of a worker.
AT_ONCE = 512
#: Tasks that are handed out together.
ROUND = 64
#: Seconds between checkpoints.
SAVE_EVERY = 300
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


def _scenes(key: tuple[int, int, int], count: int) -> tuple[np.ndarray, list[str]]:
    """Pictures (count, 64, 64, 3) uint8 and captions; key seeds them."""
    rng = np.random.default_rng(key)
    scenes = [make_scene(rng, load_sprites()) for _ in range(count)]
    return np.stack([scene.image for scene in scenes]), [scene.caption for scene in scenes]


def prepare(
    folder: Path, vae: AutoencoderTiny, tokenizer: CLIPTokenizer, scenes: int, seed: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Latents (scenes, 4, 16, 16) float16 and tokens (scenes, 77) int16 on the device, cached in the folder."""
    path = folder / f"data-{seed}-{scenes}.pt"
    cached = checkpoint.load(path)
    if cached is None:
        vae.to(device)
        counts = [min(AT_ONCE, scenes - start) for start in range(0, scenes, AT_ONCE)]
        keys = [(seed, 1, part) for part in range(len(counts))]
        latents, tokens = [], []
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            # Few at a time: pictures that wait for the encoder take memory.
            rounds = (slice(start, start + ROUND) for start in range(0, len(keys), ROUND))
            made = chain.from_iterable(pool.map(_scenes, keys[each], counts[each]) for each in rounds)
            for pictures, captions in made:
                images = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
                with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                    latents.append(vae.encode(images).latents.half().cpu())
                padded = tokenizer(captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
                tokens.append(torch.tensor(padded["input_ids"], dtype=torch.int16))
        cached = {"latents": torch.cat(latents), "tokens": torch.cat(tokens)}
        checkpoint.save(path, **cached)
    return cached["latents"].to(device), cached["tokens"].to(device)


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
    size, device = latents.shape[0], latents.device
    strata = (torch.arange(size, device=device) + torch.rand(size, generator=generator, device=device)) / size
    timesteps = (strata * scheduler.config.num_train_timesteps).long()
    noise = torch.randn(latents.shape, generator=generator, device=device)
    return (
        scheduler.add_noise(latents, noise, timesteps),
        timesteps,
        scheduler.get_velocity(latents, noise, timesteps),
    )


class Step:
    """One step of training: prediction, loss, update.

    On a GPU it is recorded as a CUDA graph and replayed: a model this small would wait for launches most of the time.
    """

    def __init__(self, model: Denoiser, optimizer: MuonAdamW, device: torch.device, compiled: bool) -> None:
        self._optimizer, self._device = optimizer, device
        self._records = compiled and device.type == "cuda"
        self._model = torch.compile(model) if compiled and not self._records else model
        self._replay: Callable[..., Tensor] | None = None

    def __call__(self, noisy: Tensor, timesteps: Tensor, ids: Tensor, target: Tensor, share: Tensor) -> Tensor:
        """The loss. share: of the peak learning rates."""
        inputs = (noisy, timesteps, ids, target, share)
        if not self._records:
            return self._run(*inputs)
        if self._replay is None:
            self._replay = self._recorded(*inputs)
        return self._replay(*inputs)

    def _run(self, noisy: Tensor, timesteps: Tensor, ids: Tensor, target: Tensor, share: Tensor) -> Tensor:
        # A graph must not hold casts of weights that later steps change.
        with torch.autocast(self._device.type, torch.bfloat16, cache_enabled=not self._records):
            predicted = self._model(noisy.to(memory_format=torch.channels_last), timesteps, ids)
        loss = functional.mse_loss(predicted.float(), target)
        loss.backward()
        self._optimizer.step(share)
        return loss.detach()

    def _recorded(self, *inputs: Tensor) -> Callable[..., Tensor]:
        places = [value.clone() for value in inputs]
        nothing = torch.zeros_like(inputs[-1])
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # makes the optimizer's state, whose momenta this batch begins, and picks kernels; weights stay
                self._run(*places[:-1], nothing)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._run(*places)

        def replay(*values: Tensor) -> Tensor:
            for place, value in zip(places, values, strict=True):
                place.copy_(value)
            graph.replay()
            return loss.clone()

        return replay


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
    compile_model: Annotated[bool, typer.Option("--compile/--no-compile", help="on a GPU: a CUDA graph")] = True,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Train, or go on from the checkpoint in OUT; the averaged weights are in the checkpoint under "average"."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    if initial is not None and not (out / "tokenizer").exists():
        shutil.copytree(initial / "tokenizer", out / "tokenizer")
    if not (out / "tokenizer").exists():
        save_tokenizer(train_tokenizer(), out / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    place = torch.device(device)
    latents, tokens = prepare(out, AutoencoderTiny.from_pretrained(vae), tokenizer, scenes, seed, place)
    padded = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length)
    empty = torch.tensor(padded["input_ids"], device=place)
    scheduler = DDPMScheduler(**SCHEDULER_CONFIG)
    model = Denoiser(make_text_encoder(tokenizer), UNet2DConditionModel(**UNET_CONFIG))
    if initial is not None:
        model.text_encoder = CLIPTextModel.from_pretrained(initial / "text_encoder", dtype=torch.float32)
        model.unet = UNet2DConditionModel.from_pretrained(initial / "unet", torch_dtype=torch.float32)
        model.train()
    if place.type == "cpu":
        # There the fused attention's backward takes several times as long as plain matrix products.
        model.unet.set_attn_processor(AttnProcessor())
        model.text_encoder.set_attn_implementation("eager")
    model.to(place)
    optimizer = MuonAdamW(
        model.named_parameters(),
        is_outer=lambda name: (
            ("embedding" in name and "time" not in name) or name in ("unet.conv_in.weight", "unet.conv_out.weight")
        ),
        muon_lr=muon_lr,
        adam_lr=adam_lr,
    )
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    start = 0
    state = checkpoint.load(out / "checkpoint.pt")
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average = {name: value.to(place) for name, value in state["average"].items()}
        start = state["step"]
    advance = Step(model, optimizer, place, compile_model)
    began = saved = time.time()
    losses: list[Tensor] = []
    for step in range(start, steps):
        rng = np.random.default_rng((seed, 2, step))
        rows = torch.from_numpy(rng.integers(0, scenes, size=batch)).to(place)
        dropped = torch.from_numpy(rng.random(batch) < 0.1).to(place)
        ids = torch.where(dropped[:, None], empty, tokens[rows].long())
        generator = torch.Generator(place).manual_seed(seed * 10**7 + step)
        noisy, timesteps, target = noised(scheduler, latents[rows].float(), generator)
        share = torch.tensor(warm_cosine(step, steps, warmup=200), device=place)
        losses.append(advance(noisy, timesteps, ids, target, share))
        decay = min(0.999, (step + 1) / (step + 20))
        torch._foreach_lerp_(list(average.values()), [v.detach() for v in model.state_dict().values()], 1 - decay)
        finished = step + 1 == steps or time.time() - began > 60 * minutes
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {torch.stack(losses).mean():.4f} {time.time() - began:.0f}s", flush=True)
            losses = []
        if finished or time.time() - saved > SAVE_EVERY:
            checkpoint.save(
                out / "checkpoint.pt",
                model=model.state_dict(),
                optimizer=optimizer.state_dict(),
                average=average,
                step=step + 1,
            )
            saved = time.time()
        if finished:
            break


if __name__ == "__main__":
    typer.run(train)
