"""Diffusion transformers through the same hooks: PixArt's cross-attention, Stable Diffusion 3's joint attention."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import layers_of, make_pixart, make_sd3
from diffusers import (
    PixArtSigmaPipeline,
    SD3Transformer2DModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3Img2ImgPipeline,
)
from diffusers.models.controlnets.controlnet_sd3 import SD3ControlNetModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer

from spatialguide import SpatialGuide
from spatialguide.contracts import Layers
from spatialguide.errors import BindingError, ObjectWarning
from spatialguide.guidance.attention import AttentionObserver, ObjectTokens, Places, find_layer
from spatialguide.guidance.correction import paper_correction, signal_rate
from spatialguide.guidance.tokens import bind, shared
from spatialguide.scenes.records import scene_from_triples

PROMPT = "a cat to the left of a dog"
SCENE = scene_from_triples(PROMPT, [("cat", "left_of", "dog")])
STEPS = 3


def make(kind: str, tokenizer: CLIPTokenizer) -> Any:
    return make_pixart() if kind == "pixart" else make_sd3(tokenizer)


def latents_of(pipeline: Any, **call: Any) -> Tensor:
    usual = {"prompt": PROMPT, "num_inference_steps": STEPS, "guidance_scale": 4.5, "output_type": "latent"}
    if "PixArt" in type(pipeline).__name__:
        # T5 in miniature reads 64 tokens; latents of 8 pixels are enough.
        usual |= {"height": 64, "width": 64, "use_resolution_binning": False, "clean_caption": False, "max_sequence_length": 20}
    elif "image" not in call and "control_image" not in call:
        usual |= {"height": 32, "width": 32, "max_sequence_length": 20}
    return pipeline(**{**usual, **call}, generator=torch.Generator().manual_seed(0)).images


def guide(**guidance: Any) -> SpatialGuide:
    return SpatialGuide(guidance={"window": (0.0, 1.0), "patience": None, "settle": False, **guidance})


def check(pipeline: Any, guided_steps: int = STEPS, **call: Any) -> None:
    """Guided the image changes; after the block, and with strength 0, it is bit for bit what it was."""
    plain = latents_of(pipeline, **call)
    with guide().attach(pipeline, PROMPT, scene=SCENE) as trace:
        guided = latents_of(pipeline, **call)
    assert len(trace.steps) == guided_steps
    assert trace.skipped == 0
    assert all(image.gradient_norm > 0 for step in trace.steps for image in step.images)
    assert guided.isfinite().all()
    assert not torch.equal(plain, guided)
    assert torch.equal(plain, latents_of(pipeline, **call))
    if "prompt_embeds" not in call:
        with guide().attach(pipeline):
            read = latents_of(pipeline, **call)
        assert torch.allclose(guided, read, atol=1e-3)
    with guide(strength=0).attach(pipeline, PROMPT, scene=SCENE):
        assert torch.equal(plain, latents_of(pipeline, **call))


@pytest.mark.parametrize(
    "call",
    [{}, {"guidance_scale": 1.0}, {"num_images_per_prompt": 2}, {"negative_prompt": "a bus"}, {"width": 96}],
    ids=["text to image", "no classifier-free guidance", "several images", "negative prompt", "not square"],
)
@pytest.mark.parametrize("kind", ["pixart", "sd3"])
def test_calls(tokenizer: CLIPTokenizer, kind: str, call: dict[str, Any]) -> None:
    check(make(kind, tokenizer), **call)


@pytest.mark.parametrize("mode", ["relative", "paper"])
@pytest.mark.parametrize("kind", ["pixart", "sd3"])
def test_checkpointing_and_both_modes(tokenizer: CLIPTokenizer, kind: str, mode: str) -> None:
    pipeline = make(kind, tokenizer)
    strength = {"relative": 1.0, "paper": 100.0}[mode]
    found = []
    for checkpointing in (False, True):
        chosen = guide(mode=mode, strength=strength, checkpointing=checkpointing)
        with chosen.attach(pipeline, PROMPT, scene=SCENE) as trace:
            found.append(latents_of(pipeline))
        assert all(step.images[0].correction_norm > 0 for step in trace.steps)
    assert torch.allclose(*found, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["pixart", "sd3"])
def test_half_precision(tokenizer: CLIPTokenizer, kind: str, dtype: torch.dtype) -> None:
    check(make(kind, tokenizer).to(dtype))


@pytest.mark.parametrize("kind", ["pixart", "sd3"])
def test_fused_projections_and_lora(tokenizer: CLIPTokenizer, kind: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    pipeline = make(kind, tokenizer)
    with guide().attach(pipeline, PROMPT, scene=SCENE) as apart:
        latents_of(pipeline)
    pipeline.transformer.fuse_qkv_projections()
    with guide().attach(pipeline, PROMPT, scene=SCENE) as fused:
        latents_of(pipeline)
    norms = ([step.images[0].gradient_norm for step in trace.steps] for trace in (apart, fused))
    assert next(norms) == pytest.approx(next(norms), rel=1e-3)
    check(pipeline)
    other = make(kind, tokenizer)
    lora = LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False)
    # diffusers has no LoRA loader for PixArt; peft's own works on any module.
    inject_adapter_in_model(lora, other.transformer)
    check(other)


def test_sd3_without_t5_and_with_normed_queries(tokenizer: CLIPTokenizer) -> None:
    check(make_sd3(tokenizer, t5=False))
    check(make_sd3(tokenizer, qk_norm="rms_norm"))


def test_skip_layer_guidance_moves_by_the_correction_and_no_more(tokenizer: CLIPTokenizer) -> None:
    """SD 3.5: the pipeline adds a multiple of (text prediction - a further call's); both carry the correction."""
    call = {"skip_guidance_layers": [1], "skip_layer_guidance_start": -1.0, "skip_layer_guidance_stop": 1.0}
    pipeline = make_sd3(tokenizer)
    check(pipeline, num_images_per_prompt=2, **call)
    predictions: list[Tensor] = []
    step = pipeline.scheduler.step

    def record(prediction: Tensor, *arguments: Any, **others: Any) -> Any:
        predictions.append(prediction)
        return step(prediction, *arguments, **others)

    pipeline.scheduler.step = record
    latents_of(pipeline, num_inference_steps=1, **call)
    with guide().attach(pipeline, PROMPT, scene=SCENE) as trace:
        latents_of(pipeline, num_inference_steps=1, **call)
    moved = (predictions[1] - predictions[0]).norm()
    assert float(moved) == pytest.approx(trace.steps[0].images[0].correction_norm, rel=1e-3)


@pytest.mark.parametrize("kind", ["pixart", "sd3"])
def test_images_of_a_batch_are_what_they_are_alone(tokenizer: CLIPTokenizer, kind: str) -> None:
    """Two prompts with two images each."""
    pipeline, other = make(kind, tokenizer), "a bus above a bird"
    scenes = [SCENE, scene_from_triples(other, [("bus", "above", "bird")])]

    def drawn(prompts: list[str], scenes: list[Any], seeds: range) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        sides = {"height": 32, "width": 32} if kind == "sd3" else {"height": 64, "width": 64, "use_resolution_binning": False}
        usual = {"num_images_per_prompt": 2, "num_inference_steps": 2, "output_type": "latent", "max_sequence_length": 20}
        with guide().attach(pipeline, prompts, scene=scenes):
            return pipeline(prompts, generator=generators, guidance_scale=4.5, **usual, **sides).images

    together = drawn([PROMPT, other], scenes, range(4))
    alone = [drawn([PROMPT], scenes[:1], range(2)), drawn([other], scenes[1:], range(2, 4))]
    assert torch.allclose(together, torch.cat(alone), atol=1e-3)


def test_equal_seeds_without_classifier_free_guidance_are_no_pair_of_parts() -> None:
    """PixArt does not say; two prompts at one seed look like a conditional and an unconditional half."""
    pipeline, other = make_pixart(), "a bus above a bird"
    scenes = [SCENE, scene_from_triples(other, [("bus", "above", "bird")])]
    usual = {"height": 64, "width": 64, "use_resolution_binning": False, "max_sequence_length": 20, "output_type": "latent"}
    for images in (1, 2):
        seeds = list(range(images)) * 2
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        with guide().attach(pipeline, [PROMPT, other], scene=scenes) as trace:
            pipeline(
                [PROMPT, other],
                guidance_scale=1.0,
                num_images_per_prompt=images,
                num_inference_steps=2,
                generator=generators,
                **usual,
            )
        assert [len(step.images) for step in trace.steps] == [2 * images] * 2


def test_micro_conditions_and_dual_attention(tokenizer: CLIPTokenizer) -> None:
    """What the large PixArt models have, and what SD 3.5 medium has."""
    check(make_pixart(sample_size=128))
    check(make_sd3(tokenizer, qk_norm="rms_norm", dual_attention_layers=(0, 1)))


def test_sd3_image_to_image_and_controlnet(tokenizer: CLIPTokenizer) -> None:
    pipeline = make_sd3(tokenizer)
    picture = Image.new("RGB", (32, 32), "#88aacc")
    img2img = StableDiffusion3Img2ImgPipeline(**pipeline.components)
    img2img.set_progress_bar_config(disable=True)
    check(img2img, guided_steps=2, image=picture, strength=0.5, num_inference_steps=4, max_sequence_length=20)
    controlnet = SD3ControlNetModel.from_transformer(pipeline.transformer, num_layers=2, num_extra_conditioning_channels=0)
    for block in controlnet.controlnet_blocks:
        torch.nn.init.normal_(block.weight, std=0.1)
    controlled = StableDiffusion3ControlNetPipeline(
        **{name: part for name, part in pipeline.components.items() if name not in ("image_encoder", "feature_extractor")},
        controlnet=controlnet,
    )
    controlled.set_progress_bar_config(disable=True)
    check(controlled, control_image=picture, height=32, width=32, max_sequence_length=20)


def test_pixart_sigma() -> None:
    parts = make_pixart().components
    pipeline = PixArtSigmaPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    check(pipeline)


def test_cross_attention_maps_leave_out_the_padding() -> None:
    pipeline = make_pixart()
    transformer = pipeline.transformer
    name = "transformer_blocks.1.attn2"
    layer = find_layer(transformer, name)
    seen: dict[str, Tensor] = {}
    layer.register_forward_hook(lambda m, a, k, o: seen.update(x=a[0], text=k["encoder_hidden_states"]), with_kwargs=True)
    mask = torch.tensor([[1.0] * 9 + [0.0] * 11])
    with AttentionObserver(transformer, Layers({"coarse": (name,)})) as observer:
        added = {"resolution": None, "aspect_ratio": None}
        transformer(torch.randn(1, 4, 8, 12), torch.randn(1, 20, 32), torch.tensor([3]), added, encoder_attention_mask=mask)
    (found,) = observer.maps(ObjectTokens([((1,), (7, 8))] * 1), Places((8, 12), joint=False))
    query = layer.to_q(seen["x"]).unflatten(-1, (2, 12)).transpose(1, 2)
    key = layer.to_k(seen["text"]).unflatten(-1, (2, 12)).transpose(1, 2)
    scores = (query @ key.transpose(-1, -2) / math.sqrt(12))[..., :9]
    expected = scores.softmax(dim=-1).mean(dim=1)
    assert found.maps.shape == (1, 2, 4, 6)
    wanted = torch.stack([expected[..., 1], expected[..., 7:].mean(dim=-1)], dim=1)
    assert torch.allclose(found.maps.flatten(2), wanted, atol=1e-6)


@pytest.mark.parametrize("qk_norm", [None, "rms_norm"])
def test_joint_attention_maps_share_the_softmax_with_the_pixels(tokenizer: CLIPTokenizer, qk_norm: str | None) -> None:
    transformer = make_sd3(tokenizer, qk_norm=qk_norm).transformer
    name = "transformer_blocks.1.attn"
    layer = find_layer(transformer, name)
    seen: dict[str, Tensor] = {}
    layer.register_forward_hook(
        lambda m, a, k, o: seen.update(x=k["hidden_states"], text=k["encoder_hidden_states"]), with_kwargs=True
    )
    with AttentionObserver(transformer, Layers({"coarse": (name,)})) as observer:
        transformer(torch.randn(2, 4, 6, 10), torch.randn(2, 20, 32), torch.randn(2, 32), torch.tensor([3.0, 3.0]))
    (found,) = observer.maps(ObjectTokens([((1,), (7, 8))] * 2), Places((6, 10), text=(60, 60)))

    def heads(states: Tensor, norm: Any) -> Tensor:
        states = states.unflatten(-1, (2, 8)).transpose(1, 2)
        return norm(states) if norm is not None else states

    query = heads(layer.to_q(seen["x"]), layer.norm_q)
    key = torch.cat(
        [heads(layer.to_k(seen["x"]), layer.norm_k), heads(layer.add_k_proj(seen["text"]), layer.norm_added_k)], dim=2
    )
    expected = (query @ key.transpose(-1, -2) / math.sqrt(8)).softmax(dim=-1).mean(dim=1)[..., 60:]
    wanted = torch.stack([expected[..., 1], expected[..., 7:9].mean(dim=-1)], dim=1)
    assert torch.allclose(found.maps.flatten(2), wanted, atol=1e-6)


def test_words_are_found_behind_both_encoders(tokenizer: CLIPTokenizer) -> None:
    assert bind(SCENE, shared(make_sd3(tokenizer), {})) == ((2, 77 + 1), (8, 77 + 7))
    assert bind(SCENE, shared(make_sd3(tokenizer, t5=False), {})) == ((2,), (8,))
    long = "a cat " + "to the left of " * 20 + "a dog"
    scene = scene_from_triples(long, [("cat", "left_of", "dog")])
    pipeline = make_sd3(tokenizer)
    pipeline.tokenizer_3.model_max_length = 256
    assert bind(scene, shared(pipeline, {}))[1] == (77 + 83,)


@pytest.mark.parametrize("prompt", ["  A CAT to the left of a Dog ", "İ a CAT to the left of a dog"])
def test_pixart_reads_the_prompt_in_lower_case(prompt: str) -> None:
    pipeline = make_pixart()
    scene = scene_from_triples(prompt, [("cat", "left_of", "dog")])
    (stretch,) = shared(pipeline, {})
    ids = pipeline.tokenizer(prompt.lower().strip())["input_ids"]
    words = [[pipeline.tokenizer.convert_ids_to_tokens(ids[p]) for p in positions] for positions in bind(scene, [stretch])]
    assert words == [["\u2581cat"], ["\u2581dog"]]


def test_a_prompt_that_the_pipeline_would_rewrite_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    from spatialguide.guidance import denoiser as pipelines

    pipeline = make_pixart()
    monkeypatch.setattr(pipelines, "find_spec", lambda name: True)
    monkeypatch.setattr(type(pipeline), "_clean_caption", lambda self, text: text.lower().replace("!", "").strip())
    with guide().attach(pipeline, PROMPT, scene=SCENE):
        pass
    shouted = f"Wow! {PROMPT}"
    scene = scene_from_triples(shouted, [("cat", "left_of", "dog")])
    with pytest.warns(ObjectWarning, match="clean_caption=False"), guide().attach(pipeline, shouted, scene=scene):
        pass


def test_an_object_past_the_pipelines_own_limit_is_named() -> None:
    prompt = "a cat " + "to the left of " * 6 + "a dog"
    scene = scene_from_triples(prompt, [("cat", "left_of", "dog")])
    pipeline = make_pixart()
    with (
        pytest.raises(BindingError, match=r"token 27 .* sees only 20 tokens.*max_sequence_length"),
        guide().attach(pipeline, prompt, scene=scene),
    ):
        latents_of(pipeline, prompt=prompt)


def test_three_layers_of_the_first_half_are_observed() -> None:
    layers = layers_of(make_pixart(blocks=12).transformer)
    three = tuple(f"transformer_blocks.{number}.attn2" for number in (4, 5, 6))
    assert layers.levels == {"coarse": three, "mid": three}
    assert layers_of(make_pixart(blocks=1).transformer).levels["mid"] == ("transformer_blocks.0.attn2",)


def test_flow_matching_moves_x0_as_epsilon_does(tokenizer: CLIPTokenizer) -> None:
    """The same gradient changes the predicted x0 alike, at the same signal rate and noise, whatever is predicted."""
    scheduler = make_sd3(tokenizer).scheduler
    alpha, sigma = signal_rate(scheduler, 400.0), 0.4
    assert alpha == pytest.approx(0.6)
    gradient = torch.randn(1, 4, 8, 8)
    epsilon = -sigma / alpha * paper_correction(gradient, 10.0, "epsilon", alpha)
    # x0 = x - sigma u under flow matching.
    assert torch.allclose(-sigma * paper_correction(gradient, 10.0, "flow_prediction", alpha), epsilon)


def test_stable_diffusion_3_is_looked_at_where_its_layout_arises(tokenizer: CLIPTokenizer) -> None:
    with torch.device("meta"):
        transformer = SD3Transformer2DModel.from_config(make_sd3(tokenizer).transformer.config, num_layers=24)
    assert layers_of(transformer).levels["mid"] == tuple(f"transformer_blocks.{number}.attn" for number in (4, 6, 8))


@pytest.mark.parametrize("backend", ["pixart_alpha", "pixart_sigma", "sd3"])
def test_backends(tokenizer: CLIPTokenizer, tmp_path: Path, backend: str) -> None:
    pipeline = make_sd3(tokenizer) if backend == "sd3" else make_pixart()
    if backend == "pixart_sigma":
        pipeline = PixArtSigmaPipeline(**pipeline.components)
    pipeline.save_pretrained(tmp_path)
    side = 32 if backend == "sd3" else 64
    steps: list[tuple[int, int]] = []
    chosen = SpatialGuide(
        backend=backend,
        backend_options={"model": str(tmp_path), "local_files_only": True},
        **{"width": side, "height": side, "steps": 2, "guidance": {"window": (0.0, 1.0), "patience": None}},
    )
    plain = chosen(PROMPT, guided=False)
    guided = chosen(PROMPT, on_step=lambda done, of: steps.append((done, of)))
    assert len(guided.trace.steps) == 2
    assert steps == [(1, 2), (2, 2)]
    assert guided.images[0].size == (side, side)
    assert not np.array_equal(np.asarray(plain.images[0]), np.asarray(guided.images[0]))
