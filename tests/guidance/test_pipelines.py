"""The pipelines and settings that people have: attached in three lines, guided, and afterwards as they were."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import attach_align_device_hook
from conftest import make_pipeline, make_sd3, make_sdxl, make_vae
from diffusers import (
    AnimateDiffPipeline,
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusion3PAGPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPanoramaPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
    UNetMotionModel,
)
from PIL import Image
from torch._dynamo.testing import CompileCounter

from spatialguide import SpatialGuide
from spatialguide.errors import BindingError, UnsupportedPipelineError
from spatialguide.guidance.denoiser import EagerCalls
from spatialguide.guidance.tokens import bind_ids
from spatialguide.scenes.records import scene_from_triples

PROMPT = "a cat to the left of a dog"
SCENE = scene_from_triples(PROMPT, [("cat", "left_of", "dog")])
STEPS = 4
PICTURE = Image.new("RGB", (64, 64), "#88aacc")
MASK = Image.new("L", (64, 64), 255)


def latents_of(pipeline: Any, **call: Any) -> torch.Tensor:
    usual = {"num_inference_steps": STEPS, "guidance_scale": 5.0, "output_type": "latent"}
    if "prompt_embeds" not in call:
        usual["prompt"] = PROMPT
    seeded = torch.Generator().manual_seed(0)
    return pipeline(**{**usual, **call}, generator=seeded).images


def check(pipeline: Any, guided_steps: int = STEPS, **call: Any) -> None:
    """Guided the image changes, the same with the prompt read from the call; after the blocks it is bit for bit what it was.

    By a bias too.
    """
    pipeline.set_progress_bar_config(disable=True)
    plain = latents_of(pipeline, **call)
    guide = SpatialGuide(guidance={"window": (0.0, 1.0)})
    with guide.attach(pipeline, PROMPT, scene=SCENE) as trace:
        guided = latents_of(pipeline, **call)
    assert len(trace.steps) == guided_steps
    assert trace.skipped == 0
    assert guided.isfinite().all()
    assert not torch.equal(plain, guided)
    with steering().attach(pipeline, PROMPT, scene=SCENE) as trace:
        steered = latents_of(pipeline, **call)
    assert [step.images[0].bias is not None for step in trace.steps] == [True] * guided_steps
    assert steered.isfinite().all()
    assert not torch.equal(plain, steered)
    if "prompt_embeds" not in call:
        with guide.attach(pipeline):
            assert torch.equal(guided, latents_of(pipeline, **call))
    assert torch.equal(plain, latents_of(pipeline, **call))


def steering() -> SpatialGuide:
    return SpatialGuide(guidance={"method": "bias"}, steerings={"boxes": {"window": (0.0, 1.0)}})


def inpainting_unet() -> UNet2DConditionModel:
    """Nine input channels: latents, mask, and the masked picture's latents."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=9,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=32,
        norm_num_groups=8,
    )


def controlnet_for(unet: UNet2DConditionModel, halvings: int) -> ControlNetModel:
    """One that does something: a new one's last layers are zero. halvings: from picture to latents."""
    torch.manual_seed(0)
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8,) * (halvings + 1))
    for block in controlnet.controlnet_down_blocks:
        torch.nn.init.normal_(block.weight, std=0.1)
    return controlnet


CALLS: dict[str, dict[str, Any]] = {
    "text to image": {},
    "no classifier-free guidance": {"guidance_scale": 1.0},
    "guidance_rescale": {"guidance_rescale": 0.7},
    "negative prompt": {"negative_prompt": "blurry"},
    "several images": {"num_images_per_prompt": 3},
    "not square": {"height": 64, "width": 96},
    "callback": {"callback_on_step_end": lambda pipeline, step, timestep, tensors: tensors},
}


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_calls_of_stable_diffusion(random_pipeline: StableDiffusionPipeline, call: dict[str, Any]) -> None:
    check(random_pipeline, **call)


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        {},
        {"guidance_scale": 1.0},
        {"guidance_rescale": 0.7},
        {"num_images_per_prompt": 2, "negative_prompt": "blurry"},
        {"original_size": (128, 128)},
    ],
    ids=["text to image", "no classifier-free guidance", "guidance_rescale", "several images", "micro-conditions"],
)
def test_calls_of_stable_diffusion_xl(tokenizer: Any, call: dict[str, Any]) -> None:
    check(make_sdxl(tokenizer), height=32, width=32, **call)


