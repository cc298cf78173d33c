"""The guider of diffusers' modular pipelines, in the real pipelines with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.guiders import AdaptiveProjectedGuidance, BaseGuidance, ClassifierFreeGuidance
from families import make_family
from torch import Tensor
from transformers import CLIPTokenizer

from spatialguide import SpatialGuidance, SpatialGuide, SpatialParseStep
from spatialguide.errors import PromptError, UnguidedWarning
from spatialguide.guidance.denoiser import denoiser_of

PROMPT = "a cat to the left of a dog"
WHOLE = {"guidance": {"window": (0.0, 1.0), "settle": False, "patience": None}}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "sdxl": ("StableDiffusionXLAutoBlocks", {"height": 64, "width": 64}),
    "sd3": ("StableDiffusion3AutoBlocks", {"height": 32, "width": 32, "max_sequence_length": 20, "negative_prompt": "bus"}),
    "z-image": ("ZImageAutoBlocks", {"height": 128, "width": 128, "max_sequence_length": 64}),
    "flux 2 klein": (
        "Flux2KleinBaseAutoBlocks",
        {"height": 128, "width": 128, "max_sequence_length": 64, "text_encoder_out_layers": (1, 2, 3)},
    ),
}


def make(kind: str, tokenizer: CLIPTokenizer, guider: Any, parse: bool = True) -> Any:
    if not hasattr(diffusers.modular_pipelines, KINDS[kind][0]):
        pytest.skip(f"this diffusers has no modular pipeline of {kind}")
    blocks = getattr(diffusers.modular_pipelines, KINDS[kind][0])()
    if parse:
        blocks.sub_blocks.insert("spatial", SpatialParseStep(), 0)
    pipeline = blocks.init_pipeline()
    wanted = {spec.name for spec in blocks.expected_components}
    parts = {
        name: part for name, part in make_family(kind, tokenizer).components.items() if name in wanted and part is not None
    }
    pipeline.update_components(**parts, guider=guider)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, kind: str, prompt: Any = PROMPT, steps: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    state = pipeline(prompt=prompt, num_inference_steps=steps, generator=generator, output_type="latent", **KINDS[kind][1])
    found = state.get("latents")
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_guides_inside_its_window_and_changes_no_bit_outside(tokenizer: CLIPTokenizer, kind: str) -> None:
    inner = ClassifierFreeGuidance(guidance_scale=5.0)
    plain = draw(make(kind, tokenizer, inner, parse=False), kind)
    guider = SpatialGuidance(inner, overrides=WHOLE)
    pipeline = make(kind, tokenizer, guider)
    guided = draw(pipeline, kind)
    assert guided.isfinite().all()
    assert not torch.equal(plain, guided)
    assert [step.index for step in guider.trace.steps] == [0, 1, 2]
    assert all(step.images[0].correction_norm > 0 for step in guider.trace.steps)
    steered = SpatialGuidance(inner, overrides={"guidance": {"method": "bias"}, "steerings": {"boxes": {"window": (0.0, 1.0)}}})
    pipeline.update_components(guider=steered)
    with torch.inference_mode():
        assert not torch.equal(plain, draw(pipeline, kind))
    assert [step.images[0].bias is not None for step in steered.trace.steps] == [True] * 3
    part = SpatialGuidance(inner, overrides={"guidance": {"method": "bias"}}, start=0.3, stop=0.6)
    pipeline.update_components(guider=part)
    draw(pipeline, kind)
    assert [step.index for step in part.trace.steps] == [1]
    denoiser = denoiser_of(pipeline)
    assert not denoiser._forward_hooks
    assert not any("forward" in vars(module) for module in denoiser.modules())
    pipeline.update_components(guider=SpatialGuidance(inner, overrides=WHOLE, start=0.9, stop=1.0))
    assert torch.equal(plain, draw(pipeline, kind))
    if kind == "sdxl":  # which cannot draw with a disabled guider
        return
    guider.disable()
    pipeline.update_components(guider=guider)
    off = ClassifierFreeGuidance(guidance_scale=5.0)
    off.disable()
    assert torch.equal(draw(make(kind, tokenizer, off, parse=False), kind), draw(pipeline, kind))


def test_it_wraps_other_guiders(tokenizer: CLIPTokenizer) -> None:
    inner = AdaptiveProjectedGuidance(guidance_scale=5.0)
    plain = draw(make("sdxl", tokenizer, inner, parse=False), "sdxl")
    inner = AdaptiveProjectedGuidance(guidance_scale=5.0)
    assert not torch.equal(plain, draw(make("sdxl", tokenizer, SpatialGuidance(inner, overrides=WHOLE)), "sdxl"))
    inner = AdaptiveProjectedGuidance(guidance_scale=5.0)
    quiet = SpatialGuidance(inner, overrides={"guidance": {"strength": 0.0}})
    assert torch.equal(plain, draw(make("sdxl", tokenizer, quiet), "sdxl"))


def test_marks_do_not_reach_the_text_encoders(tokenizer: CLIPTokenizer) -> None:
    guider = SpatialGuidance(ClassifierFreeGuidance(guidance_scale=5.0), overrides=WHOLE)
    pipeline = make("sdxl", tokenizer, guider)
    marked = draw(pipeline, "sdxl", "a cat and a dog {{cat left_of dog}}")
    assert len(guider.trace.steps) == 3
    pipeline.update_components(guider=ClassifierFreeGuidance(guidance_scale=5.0))
    assert not torch.equal(marked, draw(pipeline, "sdxl", "a cat and a dog"))


def test_a_guider_whose_prompt_nobody_read_says_so(tokenizer: CLIPTokenizer) -> None:
    inner = ClassifierFreeGuidance(guidance_scale=5.0)
    plain = draw(make("sdxl", tokenizer, inner, parse=False), "sdxl")
    guider = SpatialGuidance(inner, overrides=WHOLE)
    pipeline = make("sdxl", tokenizer, guider, parse=False)
    with pytest.warns(UnguidedWarning, match="no prompt was read: put SpatialParseStep before the denoising"):
        assert torch.equal(plain, draw(pipeline, "sdxl"))
    assert guider.read(pipeline, PROMPT) == PROMPT
    assert not torch.equal(plain, draw(pipeline, "sdxl"))


def test_it_is_saved_and_loaded_with_what_it_wraps(tmp_path: Path) -> None:
    guider = SpatialGuidance(AdaptiveProjectedGuidance(guidance_scale=3.0), "strong", {"guidance": {"strength": 2.0}}, stop=0.5)
    guider.save_pretrained(tmp_path)
    found = SpatialGuidance.from_pretrained(tmp_path)
    assert isinstance(found, BaseGuidance)
    assert dict(found.config) == dict(guider.config)
    assert (type(found.guider), found.guider.guidance_scale) == (AdaptiveProjectedGuidance, 3.0)
    assert found._guide.config.guidance.window == (0.0, 0.5)
    assert found.new(stop=0.25)._guide.config.guidance.window == (0.0, 0.25)


def test_attach_guides_a_modular_pipeline_too(tokenizer: CLIPTokenizer) -> None:
    pipeline = make("sdxl", tokenizer, ClassifierFreeGuidance(guidance_scale=5.0), parse=False)
    plain = draw(pipeline, "sdxl")
    with SpatialGuide(**WHOLE).attach(pipeline, PROMPT) as trace:
        guided = draw(pipeline, "sdxl")
    assert len(trace.steps) == 3
    assert not torch.equal(plain, guided)
    assert torch.equal(plain, draw(pipeline, "sdxl"))
    with pytest.raises(PromptError, match="has no encode_prompt to read the prompt from: name it, attach"):
        SpatialGuide().attach(pipeline)
