"""Living with what makes models fast or small: caches, attention backends, adapters, quantised weights, and more."""

from __future__ import annotations

import copy
from typing import Any

import diffusers
import pytest
import torch
from diffusers import FirstBlockCacheConfig
from diffusers.models.attention_processor import AttnProcessor
from families import draw, make_family
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTokenizer

from spatialguide import SpatialGuide
from spatialguide.errors import UnguidedWarning, UnsupportedPipelineError
from spatialguide.guidance.denoiser import denoiser_of

PROMPT = "a cat to the left of a dog"


def guide(**guidance: Any) -> SpatialGuide:
    return SpatialGuide(guidance={"window": (0.0, 1.0), "patience": None, "settle": False, **guidance})


def check(pipeline: Any, name: str, steps: int = 3, **call: Any) -> None:
    """Guided the image changes; before and after it is bit for bit the same."""
    plain = draw(pipeline, name, PROMPT, **call)
    with guide().attach(pipeline) as trace:
        guided = draw(pipeline, name, PROMPT, **call)
    assert len(trace.steps) == steps
    assert all(step.images[0].correction_norm > 0 for step in trace.steps)
    assert guided.isfinite().all()
    assert not torch.equal(plain, guided)
    assert torch.equal(plain, draw(pipeline, name, PROMPT, **call))


@pytest.mark.parametrize("backend", ["_native_math", "native"])
def test_attention_backends_of_torch(tokenizer: CLIPTokenizer, backend: str) -> None:
    pipeline = make_family("flux", tokenizer)
    pipeline.transformer.set_attention_backend(backend)
    check(pipeline, "flux")


def test_other_backends_are_native_in_observed_layers_of_guided_calls_alone(tokenizer: CLIPTokenizer) -> None:
    pipeline = make_family("flux", tokenizer)
    layer = pipeline.transformer.transformer_blocks[1].attn
    seen: list[str] = []
    forward = type(layer.processor).__call__

    class Spy(type(layer.processor)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(str(self._attention_backend))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(self, "_attention_backend", "native")
                return forward(self, *args, **kwargs)

    layer.processor = Spy()
    layer.processor._attention_backend = "sage"
    with guide(window=(0.0, 0.5)).attach(pipeline):
        draw(pipeline, "flux", PROMPT)
    assert seen == ["native", "native", "sage"]
    assert layer.processor._attention_backend == "sage"


@pytest.mark.parametrize("change", ["old processor", "sliced"])
def test_processors_that_hide_attention_are_replaced_in_guided_calls_alone(tokenizer: CLIPTokenizer, change: str) -> None:
    pipeline = make_family("sdxl", tokenizer)
    with guide().attach(pipeline) as usual:
        draw(pipeline, "sdxl", PROMPT)
    if change == "sliced":
        pipeline.enable_attention_slicing(1)
    else:
        pipeline.unet.set_attn_processor(AttnProcessor())
    processors = {name: type(each) for name, each in pipeline.unet.attn_processors.items()}
    check(pipeline, "sdxl")
    with guide().attach(pipeline) as found:
        draw(pipeline, "sdxl", PROMPT)
    assert {name: type(each) for name, each in pipeline.unet.attn_processors.items()} == processors
    first, other = (trace.steps[0].images[0].gradient_norm for trace in (usual, found))
    assert first == pytest.approx(other, rel=1e-3)


def test_a_processor_of_ones_own_that_hides_attention_is_named(tokenizer: CLIPTokenizer) -> None:
    class Mine:
        def __call__(self, attn: Any, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
            return AttnProcessor()(attn, hidden_states, *args, **kwargs)

    pipeline = make_family("sdxl", tokenizer)
    pipeline.unet.set_attn_processor(Mine())
    with guide().attach(pipeline), pytest.raises(UnsupportedPipelineError, match=r"its attention processor \(Mine\) computes"):
        draw(pipeline, "sdxl", PROMPT)


def test_a_block_cache_is_guided_where_the_layers_run(tokenizer: CLIPTokenizer) -> None:
    pipeline = make_family("flux", tokenizer)
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.0))
    check(pipeline, "flux")
    pipeline.transformer.disable_cache()
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e9))
    plain = draw(pipeline, "flux", PROMPT)
    with (
        guide().attach(pipeline, layers=None) as trace,
        pytest.warns(UnguidedWarning, match="a cache skipped the layers .* no guidance there"),
    ):
        guided = draw(pipeline, "flux", PROMPT)
    assert [step.index for step in trace.steps] == [0]
    assert not torch.equal(plain, guided)