def test_image_to_image(random_pipeline: StableDiffusionPipeline, tokenizer: Any) -> None:
    pipeline = StableDiffusionImg2ImgPipeline(**random_pipeline.components, requires_safety_checker=False)
    check(pipeline, guided_steps=2, image=PICTURE, strength=0.5)
    large = StableDiffusionXLImg2ImgPipeline(**make_sdxl(tokenizer).components)
    check(large, guided_steps=2, image=PICTURE.resize((32, 32)), strength=0.5)


@pytest.mark.slow
def test_inpainting(random_pipeline: StableDiffusionPipeline, tokenizer: Any) -> None:
    # AutoencoderTiny cannot encode masked pictures: it has no distribution to sample from.
    vae = make_sdxl(tokenizer).vae
    parts = {**random_pipeline.components, "vae": vae}
    sizes = {"image": PICTURE.resize((32, 32)), "mask_image": MASK.resize((32, 32)), "height": 32, "width": 32, "strength": 1.0}
    check(StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False), **sizes)
    check(StableDiffusionInpaintPipeline(**{**parts, "unet": inpainting_unet()}, requires_safety_checker=False), **sizes)
    check(StableDiffusionXLInpaintPipeline(**make_sdxl(tokenizer).components), **sizes)


@pytest.mark.slow
def test_controlnet(random_pipeline: StableDiffusionPipeline, tokenizer: Any) -> None:
    controlnet = controlnet_for(random_pipeline.unet, halvings=2)
    pipeline = StableDiffusionControlNetPipeline(
        **random_pipeline.components, controlnet=controlnet, requires_safety_checker=False
    )
    check(pipeline, image=PICTURE)
    check(pipeline, image=PICTURE, guess_mode=True)
    sdxl = make_sdxl(tokenizer)
    large = StableDiffusionXLControlNetPipeline(**sdxl.components, controlnet=controlnet_for(sdxl.unet, halvings=1))
    check(large, image=PICTURE.resize((32, 32)), height=32, width=32)


def load_ip_adapter(pipeline: Any) -> None:
    torch.manual_seed(0)
    layers, number = {}, 1
    for name in pipeline.unet.attn_processors:
        if name.endswith("attn2.processor"):
            channels = pipeline.unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
            layers |= {f"{number}.to_{part}_ip.weight": torch.randn(channels, 32) for part in "kv"}
            number += 2
    projection = {"proj.weight": torch.randn(4 * 32, 16), "proj.bias": torch.zeros(4 * 32)}
    projection |= {"norm.weight": torch.ones(32), "norm.bias": torch.zeros(32)}
    pipeline.unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": layers}])


@pytest.mark.slow
def test_ip_adapter(random_pipeline: StableDiffusionPipeline, tokenizer: Any) -> None:
    embeds = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0))
    load_ip_adapter(random_pipeline)
    check(random_pipeline, ip_adapter_image_embeds=[embeds])
    large = make_sdxl(tokenizer)
    load_ip_adapter(large)
    check(large, ip_adapter_image_embeds=[embeds], height=32, width=32)


@pytest.mark.slow
def test_prompt_embeds_of_sdxl(tokenizer: Any) -> None:
    pipeline = make_sdxl(tokenizer)
    positive, negative, pooled, negative_pooled = pipeline.encode_prompt(PROMPT, PROMPT, torch.device("cpu"), 1, True)
    embeds = {"prompt_embeds": 1.1 * positive, "negative_prompt_embeds": negative}
    check(pipeline, **embeds, pooled_prompt_embeds=pooled, negative_pooled_prompt_embeds=negative_pooled, height=32, width=32)


def test_a_guided_step_runs_no_sample_more_than_a_plain_one(random_pipeline: StableDiffusionPipeline) -> None:
    """The conditional forward that guidance differentiates is the one whose prediction the pipeline uses."""
    samples: list[int] = []
    random_pipeline.unet.conv_in.register_forward_hook(lambda m, args, output: samples.append(output.shape[0]))
    latents_of(random_pipeline)
    plain = sum(samples)
    samples.clear()
    with SpatialGuide(guidance={"window": (0.0, 1.0), "patience": None}).attach(random_pipeline, PROMPT, scene=SCENE):
        latents_of(random_pipeline)
    assert sum(samples) == plain == 2 * STEPS


@pytest.mark.slow
def test_prompt_embeds_of_ones_own(random_pipeline: StableDiffusionPipeline) -> None:
    positive, negative = random_pipeline.encode_prompt(PROMPT, torch.device("cpu"), 1, True)
    check(random_pipeline, prompt_embeds=1.1 * positive, negative_prompt_embeds=negative)


