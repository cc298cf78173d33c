"""Diffusion transformers, in diffusers' own classes."""

from __future__ import annotations

from collections.abc import Callable

from spatialguide.guidance import tokens
from spatialguide.guidance.models import ModelFacts
from spatialguide.hookspecs import hookimpl

#: Where pixels and text share one attention: a sixth to a third of the depth, as in InfSplign's code for Stable Diffusion 3.
_EARLY = (1 / 6, 1 / 4, 1 / 3)
_BLOCKS = r"transformer_blocks\.\d+(\._orig_mod)?"
FACTS = (
    ModelFacts("PixArtTransformer2DModel", "PixArt alpha, sigma", rf"{_BLOCKS}\.attn2"),
    ModelFacts("SanaTransformer2DModel", "Sana 1.0, 1.5", rf"{_BLOCKS}\.attn2", reads=tokens.instructed),
    ModelFacts("SD3Transformer2DModel", "Stable Diffusion 3, 3.5", rf"{_BLOCKS}\.attn", _EARLY, "after"),
    ModelFacts(
        "FluxTransformer2DModel",
        "FLUX.1 dev, schnell, Krea, Kontext",
        rf"{_BLOCKS}\.attn",
        _EARLY,
        "before",
        latents="packed",
        calls="separate",
        time="t / 1000",
        steered=rf"(single_)?{_BLOCKS}\.attn",
        reads=tokens.second,
    ),
    ModelFacts(
        "Flux2Transformer2DModel",
        "FLUX.2 dev, klein",
        rf"{_BLOCKS}\.attn",
        _EARLY,
        "before",
        latents="packed",
        calls="separate",
        time="t / 1000",
        steered=rf"(single_)?{_BLOCKS}\.attn",
        reads=tokens.chat,
    ),
    ModelFacts(
        "ChromaTransformer2DModel",
        "Chroma",
        rf"{_BLOCKS}\.attn",
        _EARLY,
        "before",
        latents="packed",
        calls="separate",
        time="t / 1000",
        steered=rf"(single_)?{_BLOCKS}\.attn",
    ),
    ModelFacts(
        "QwenImageTransformer2DModel",
        "Qwen-Image",
        rf"{_BLOCKS}\.attn",
        _EARLY,
        "before",
        latents="packed",
        calls="separate",
        time="t / 1000",
        reads=tokens.templated,
    ),
    ModelFacts(
        "ZImageTransformer2DModel",
        "Z-Image, Z-Image-Turbo",
        r"layers\.\d+(\._orig_mod)?\.attention",
        _EARLY,
        "after",
        latents="list",
        calls="conditional first",
        time="1 - t / 1000",
        negated=True,
        multiple=32,
        reads=tokens.chat,
    ),
    ModelFacts(
        "Lumina2Transformer2DModel",
        "Lumina 2",
        r"layers\.\d+(\._orig_mod)?\.attn",
        _EARLY,
        "before",
        calls="separate",
        time="1 - t / 1000",
        negated=True,
        lengths="encoder_attention_mask",
        reads=tokens.system,
    ),
    ModelFacts(
        "AuraFlowTransformer2DModel",
        "AuraFlow",
        r"(joint|single)_transformer_blocks\.\d+(\._orig_mod)?\.attn",
        _EARLY,
        "before",
        time="t / 1000",
        registers="register_tokens",
    ),
    ModelFacts("CogView4Transformer2DModel", "CogView4", rf"{_BLOCKS}\.attn1", _EARLY, "before", calls="separate"),
    ModelFacts(
        "Kandinsky5Transformer3DModel",
        "Kandinsky 5 (image)",
        r"visual_transformer_blocks\.\d+(\._orig_mod)?\.cross_attention",
        latents="channels last",
        calls="separate",
        reads=tokens.templated,
    ),
    ModelFacts(
        "HiDreamImageTransformer2DModel",
        "HiDream-I1",
        r"double_stream_blocks\.\d+\.block\.attn1",
        _EARLY,
        "after",
        negated=True,
        separable=False,
        padded="max_seq",
        steered=r"(double|single)_stream_blocks\.\d+\.block\.attn1",
        reads=tokens.third_and_fourth,
    ),
)


@hookimpl
def spatialguide_models(register: Callable[[str, ModelFacts], None]) -> None:
    """PixArt, Sana, Stable Diffusion 3, FLUX.1 and 2, Chroma, Qwen-Image, Z-Image, Lumina 2, AuraFlow, CogView4, and more."""
    for facts in FACTS:
        register(facts.denoiser, facts)
