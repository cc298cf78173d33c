"""What the tests of a plugin need: statistics of maps that you draw, scenes, and what a term does to a map.

>>> maps = {"coarse": blobs([(0.2, 0.5), (0.8, 0.5)])}
>>> scene = planned("a cat to the left of a dog", [("cat", "left_of", "dog")])
>>> statistics(maps, scene).distances.round(decimals=1)
tensor([[[0.6000]]])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spatialguide.guidance.statistics import LayerMaps, ObjectStatistics, object_statistics
from spatialguide.registry import Registry, default_registry
from spatialguide.scenes.planned import PlannedScene, Structure, plan
from spatialguide.scenes.records import scene_from_triples


def planned(
    prompt: str, triples: Iterable[tuple[str, str, str | Sequence[str]]], registry: Registry | None = None
) -> PlannedScene:
    """A scene from (subject, predicate, ground or grounds), with its predicates: what a term is called with.

    Args:
        registry: plugins; all installed ones by default.
    """
    return plan(scene_from_triples(prompt, triples), (registry or default_registry()).relations())


def statistics(
    maps: Tensor | Mapping[str, Tensor | Sequence[Tensor]], scene: Structure, map_size: int | None = None
) -> ObjectStatistics:
    """Object statistics of maps, as a term is called with.

    Args:
        maps: (images, objects, height, width), not negative, of one layer at the levels "coarse" and "mid"; or by level, a
            tensor or several for as many layers.
        scene: whose relations `distances` are of.
    """
    by_level: Mapping[str, Any] = dict.fromkeys(("coarse", "mid"), maps) if isinstance(maps, Tensor) else maps
    layers = [
        LayerMaps(level, each)
        for level, given in by_level.items()
        for each in ([given] if isinstance(given, Tensor) else given)
    ]
    return object_statistics(layers, scene, map_size)


def blobs(centres: Sequence[tuple[float, float]], size: int = 16, spread: float = 0.1) -> Tensor:
    """One image with a round spot of attention for each object, (1, objects, size, size).

    Args:
        centres: (x, y) in [0, 1], as `ObjectStatistics.centroid` counts. spread: standard deviation, in image sides.
    """
    grid = torch.linspace(0, 1, size)
    spots = [torch.outer(*((-((grid - middle) ** 2) / (2 * spread**2)).exp() for middle in (y, x))) for x, y in centres]
    return torch.stack(spots)[None]


def random_pipeline(words: Iterable[str], seed: int = 0) -> Any:
    """A Stable Diffusion in miniature with random weights, 32x32 pixels in a second: to see that a plugin guides.

    >>> pipe = random_pipeline(["cat", "dog"])
    >>> with SpatialGuide(losses={"my_loss": {}}).attach(pipe) as trace:
    ...     pipe("a cat to the left of a dog", num_inference_steps=2, output_type="latent")
    >>> trace.steps[0].images[0].gradient_norm > 0
    True

    Args:
        words: that its tokenizer knows, beside those of relations; all others are one unknown token.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    usual = ("a", "an", "the", "to", "left", "right", "of", "above", "below", "next", "on", "and")
    known = ["<start>", "<end>", "<unknown>", *dict.fromkeys([*usual, *words])]
    fast = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, unk_token="<unknown>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    names = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<end>", "unk_token": "<unknown>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, model_max_length=77, **names)
    torch.manual_seed(seed)
    text = CLIPTextConfig(
        vocab_size=len(known),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    checks = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = StableDiffusionPipeline(vae, CLIPTextModel(text), tokenizer, unet, scheduler, **checks)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