@pytest.mark.slow
def test_tokens_of_ones_own(random_pipeline: StableDiffusionPipeline) -> None:
    """Embeddings with other words around: the positions say where the objects are."""
    longer = f"a photo of {PROMPT}"
    positive, negative = random_pipeline.encode_prompt(longer, torch.device("cpu"), 1, True)
    call = {"prompt_embeds": positive, "negative_prompt_embeds": negative}
    guide = SpatialGuide(guidance={"window": (0.0, 1.0)})
    found = {}
    for name, prompt, tokens in (("given", PROMPT, [[(5,), (11,)]]), ("read", longer, None), ("wrong", PROMPT, None)):
        scene = scene_from_triples(prompt, [("cat", "left_of", "dog")])
        with guide.attach(random_pipeline, prompt, scene=scene, tokens=tokens):
            found[name] = latents_of(random_pipeline, **call)
    offsets = random_pipeline.tokenizer(longer)["input_ids"]
    words = random_pipeline.tokenizer.convert_ids_to_tokens(offsets)
    assert (words[5], words[11]) == ("cat</w>", "dog</w>"), words
    assert torch.equal(found["given"], found["read"])
    assert not torch.equal(found["given"], found["wrong"])
    with pytest.raises(BindingError, match="positions for each object"), guide.attach(random_pipeline, PROMPT, tokens=[[(1,)]]):
        pass


SETTINGS: dict[str, Callable[[Any], Any]] = {
    "attention slicing": lambda pipeline: pipeline.enable_attention_slicing(),
    "channels last": lambda pipeline: pipeline.unet.to(memory_format=torch.channels_last),
    "VAE slicing": lambda pipeline: pipeline.vae.enable_slicing(),
    "FreeU": lambda pipeline: pipeline.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4),
    "model offload": lambda pipeline: pipeline.enable_model_cpu_offload(device="cpu"),
    # What sequential offload installs; accelerate's own call needs another device than the CPU.
    "hooks on every layer": lambda pipeline: attach_align_device_hook(pipeline.unet, execution_device="cpu"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", SETTINGS.values(), ids=SETTINGS.keys())
def test_settings(random_pipeline: StableDiffusionPipeline, change: Callable[[Any], Any]) -> None:
    change(random_pipeline)
    check(random_pipeline)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(tokenizer: Any, dtype: torch.dtype) -> None:
    check(make_pipeline(tokenizer, dtype=dtype))


@pytest.mark.slow
@pytest.mark.parametrize("fused", [False, True])
def test_lora(random_pipeline: StableDiffusionPipeline, tokenizer: Any, fused: bool) -> None:
    from peft import LoraConfig

    torch.manual_seed(0)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    random_pipeline.unet.add_adapter(LoraConfig(r=4, target_modules=targets, init_lora_weights=False), "style")
    if fused:
        random_pipeline.fuse_lora()
    check(random_pipeline)
    large = make_sdxl(tokenizer)
    large.unet.add_adapter(LoraConfig(r=4, target_modules=targets, init_lora_weights=False), "style")
    if fused:
        large.fuse_lora(components=["unet"])
    check(large, height=32, width=32)


@pytest.mark.slow
def test_fused_projections_are_read_like_separate_ones(random_pipeline: StableDiffusionPipeline) -> None:
    def norms() -> list[float]:
        with SpatialGuide(guidance={"window": (0.0, 1.0)}).attach(random_pipeline, PROMPT, scene=SCENE) as trace:
            latents_of(random_pipeline)
        return [step.images[0].gradient_norm for step in trace.steps]

    apart = norms()
    random_pipeline.fuse_qkv_projections(unet=True, vae=False)
    assert norms() == pytest.approx(apart, rel=1e-3)
    check(random_pipeline)


def compile_whole(pipeline: Any) -> None:
    pipeline.unet = torch.compile(pipeline.unet, backend="eager")


def compile_in_place(pipeline: Any) -> None:
    pipeline.unet.compile(backend="eager")


def compile_blocks(pipeline: Any) -> None:
    pipeline.unet.compile_repeated_blocks(backend="eager")


def compile_forward(pipeline: Any) -> None:
    pipeline.unet.forward = torch.compile(pipeline.unet.forward, backend="eager")


def compile_children(pipeline: Any) -> None:
    for number, block in enumerate(pipeline.unet.up_blocks):
        pipeline.unet.up_blocks[number] = torch.compile(block, backend="eager")


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [compile_whole, compile_in_place, compile_blocks, compile_forward, compile_children])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it loads its compiler
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_compiled_denoisers(random_pipeline: StableDiffusionPipeline, compiled: Callable[[Any], None]) -> None:
    """Guided steps run as they are; the steps outside the window and the calls after the block run compiled."""
    with SpatialGuide(guidance={"window": (0.0, 0.5)}).attach(random_pipeline, PROMPT, scene=SCENE):
        expected = latents_of(random_pipeline)
    compiled(random_pipeline)
    plain = latents_of(random_pipeline)
    with SpatialGuide(guidance={"window": (0.0, 0.5)}).attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        guided = latents_of(random_pipeline)
    assert [step.index for step in trace.steps] == [0, 1]
    assert torch.allclose(guided, expected, atol=1e-4)
    assert torch.equal(plain, latents_of(random_pipeline))
    torch._dynamo.reset()


