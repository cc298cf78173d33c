"""Shared fixtures: plugins, the bundled model, and small random pipelines."""

from __future__ import annotations

import os

# One thread, here and in child processes: small models gain a tenth by a second one, and lose nine tenths where another
# process has the core, for threads that wait for each other spin. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cache, wraps
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from hypothesis import HealthCheck, settings
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from spatialguide.contracts import Layers
from spatialguide.guidance.layers import default_layers
from spatialguide.guidance.models import facts_of
from spatialguide.registry import Registry, default_registry
from spatialguide_plugins.tiny.backend import WEIGHTS, TinyBackend

# Few examples as one works, twice as many before a change lands: HYPOTHESIS_PROFILE=thorough.
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("thorough", derandomize=True, deadline=None, max_examples=50)
# tests/test_fuzz.py with 20,000 cases in all, none of which may take five seconds: HYPOTHESIS_PROFILE=fuzz.
settings.register_profile("fuzz", deadline=5000, max_examples=4000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
# A quarter of the bundled model's usual picture and half its steps: enough for all tests that do not look at it.
TinyBackend.generation = replace(TinyBackend.generation, width=64, height=64, steps=10)
# The bundled model is read once. Each guide gets modules of its own, whose parameters share the memory of those read.
load_bundled = TinyBackend.load


@cache
def _bundled() -> StableDiffusionPipeline:
    return load_bundled(TinyBackend())


def _load(backend: TinyBackend) -> StableDiffusionPipeline:
    if backend._backdrop is not None:
        return load_bundled(backend)
    parts = dict(_bundled().components)
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            shared = {id(tensor): nn.Parameter(tensor.data, tensor.requires_grad) for tensor in part.parameters()}
            parts[name] = deepcopy(part, shared)
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.scheduler = deepcopy(pipeline.scheduler)
    return pipeline


TinyBackend.load = _load


def heed_interrupts() -> None:
    """For a child process: a shell starts what runs in the background, and so its children, with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return default_registry()


@pytest.fixture(scope="session")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(WEIGHTS / "pipeline" / "tokenizer")


@pytest.fixture(scope="session")
def tiny_pipeline() -> StableDiffusionPipeline:
    pipeline = TinyBackend().load()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_pipeline(
    tokenizer: CLIPTokenizer, prediction_type: str = "epsilon", dtype: torch.dtype = torch.float32, seed: int = 0
) -> StableDiffusionPipeline:
    """A Stable Diffusion pipeline with random weights: three levels, cross-attention on the two coarser ones."""
    torch.manual_seed(seed)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=32,
        norm_num_groups=8,
    )
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        clip_sample=False,
        steps_offset=1,
        set_alpha_to_one=False,
    )
    pipeline = StableDiffusionPipeline(vae, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(dtype)


def clip_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """A text encoder in miniature, one of the two that SDXL and SD3 put side by side."""
    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return CLIPTextConfig(vocab_size=len(tokenizer), projection_dim=16, **sizes, **ends)


def make_sdxl(tokenizer: CLIPTokenizer) -> StableDiffusionXLPipeline:
    """SDXL in miniature: two text encoders side by side, pooled text and sizes as added conditions, three levels."""
    torch.manual_seed(0)
    config = clip_config(tokenizer)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 5),
        attention_head_dim=2,
        cross_attention_dim=32,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    return StableDiffusionXLPipeline(
        make_vae(), CLIPTextModel(config), CLIPTextModelWithProjection(config), tokenizer, tokenizer, unet, scheduler
    )


_T5_WORDS = ["a", "an", "the", "cat", "dog", "bus", "to", "left", "right", "of", "above", "below", "red", "car", "bird", "and"]


def make_t5_tokenizer() -> PreTrainedTokenizerFast:
    """As T5's: a few whole words, and letters for all others; an end token and no start token."""
    words = [(f"\u2581{word}", -2.0) for word in _T5_WORDS]
    letters = [(letter, -10.0) for letter in "\u2581abcdefghijklmnopqrstuvwxyz,."]
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer = Tokenizer(models.Unigram([*specials, *words, *letters], unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)


def make_t5(tokenizer: PreTrainedTokenizerFast) -> T5EncoderModel:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    return T5EncoderModel(T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **sizes))


def make_vae(levels: int = 2, channels: int = 4, **options: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
        latent_channels=channels,
        **options,
    )


def make_pixart(blocks: int = 4, sample_size: int = 32) -> PixArtAlphaPipeline:
    """PixArt in miniature: a transformer with cross-attention to T5, which also predicts a variance."""
    torch.manual_seed(0)
    tokenizer = make_t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=blocks,
        cross_attention_dim=24,
        caption_channels=32,
        sample_size=sample_size,
        use_additional_conditions=sample_size == 128,
        norm_type="ada_norm_single",
    )
    scheduler = DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear")
    # Four levels make latents of 32 pixels a picture of 256, the smallest that PixArt's pipelines know.
    pipeline = PixArtAlphaPipeline(tokenizer, make_t5(tokenizer), make_vae(levels=4), transformer, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_sd3(
    tokenizer: CLIPTokenizer, t5: bool = True, qk_norm: str | None = None, dual_attention_layers: tuple[int, ...] = ()
) -> StableDiffusion3Pipeline:
    """Stable Diffusion 3 in miniature: pixels, two CLIPs side by side and T5 after them, in one attention; flow matching."""
    torch.manual_seed(0)
    config = clip_config(tokenizer)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        num_layers=4,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
        qk_norm=qk_norm,
        dual_attention_layers=dual_attention_layers,
    )
    third = make_t5_tokenizer()
    pipeline = StableDiffusion3Pipeline(
        transformer,
        FlowMatchEulerDiscreteScheduler(),
        make_vae(shift_factor=0.0),
        CLIPTextModelWithProjection(config),
        tokenizer,
        CLIPTextModelWithProjection(config),
        tokenizer,
        make_t5(third) if t5 else None,
        third if t5 else None,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def layers_of(denoiser: Any) -> Layers:
    """All the layers that are observed unless others are named."""
    return default_layers(denoiser, facts_of(denoiser))


@contextmanager
def predictions_of(pipeline: Any) -> Iterator[list[torch.Tensor]]:
    """Inside the block, collects what the pipeline's scheduler is handed."""
    found: list[torch.Tensor] = []
    step = pipeline.scheduler.step

    @wraps(step)
    def record(prediction: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        found.append(prediction)
        return step(prediction, *args, **kwargs)

    pipeline.scheduler.step = record
    try:
        yield found
    finally:
        del pipeline.scheduler.step


@pytest.fixture
def random_pipeline(tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
    return make_pipeline(tokenizer)