def test_context_parallel_is_refused(tokenizer: CLIPTokenizer) -> None:
    pipeline = make_family("flux", tokenizer)
    pipeline.transformer.transformer_blocks[0].attn.processor._parallel_config = object()
    with pytest.raises(UnsupportedPipelineError, match="context parallelism splits the pixels"):
        guide().attach(pipeline)


@pytest.mark.parametrize("name", ["flux", "qwen", "z-image", "sana"])
def test_lora_by_peft_and_half_precision(tokenizer: CLIPTokenizer, name: str) -> None:
    from peft import LoraConfig

    pipeline = make_family(name, tokenizer)
    pipeline.transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False), "style")
    check(pipeline, name)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.to(torch.bfloat16)
    check(pipeline, name)


@pytest.mark.parametrize("name", ["flux", "qwen", "z-image"])
def test_gradient_checkpointing(tokenizer: CLIPTokenizer, name: str) -> None:
    pipeline = make_family(name, tokenizer)
    norms = []
    for checkpointing in (False, True):
        with guide(checkpointing=checkpointing).attach(pipeline) as trace:
            draw(pipeline, name, PROMPT)
        norms.append([step.images[0].gradient_norm for step in trace.steps])
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


class _Rounded(nn.Linear):
    """Weights in eight bits, as quantised models hold them: a gradient has to go through what undoes it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None)
        self.scale = float(linear.weight.detach().abs().max()) / 127
        self.load_state_dict(linear.state_dict())
        self.weight = nn.Parameter((linear.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states, self.weight.to(states.dtype) * self.scale, self.bias)


def test_quantised_weights(tokenizer: CLIPTokenizer) -> None:
    pipeline = make_family("flux", tokenizer)
    blocks = pipeline.transformer.transformer_blocks
    for name, module in list(blocks.named_modules()):
        if type(module) is nn.Linear:
            owner, _, key = name.rpartition(".")
            setattr(blocks.get_submodule(owner), key, _Rounded(module))
    check(pipeline, "flux")


PICTURE = Image.new("RGB", (128, 128), "#88aacc")


@pytest.mark.parametrize(
    ("kind", "name", "call", "steps"),
    [
        ("FluxImg2ImgPipeline", "flux", {"image": PICTURE, "strength": 0.5}, 2),
        ("FluxInpaintPipeline", "flux", {"image": PICTURE, "mask_image": PICTURE.convert("L"), "strength": 1.0}, 3),
        ("FluxKontextPipeline", "flux", {"image": PICTURE, "_auto_resize": False}, 3),
        ("QwenImageImg2ImgPipeline", "qwen", {"image": PICTURE, "strength": 0.5}, 2),
        ("ZImageImg2ImgPipeline", "z-image", {"image": PICTURE, "strength": 0.5}, 2),
    ],
)
def test_pictures_to_start_from(tokenizer: CLIPTokenizer, kind: str, name: str, call: dict[str, Any], steps: int) -> None:
    usual = make_family(name, tokenizer)
    parts = {key: part for key, part in usual.components.items() if part is not None}
    pipeline = getattr(diffusers, kind)(**parts)
    for key in ("prompt_template_encode_start_idx",):
        if hasattr(usual, key):
            setattr(pipeline, key, getattr(usual, key))
    pipeline.set_progress_bar_config(disable=True)
    check(pipeline, name, steps, **call)


def test_a_copy_of_a_guided_denoiser_is_plain(tokenizer: CLIPTokenizer) -> None:
    pipeline = make_family("sdxl", tokenizer)
    with guide().attach(pipeline):
        other = copy.copy(pipeline)
        draw(pipeline, "sdxl", PROMPT)
    assert "step" not in vars(other.scheduler)
    assert not denoiser_of(other)._forward_hooks