@pytest.mark.slow
def test_a_guided_call_that_raises_gives_the_compiler_back(random_pipeline: StableDiffusionPipeline) -> None:
    """In the unconditional pass and in the conditional one; afterwards compiled code runs compiled again."""
    counted = CompileCounter()
    random_pipeline.unet = torch.compile(random_pipeline.unet, backend=counted)

    def fail(graph: bool) -> Callable[[Any, Any], None]:
        def hook(module: Any, args: Any) -> None:
            if torch.is_grad_enabled() == graph:
                raise RuntimeError("broken layer")

        return hook

    with SpatialGuide(guidance={"window": (0.0, 1.0)}).attach(random_pipeline, PROMPT, scene=SCENE):
        for graph in (False, True):
            handle = random_pipeline.unet._orig_mod.mid_block.register_forward_pre_hook(fail(graph))
            with pytest.raises(RuntimeError, match="broken layer"):
                latents_of(random_pipeline)
            handle.remove()
            assert EagerCalls._count == 0
        latents_of(random_pipeline)
    assert counted.frame_count == 0
    latents_of(random_pipeline)
    assert counted.frame_count > 0
    torch._dynamo.reset()


def test_sequential_offload_gets_its_trainable_parameters_back(random_pipeline: StableDiffusionPipeline) -> None:
    """accelerate moves weights in and out for each layer's call, and puts new parameters in their places."""
    cpu_offload(random_pipeline.unet, torch.device("cpu"))
    check(random_pipeline)
    assert all(parameter.requires_grad for parameter in random_pipeline.unet.parameters())
    assert {str(parameter.device) for parameter in random_pipeline.unet.parameters()} == {"meta"}


def test_the_base_before_a_refiner_is_guided_from_its_first_step(tokenizer: Any) -> None:
    """`denoising_end` runs the schedule's first part."""
    pipeline = make_sdxl(tokenizer)
    pipeline.set_progress_bar_config(disable=True)
    with SpatialGuide(guidance={"window": (0.0, 0.3), "patience": None}).attach(pipeline, PROMPT, scene=SCENE) as trace:
        latents_of(pipeline, height=32, width=32, num_inference_steps=10, denoising_end=0.8)
    assert [step.timestep for step in trace.steps] == pipeline.scheduler.timesteps[:3].tolist()


@pytest.mark.parametrize("guidance_scale", [5.0, 1.0])
def test_perturbed_attention_guidance(random_pipeline: StableDiffusionPipeline, guidance_scale: float) -> None:
    """Its processors need the whole batch in one call; with pag_scale 0 the call is an ordinary one."""
    pipeline = StableDiffusionPAGPipeline(
        **random_pipeline.components, requires_safety_checker=False, pag_applied_layers=["mid"]
    )
    for pag_scale in (3.0, 0.0):
        check(pipeline, height=64, width=64, guidance_scale=guidance_scale, pag_scale=pag_scale)


@pytest.mark.parametrize("guidance_scale", [5.0, 1.0])
def test_perturbed_attention_guidance_of_joint_attention(tokenizer: Any, guidance_scale: float) -> None:
    """Its processors ask for the attention of a part of the batch."""
    parts = {
        name: part
        for name, part in make_sd3(tokenizer).components.items()
        if name not in ("image_encoder", "feature_extractor")
    }
    pipeline = StableDiffusion3PAGPipeline(**parts, pag_applied_layers=["blocks.0"])
    check(pipeline, height=32, width=32, guidance_scale=guidance_scale, pag_scale=3.0, max_sequence_length=20)


def test_instruct_pix2pix(tokenizer: Any) -> None:
    """Three parts, the text's first; eight channels go in and four come out."""
    plain = make_pipeline(tokenizer)
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(plain.unet.config, in_channels=8)
    parts = {name: value for name, value in plain.components.items() if name not in ("unet", "vae", "scheduler")}
    scheduler = EulerDiscreteScheduler.from_config(plain.scheduler.config)
    pipeline = StableDiffusionInstructPix2PixPipeline(
        **parts, unet=unet, vae=make_vae(), scheduler=scheduler, requires_safety_checker=False
    )
    check(pipeline, image=Image.new("RGB", (64, 64), "#88aacc"))


def test_several_views_or_frames_a_step_are_refused_by_name(random_pipeline: StableDiffusionPipeline) -> None:
    panorama = StableDiffusionPanoramaPipeline(**random_pipeline.components, requires_safety_checker=False)
    with pytest.raises(UnsupportedPipelineError, match=r"StableDiffusionPanoramaPipeline denoises several views"):
        SpatialGuide().attach(panorama)
    motion = UNetMotionModel.from_unet2d(random_pipeline.unet)
    parts = {name: value for name, value in random_pipeline.components.items() if name in ("vae", "text_encoder", "tokenizer")}
    frames = AnimateDiffPipeline(**parts, unet=motion, motion_adapter=None, scheduler=random_pipeline.scheduler)
    with pytest.raises(UnsupportedPipelineError, match=r"AnimateDiffPipeline denoises several frames"):
        SpatialGuide().attach(frames)


#: What takes the weights away before a backward: gradients are refused, a bias is not.
REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "layerwise casting": (
        lambda pipeline: pipeline.unet.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32),
        r"layerwise casting takes the weights away .* float16 or bfloat16",
    ),
    "group offload": (
        lambda pipeline: pipeline.unet.enable_group_offload(torch.device("cpu"), offload_type="leaf_level"),
        r"group offloading takes the weights away .* enable_model_cpu_offload",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_takes_the_weights_away_is_steered_by_a_bias_and_refused_for_gradients(
    random_pipeline: StableDiffusionPipeline, change: Callable[[Any], Any], message: str
) -> None:
    try:
        change(random_pipeline)
    except AttributeError as error:  # diffusers 0.38 asks for an accelerator before it offloads to the CPU
        pytest.skip(f"this diffusers cannot: {error}")
    plain = latents_of(random_pipeline)
    for method in ("bias", "auto"):
        with SpatialGuide(guidance={"method": method}).attach(random_pipeline) as trace:
            assert not torch.equal(plain, latents_of(random_pipeline))
        assert trace.method == "bias"
        assert re.match(message, trace.reason or "") if method == "auto" else trace.reason is None
    with (
        pytest.raises(UnsupportedPipelineError, match=message),
        SpatialGuide().attach(random_pipeline, PROMPT, scene=SCENE),
    ):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compel_weights_words_and_guidance_finds_them(tiny_pipeline) -> None:
    """compel gives embeddings of the words without its signs: attach with these words."""
    compel = pytest.importorskip("compel")
    embed = compel.Compel(tokenizer=tiny_pipeline.tokenizer, text_encoder=tiny_pipeline.text_encoder)
    words = "a cat to the left of a dog"
    weighted = embed("a (cat)1.4 to the left of a dog")

    def draw() -> np.ndarray:
        generator = torch.Generator().manual_seed(3)
        return tiny_pipeline(
            prompt_embeds=weighted, num_inference_steps=6, guidance_scale=4.0, generator=generator, output_type="np"
        ).images

    plain = draw()
    with SpatialGuide().attach(tiny_pipeline, words) as trace:
        guided = draw()
    assert trace.steps[0].images[0].correction_norm > 0
    assert not np.array_equal(plain, guided)
    assert np.array_equal(plain, draw())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_long_prompt_of_compel_is_guided_in_its_second_chunk(tiny_pipeline) -> None:
    compel = pytest.importorskip("compel")
    parts = {"tokenizer": tiny_pipeline.tokenizer, "text_encoder": tiny_pipeline.text_encoder}
    embed = compel.Compel(**parts, truncate_long_prompts=False)
    words = "a red field under a blue sky. " * 10 + "a cat to the left of a dog"
    ids = embed.conditioning_provider.get_token_ids_and_expand_weights([words], [1.0], "cpu")[0].tolist()
    long, empty = embed.pad_conditioning_tensors_to_same_length([embed(words), embed("")])
    guide = SpatialGuide()
    scene = scene_from_triples(words, [("cat", "left_of", "dog")])
    with pytest.raises(BindingError, match=r"name attach\(tokens=...\)"), guide.attach(tiny_pipeline, words, scene=scene):
        pass
    tokens = [bind_ids(scene, tiny_pipeline.tokenizer, ids)]
    with guide.attach(tiny_pipeline, words, scene=scene, tokens=tokens) as trace:
        call = {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(3), "output_type": "latent"}
        tiny_pipeline(prompt_embeds=long, negative_prompt_embeds=empty, **call)
    assert long.shape[1] == len(ids) == 154
    assert min(tokens[0][0]) > 77
    assert trace.steps[0].images[0].correction_norm > 0
