"""The guidance step on random pipelines: exactness, batches, clean exits, faults in plugins."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from conftest import layers_of, make_pipeline, predictions_of
from diffusers import (
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from transformers import CLIPTokenizer

from spatialguide import GuideConfig, Layers, LossTerm, SpatialGuide, hookimpl
from spatialguide.errors import (
    BindingError,
    InvalidPluginError,
    NoRelationError,
    PluginError,
    PromptError,
    UnguidedWarning,
    UnsupportedPipelineError,
)
from spatialguide.guidance.tokens import bind, shared
from spatialguide.registry import Registry
from spatialguide.scenes.records import scene_from_triples
from spatialguide.scenes.scene import Scene

PROMPT = "a cat to the left of a dog"
SCENE = scene_from_triples(PROMPT, [("cat", "left_of", "dog")])
HELD = SCENE.model_copy(update={"relations": (SCENE.relations[0].model_copy(update={"predicate": "held"}),)})
OTHER_PROMPT = "a bus above a red car and a bird"
OTHER_SCENE = scene_from_triples(OTHER_PROMPT, [("bus", "above", "car"), ("bus", "above", "bird")])


def draw(pipeline: StableDiffusionPipeline, prompt: Any = PROMPT, images: int = 1, **arguments: Any) -> torch.Tensor:
    """Latents from fixed seeds."""
    total = images * (len(prompt) if isinstance(prompt, list) else 1)
    settings = {"num_inference_steps": 4, "guidance_scale": 5.0, "output_type": "latent"} | arguments
    generators = [torch.Generator().manual_seed(i) for i in range(total)]
    return pipeline(prompt, num_images_per_prompt=images, generator=generators, height=64, width=64, **settings).images


def guide(**guidance: Any) -> SpatialGuide:
    return SpatialGuide(guidance={"window": (0.0, 1.0)} | guidance)


def test_guidance_changes_the_image(random_pipeline: StableDiffusionPipeline) -> None:
    plain = draw(random_pipeline)
    with guide().attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        guided = draw(random_pipeline)
    assert not torch.equal(plain, guided)
    assert [step.index for step in trace.steps] == [0, 1, 2, 3]
    assert all(step.images[0].gradient_norm > 0 and step.images[0].correction_norm > 0 for step in trace.steps)


@pytest.mark.parametrize("guidance_scale", [5.0, 1.0])
def test_strength_zero_and_after_the_block_are_bit_identical(
    random_pipeline: StableDiffusionPipeline, guidance_scale: float
) -> None:
    plain = draw(random_pipeline, guidance_scale=guidance_scale)
    with guide(strength=0).attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        assert torch.equal(plain, draw(random_pipeline, guidance_scale=guidance_scale))
    assert trace.steps == []
    with guide().attach(random_pipeline, PROMPT, scene=SCENE):
        assert not torch.equal(plain, draw(random_pipeline, guidance_scale=guidance_scale))
    assert torch.equal(plain, draw(random_pipeline, guidance_scale=guidance_scale))


def test_the_correction_is_the_gradient_of_the_loss_times_eta(random_pipeline: StableDiffusionPipeline) -> None:
    """Against a plain autograd computation of the paper's formula through the whole UNet."""
    from spatialguide.guidance.attention import AttentionObserver, Places
    from spatialguide.guidance.scene_batch import SceneBatch
    from spatialguide.guidance.schedule import StepPlan
    from spatialguide.guidance.step import score
    from spatialguide.guidance.tokens import Encoding, bind

    unet = random_pipeline.unet
    chosen = SpatialGuide(preset="paper")
    inputs: list[tuple[torch.Tensor, Any, torch.Tensor]] = []
    handle = unet.register_forward_pre_hook(
        lambda module, args, kwargs: inputs.append((*args[:2], kwargs["encoder_hidden_states"])), with_kwargs=True
    )
    with predictions_of(random_pipeline) as predictions:
        draw(random_pipeline, num_inference_steps=1)
        handle.remove()
        with chosen.attach(random_pipeline, PROMPT, scene=SCENE):
            draw(random_pipeline, num_inference_steps=1)
    plain, corrected = predictions
    (plain_input,) = inputs
    sample, timestep, text = plain_input
    leaf = sample[1:].clone().requires_grad_()
    with AttentionObserver(unet, layers_of(unet)) as observer:
        unet(leaf, timestep, text[1:])
    tokens = bind(SCENE, [Encoding(random_pipeline.tokenizer)])
    batch = SceneBatch.of([chosen.plan(SCENE)], [tokens], 1, chosen.terms)
    step = StepPlan(0, 0.0, 0.0, guided=True, biased=False, split=True, observed=True, ranked=False)
    maps = observer.maps(batch.tokens, Places((8, 8), joint=False))
    scores = score(maps, batch, chosen.config.guidance, step, watched=False)
    (gradient,) = torch.autograd.grad(scores.loss.sum(), leaf)
    # The random model's gradients are about 1e-5, times 1000; predictions are about 1, their rounding times five 1e-5.
    assert torch.allclose(corrected - plain, 1000 * gradient, atol=2e-5)
    assert (1000 * gradient).abs().max() > 1e-2


def test_scenes_of_a_batch_do_not_mix(random_pipeline: StableDiffusionPipeline) -> None:
    """Image i of a batch is corrected as it is alone."""
    prompts, scenes = [PROMPT, OTHER_PROMPT], [SCENE, OTHER_SCENE]
    with guide().attach(random_pipeline, prompts, scene=scenes) as together:
        both = draw(random_pipeline, prompts, images=2)
    with guide().attach(random_pipeline, PROMPT, scene=SCENE) as alone:
        first = draw(random_pipeline, PROMPT, images=2)
    with guide().attach(random_pipeline, OTHER_PROMPT, scene=OTHER_SCENE):
        generators = [torch.Generator().manual_seed(i) for i in (2, 3)]
        arguments = {"num_inference_steps": 4, "guidance_scale": 5.0, "output_type": "latent", "height": 64, "width": 64}
        second = random_pipeline(OTHER_PROMPT, num_images_per_prompt=2, generator=generators, **arguments).images
    assert torch.allclose(both, torch.cat([first, second]), atol=1e-3)
    for step, single in zip(together.steps, alone.steps, strict=True):
        assert len(step.images) == 4
        assert len(step.images[2].centroids) == 3
        assert step.images[0].loss == pytest.approx(single.images[0].loss, abs=1e-5)


def test_a_prompt_without_objects_is_left_alone_in_a_batch(random_pipeline: StableDiffusionPipeline) -> None:
    prompts = [PROMPT, "a quiet evening"]
    with (
        pytest.warns(UnguidedWarning, match="a quiet evening"),
        guide().attach(random_pipeline, prompts, scene=[SCENE, Scene(prompt=prompts[1])]) as trace,
    ):
        guided = draw(random_pipeline, prompts)
    assert torch.allclose(guided[1], draw(random_pipeline, prompts)[1], atol=1e-3)
    assert all(step.images[1] is None for step in trace.steps)


def test_only_steps_inside_the_window_are_guided(random_pipeline: StableDiffusionPipeline) -> None:
    with guide(window=(0.25, 0.75)).attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        draw(random_pipeline, num_inference_steps=8)
    assert [step.index for step in trace.steps] == [2, 3, 4, 5]


def satisfied(steps: list[bool]) -> Registry:
    """A registry whose relation `held` holds, step by step, as it is told; then it does not."""
    calls = iter(steps)

    @dataclass(frozen=True)
    class Held:
        name: str = "held"
        phrases: tuple[str, ...] = ()
        grounds: int = 1
        converse: str | None = None
        direction: tuple[float, float] | None = None

        def distance(self, subject: Any, ground: Any) -> Any:
            if not isinstance(subject, torch.Tensor):
                return (subject - ground)[..., 0] * 0 + 1.0  # the layout asks, with arrays
            return (subject - ground)[..., 0] * 0 + (1.0 if next(calls, False) else -1.0)

    class Plugin:
        @hookimpl
        def spatialguide_relations(self, register: Any) -> None:
            register("held", Held())

    registry = Registry()
    registry.add(Plugin())
    return registry


@pytest.mark.parametrize(
    ("holds", "guided"),
    [
        ([True] * 6, [0, 1]),  # two in a row, and no more is observed
        ([True, False, True, True, True, True], [0, 1, 2, 3]),
        ([False] * 6, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_patience_stops_once_the_relations_have_held(
    random_pipeline: StableDiffusionPipeline, holds: list[bool], guided: list[int]
) -> None:
    guidance = {"window": (0.0, 1.0), "patience": 2, "settle": True}
    chosen = SpatialGuide(registry=satisfied(holds), guidance=guidance, losses={"presence": {}})
    with chosen.attach(random_pipeline, PROMPT, scene=HELD) as trace:
        draw(random_pipeline, num_inference_steps=6)
    assert [step.index for step in trace.steps] == guided
    corrections = [step.images[0].correction_norm for step in trace.steps]
    assert [norm > 0 for norm in corrections] == [not held for held in holds[: len(guided)]]


def test_steps_of_two_calls_count_once(random_pipeline: StableDiffusionPipeline) -> None:
    """Heun: the last step is one call, the others are two; `patience` counts steps."""
    random_pipeline.scheduler = HeunDiscreteScheduler.from_config(random_pipeline.scheduler.config)
    with guide().attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        draw(random_pipeline, num_inference_steps=5)
    assert [step.index for step in trace.steps] == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    chosen = SpatialGuide(
        registry=satisfied([True] * 9), guidance={"window": (0.0, 1.0), "patience": 2}, losses={"presence": {}}
    )
    with chosen.attach(random_pipeline, PROMPT, scene=HELD) as trace:
        draw(random_pipeline, num_inference_steps=5)
    assert sorted({step.index for step in trace.steps}) == [0, 1]


def test_generations_of_one_step_and_of_other_sizes_start_anew(random_pipeline: StableDiffusionPipeline) -> None:
    chosen = SpatialGuide(
        registry=satisfied([True] * 9), guidance={"window": (0.0, 1.0), "patience": 1}, losses={"presence": {}}
    )
    with chosen.attach(random_pipeline, PROMPT, scene=HELD) as trace:
        for images in (2, 3):
            draw(random_pipeline, num_inference_steps=1, images=images)
            assert [(step.index, len(step.images)) for step in trace.steps] == [(0, images)]


def test_another_generation_in_the_block_starts_anew(random_pipeline: StableDiffusionPipeline) -> None:
    chosen = SpatialGuide(
        registry=satisfied([True] * 9), guidance={"window": (0.0, 1.0), "patience": 1}, losses={"presence": {}}
    )
    with chosen.attach(random_pipeline, PROMPT, scene=HELD) as trace:
        for _ in range(2):  # the trace is that of the last generation
            draw(random_pipeline)
            assert [step.index for step in trace.steps] == [0]


def test_checkpointing_gives_the_same_image_and_is_taken_back(random_pipeline: StableDiffusionPipeline) -> None:
    latents, norms = [], []
    for checkpointing in (False, True):
        with guide(checkpointing=checkpointing).attach(random_pipeline, PROMPT, scene=SCENE) as trace:
            assert random_pipeline.unet.is_gradient_checkpointing == checkpointing
            latents.append(draw(random_pipeline))
        assert not random_pipeline.unet.is_gradient_checkpointing
        norms.append([step.images[0].gradient_norm for step in trace.steps])
    assert torch.allclose(*latents, atol=1e-4)
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    random_pipeline.unet.enable_gradient_checkpointing()
    with guide(checkpointing=True).attach(random_pipeline, PROMPT, scene=SCENE):
        pass
    assert random_pipeline.unet.is_gradient_checkpointing


@pytest.mark.parametrize("kind", [PNDMScheduler, HeunDiscreteScheduler, EulerDiscreteScheduler])
def test_schedulers_that_call_more_than_once_a_step(random_pipeline: StableDiffusionPipeline, kind: type) -> None:
    random_pipeline.scheduler = kind.from_config(
        random_pipeline.scheduler.config, **({"skip_prk_steps": True} if kind is PNDMScheduler else {})
    )
    plain = draw(random_pipeline, num_inference_steps=6)
    with guide(window=(0.0, 0.5)).attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        guided = draw(random_pipeline, num_inference_steps=6)
    timesteps = random_pipeline.scheduler.timesteps.float().unique_consecutive().tolist()
    assert sorted({step.index for step in trace.steps}) == list(range(math.ceil(len(timesteps) / 2)))
    assert all(step.timestep == pytest.approx(timesteps[step.index]) for step in trace.steps)
    assert not torch.equal(plain, guided)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("mode", ["relative", "paper"])
def test_every_prediction_type(tokenizer: CLIPTokenizer, kind: str, mode: str) -> None:
    pipeline = make_pipeline(tokenizer, kind)
    with guide(mode=mode).attach(pipeline, PROMPT, scene=SCENE) as trace:
        assert draw(pipeline).isfinite().all()
    assert all(step.images[0].correction_norm > 0 for step in trace.steps)


@pytest.mark.parametrize("size", [(48, 96), (72, 40)])
def test_images_that_are_not_square(random_pipeline: StableDiffusionPipeline, size: tuple[int, int]) -> None:
    with guide().attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        random_pipeline(PROMPT, height=size[0], width=size[1], num_inference_steps=2, output_type="latent")
    assert len(trace.steps) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(tokenizer: CLIPTokenizer, dtype: torch.dtype) -> None:
    pipeline = make_pipeline(tokenizer, dtype=dtype)
    with guide().attach(pipeline, PROMPT, scene=SCENE) as trace:
        latents = draw(pipeline)
    assert latents.dtype == dtype
    assert latents.isfinite().all()
    assert trace.skipped == 0
    assert all(step.images[0].gradient_norm > 0 for step in trace.steps)


def test_parameters_are_frozen_inside_and_as_before_afterwards(random_pipeline: StableDiffusionPipeline) -> None:
    unet = random_pipeline.unet
    unet.requires_grad_(True)
    unet.conv_in.requires_grad_(False)
    with guide().attach(random_pipeline, PROMPT, scene=SCENE):
        assert not any(p.requires_grad for p in unet.parameters())
    assert unet.conv_out.weight.requires_grad
    assert not unet.conv_in.weight.requires_grad


def test_attaching_again_replaces_what_was_attached(random_pipeline: StableDiffusionPipeline) -> None:
    plain = draw(random_pipeline)
    with guide().attach(random_pipeline, PROMPT, scene=SCENE) as first:
        with guide().attach(random_pipeline, PROMPT, scene=SCENE) as second:
            draw(random_pipeline)
        assert torch.equal(plain, draw(random_pipeline))
    assert (len(first.steps), len(second.steps)) == (0, 4)


def test_guidance_can_be_attached_and_detached_without_a_block(random_pipeline: StableDiffusionPipeline) -> None:
    plain, guiding = draw(random_pipeline), guide()
    attachment = guiding.attach(random_pipeline)
    assert not torch.equal(plain, draw(random_pipeline))
    assert len(attachment.trace.steps) == 4
    for _ in range(2):
        guiding.detach(random_pipeline)
    attachment.detach()
    assert torch.equal(plain, draw(random_pipeline))
    assert not {"encode_prompt", "check_inputs"} & set(vars(random_pipeline))


def test_an_exception_inside_the_block_leaves_a_clean_pipeline(random_pipeline: StableDiffusionPipeline) -> None:
    plain = draw(random_pipeline)

    def stop(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), guide().attach(random_pipeline, PROMPT, scene=SCENE):
        draw(random_pipeline, callback_on_step_end=stop)
    assert torch.is_grad_enabled()
    assert torch.equal(plain, draw(random_pipeline))
    with guide().attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        draw(random_pipeline)
    assert len(trace.steps) == 4


def test_an_exception_inside_the_denoiser_restores_gradient_mode(random_pipeline: StableDiffusionPipeline) -> None:
    def fail(module: Any, args: Any) -> None:
        if torch.is_grad_enabled():
            raise RuntimeError("broken layer")

    with guide().attach(random_pipeline, PROMPT, scene=SCENE):
        handle = random_pipeline.unet.mid_block.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="broken layer"), torch.no_grad():
            draw(random_pipeline)
        handle.remove()
        assert torch.is_grad_enabled()
        assert draw(random_pipeline).isfinite().all()


def test_an_interrupt_inside_the_denoiser_leaves_no_hooks(random_pipeline: StableDiffusionPipeline) -> None:
    plain = draw(random_pipeline)

    def interrupt(module: Any, args: Any) -> None:
        if torch.is_grad_enabled():
            raise KeyboardInterrupt

    handle = random_pipeline.unet.mid_block.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt), guide().attach(random_pipeline, PROMPT, scene=SCENE), torch.no_grad():
        draw(random_pipeline)
    handle.remove()
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks for module in random_pipeline.unet.modules())
    assert torch.equal(plain, draw(random_pipeline))


def test_maps_that_are_not_finite_never_reach_the_image(random_pipeline: StableDiffusionPipeline) -> None:
    plain = draw(random_pipeline)

    def nan_maps(*arguments: Any, **others: Any) -> torch.Tensor:
        return object_maps(*arguments, **others) * float("nan")

    from spatialguide.guidance import attention as observer

    object_maps = observer.object_maps
    with pytest.MonkeyPatch.context() as patch, guide().attach(random_pipeline, PROMPT, scene=SCENE) as trace:
        patch.setattr(observer, "object_maps", nan_maps)
        with pytest.warns(UnguidedWarning, match="4 of 4 guided steps were skipped: the value of loss 'alignment'"):
            guided = draw(random_pipeline)
    assert trace.skipped == 4
    assert torch.allclose(guided, plain, atol=1e-3)


def test_inference_mode_is_refused_with_a_remedy(random_pipeline: StableDiffusionPipeline) -> None:
    with (
        guide().attach(random_pipeline, PROMPT, scene=SCENE),
        torch.inference_mode(),
        pytest.raises(UnsupportedPipelineError, match=r"torch.no_grad\(\) in its place; or guide by bias"),
    ):
        draw(random_pipeline)


def test_wrong_layers_and_tokens_are_named_before_anything_runs(random_pipeline: StableDiffusionPipeline) -> None:
    with (
        pytest.raises(UnsupportedPipelineError, match="no layer 'nowhere'"),
        guide().attach(random_pipeline, PROMPT, scene=SCENE, layers=Layers({"coarse": ("nowhere",)})),
    ):
        pass
    for tokens in ([[(), (8,)]], [[(), ()]], [[(-1,), (8,)]]):
        with (
            pytest.raises(BindingError, match="at least one position"),
            guide().attach(random_pipeline, PROMPT, scene=SCENE, tokens=tokens),
        ):
            pass
    assert not random_pipeline.unet._forward_hooks


@pytest.mark.slow
def test_autocast_keeps_statistics_in_float32(random_pipeline: StableDiffusionPipeline) -> None:
    """The loss of a half-precision forward, computed in float32: close to the float32 one, and differentiated with a scale."""
    found = []
    for enabled in (False, True):
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=enabled),
            guide().attach(random_pipeline, PROMPT, scene=SCENE) as trace,
        ):
            assert draw(random_pipeline).isfinite().all()
        assert trace.skipped == 0
        found.append(trace.steps[0].images[0])
    assert found[1].loss == pytest.approx(found[0].loss, rel=2e-3)
    assert found[1].gradient_norm == pytest.approx(found[0].gradient_norm, rel=0.1)


@pytest.mark.slow
def test_a_raise_in_the_unconditional_pass_leaves_nothing_pending(random_pipeline: StableDiffusionPipeline) -> None:
    plain = draw(random_pipeline)

    def fail(module: Any, args: Any) -> None:
        if not torch.is_grad_enabled():
            raise RuntimeError("broken layer")

    with guide().attach(random_pipeline, PROMPT, scene=SCENE):
        handle = random_pipeline.unet.mid_block.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="broken layer"):
            draw(random_pipeline)
        handle.remove()
        assert draw(random_pipeline).isfinite().all()
    assert torch.equal(plain, draw(random_pipeline))


@pytest.mark.slow
def test_relations_share_a_correction_that_grows_with_their_number(random_pipeline: StableDiffusionPipeline) -> None:
    """sqrt(2) times as long for two as for one."""
    prompt = "a cat to the left of a dog, above a bus"
    relations = [("cat", "left_of", "dog"), ("cat", "above", "bus")]
    norms = {}
    for number in (1, 2):
        shaped = guide(settle=False, rescale=False, window=(0.0, 0.25), strength=0.5)
        with shaped.attach(random_pipeline, prompt, scene=scene_from_triples(prompt, relations[:number])) as trace:
            draw(random_pipeline, prompt)
        norms[number] = trace.steps[0].images[0].correction_norm
    assert norms[2] == pytest.approx(2**0.5 * norms[1], rel=1e-4)
    # Fading, each counts as far as it is from holding: none alone counts for more than one.
    with guide(window=(0.0, 0.25), strength=0.5, rescale=False).attach(
        random_pipeline, prompt, scene=scene_from_triples(prompt, relations)
    ) as trace:
        draw(random_pipeline, prompt)
    assert 0 < trace.steps[0].images[0].correction_norm <= norms[2] * 1.0001


@pytest.mark.slow
def test_rescaling_keeps_what_the_pipeline_combines_in_its_bounds(random_pipeline: StableDiffusionPipeline) -> None:
    """What the first guided step predicts, combined as the pipeline does, has the channels' deviations of the plain one."""
    found = {}
    for name, strength, rescale in (("plain", 0, False), ("loud", 3, False), ("kept", 3, True)):
        chosen = guide(settle=False, strength=strength, rescale=rescale)
        with predictions_of(random_pipeline) as predictions, chosen.attach(random_pipeline, PROMPT, scene=SCENE):
            draw(random_pipeline)
        found[name] = predictions[0].std(dim=(2, 3))
    torch.testing.assert_close(found["kept"], found["plain"], rtol=1e-3, atol=0)
    assert (found["loud"] > 1.02 * found["plain"]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "losses",
    [
        {"attend_and_excite": {}},
        {"alignment": {}, "presence_first": {"gate": 1.0}},
        {"boxdiff": {"boxes": [[0, 0.3, 0.4, 0.7], [0.6, 0.3, 1, 0.7]]}},
        {"placement": {"boxes": [[0, 0.3, 0.4, 0.7], [0.6, 0.3, 1, 0.7]]}},
    ],
    ids=lambda losses: "+".join(losses),
)
def test_terms_that_speak_of_objects_guide_scenes_without_relations(
    random_pipeline: StableDiffusionPipeline, losses: dict[str, Any], recwarn: pytest.WarningsRecorder
) -> None:
    prompt = "a cat and a dog"
    scene = SpatialGuide().parse(prompt)
    plain = draw(random_pipeline, prompt)
    guiding = SpatialGuide(losses=losses, guidance={"window": (0.0, 1.0)})
    with guiding.attach(random_pipeline, prompt, scene=scene) as trace:
        assert not torch.equal(draw(random_pipeline, prompt), plain)
    assert any(step.images[0].correction_norm > 0 for step in trace.steps)
    assert set(trace.steps[0].images[0].terms) == set(losses) - {"alignment"}
    assert not [each for each in recwarn if each.category is UnguidedWarning]


@pytest.mark.slow
def test_strict_accepts_what_a_term_guides() -> None:
    strict = SpatialGuide(steps=1, strict=True, losses={"attend_and_excite": {}})
    assert strict("a cat and a dog").metadata[0]["guided"] is True
    with pytest.raises(NoRelationError):
        SpatialGuide(steps=1, strict=True)("a cat and a dog")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["overlap", "conform", "presence_first"])
def test_terms_that_compare_objects_say_nothing_of_one(name: str) -> None:
    with pytest.warns(UnguidedWarning, match="generating without guidance"):
        result = SpatialGuide(steps=1, losses={name: {}})("a cat")
    assert result.metadata[0]["guided"] is False


@pytest.mark.slow
def test_what_was_left_out_is_said_where_a_term_guides_objects() -> None:
    scene = SpatialGuide().parse("a cat and a dog").model_copy(update={"ignored": ("'near' is no place",)})
    with pytest.warns(UnguidedWarning, match="'near' is no place"):
        SpatialGuide(steps=1, losses={"attend_and_excite": {}})(scene.prompt, scene=scene)


@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["a cat and a dog", PROMPT])
@pytest.mark.filterwarnings("ignore::spatialguide.errors.UnguidedWarning")
def test_an_unguided_image_needs_no_terms(prompt: str) -> None:
    drawn = SpatialGuide(GuideConfig.model_validate({"steps": 1, "losses": {"nope": {}}}))(prompt, guided=False).images[0]
    assert np.array_equal(drawn, SpatialGuide(steps=1)(prompt, guided=False).images[0])


def test_without_strength_there_are_no_candidates() -> None:
    idle, steps = SpatialGuide(steps=2, guidance={"strength": 0, "best_of": 3}), []
    plain = idle(PROMPT, seed=5, on_step=lambda done, whole: steps.append(done))
    assert steps == [1, 2]
    watched = idle(PROMPT, seed=5, watch=True)
    assert np.array_equal(plain.images[0], watched.images[0])
    assert plain.metadata[0]["seed"] == watched.metadata[0]["seed"] == 5


def test_a_term_that_raises_when_it_is_asked_is_named(random_pipeline: StableDiffusionPipeline) -> None:
    class Odd(LossTerm):
        def applies(self, scene: Any) -> bool:
            raise ValueError("no idea")

        def __call__(self, statistics: Any, scene: Any) -> torch.Tensor:
            raise NotImplementedError

    class Plugin:
        @hookimpl
        def spatialguide_losses(self, register: Callable[..., None]) -> None:
            register("odd", Odd)

    registry = Registry()
    registry.add(Plugin(), "tests")
    guiding = SpatialGuide(registry=registry, losses={"odd": {}})
    with (
        pytest.raises(PluginError, match=r"loss 'odd' of distribution 'tests' raised ValueError: no idea"),
        guiding.attach(random_pipeline, PROMPT, scene=SCENE),
    ):
        draw(random_pipeline)


@pytest.mark.slow
def test_best_of_keeps_the_candidate_whose_maps_show_the_scene_best() -> None:
    prompt = "a cat to the left of a dog"
    chosen = SpatialGuide(steps=6, guidance={"best_of": 3})
    kept = chosen(prompt, seed=5, images_per_prompt=2)
    candidates = [SpatialGuide(steps=6, guidance={"best_of": 2})(prompt, seed=seed).metadata[0]["seed"] for seed in (5, 6)]
    assert all(first <= found <= first + 1 for first, found in zip((5, 6), candidates, strict=True))
    for image, first in enumerate((5, 8)):
        seed = kept.metadata[image]["seed"]
        assert first <= seed < first + 3
        alone = SpatialGuide(steps=6)(prompt, seed=seed).images[0]
        difference = np.abs(np.asarray(alone).astype(int) - np.asarray(kept.images[image]).astype(int))
        assert difference.max() <= 2
    watched = chosen(prompt, seed=5, images_per_prompt=2, watch=True)
    assert [each["seed"] for each in watched.metadata] == [each["seed"] for each in kept.metadata]
    assert watched.trace.satisfaction(0) == kept.trace.satisfaction(0)
    # Guided in the window of three steps, and looked at after it.
    assert [step.index for step in kept.trace.steps] == [0, 1, 2, 3]
    assert [image.correction_norm for image in kept.trace.steps[3].images] == [0, 0]
    unguided = chosen(prompt, seed=5, guided=False)
    assert unguided.metadata[0]["seed"] == 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::spatialguide.errors.UnguidedWarning")
def test_what_is_not_guided_can_be_watched() -> None:
    """It is drawn as it would be, and its maps are kept."""
    prompts = ["a cat and a dog", "a cat to the left of a dog"]
    guiding = SpatialGuide(steps=3, guidance={"best_of": 2})
    alone, plain = guiding(prompts[0], watch=True), guiding(prompts[0])
    together, unwatched = guiding(prompts, watch=True), guiding(prompts)
    assert np.array_equal(alone.images[0], plain.images[0])
    assert np.array_equal(alone.images[0], guiding(prompts[0], guided=False).images[0])
    assert [step.index for step in alone.trace.steps] == [0, 1, 2]
    assert all(len(step.images[0].maps) == 2 and step.images[0].correction_norm == 0 for step in alone.trace.steps)
    for seen, unseen in zip(together.images, unwatched.images, strict=True):
        assert np.array_equal(seen, unseen)
    assert [each["seed"] for each in together.metadata] == [each["seed"] for each in unwatched.metadata]
    assert [each["guided"] for each in together.metadata] == [False, True]
    assert all(step.images[0].correction_norm == 0 for step in together.trace.steps)
    assert alone.attention_sheet().height > 0


@pytest.mark.filterwarnings("ignore::spatialguide.errors.UnguidedWarning")
def test_a_scene_without_objects_can_be_watched() -> None:
    guiding = SpatialGuide(steps=2)
    watched = guiding("beautiful", watch=True)
    assert np.array_equal(watched.images[0], guiding("beautiful").images[0])
    assert watched.trace.steps == []


def test_candidates_that_cannot_be_ranked_are_not_drawn() -> None:
    guiding, steps = SpatialGuide(steps=2, guidance={"best_of": 3}), []
    with pytest.warns(UnguidedWarning):
        result = guiding("a cat and a dog", seed=5, images_per_prompt=2, on_step=lambda done, whole: steps.append(done))
    assert steps == [1, 2]
    assert [each["seed"] for each in result.metadata] == [5, 8]


def test_pipelines_without_a_unet_are_refused() -> None:
    with pytest.raises(UnsupportedPipelineError, match="no unet"), guide().attach(object(), PROMPT, scene=SCENE):
        pass


def test_image_to_image_is_guided_by_the_same_hooks(random_pipeline: StableDiffusionPipeline) -> None:
    from diffusers import StableDiffusionImg2ImgPipeline
    from PIL import Image

    pipeline = StableDiffusionImg2ImgPipeline(**random_pipeline.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    image = Image.new("RGB", (64, 64), "#88aacc")
    with guide(window=(0.0, 0.5)).attach(pipeline, PROMPT, scene=SCENE) as trace:
        pipeline(PROMPT, image=image, strength=0.5, num_inference_steps=8, output_type="latent")
    # Half the schedule runs, steps 4 to 7; the window is the first half of those, and counted from the first.
    assert [step.index for step in trace.steps] == [0, 1]
    assert [step.timestep for step in trace.steps] == pipeline.scheduler.timesteps[4:6].tolist()


def test_calling_with_other_prompts_is_refused(random_pipeline: StableDiffusionPipeline) -> None:
    with (
        guide().attach(random_pipeline, [PROMPT, OTHER_PROMPT], scene=[SCENE, OTHER_SCENE]),
        pytest.raises(PromptError, match="was attached, whose words stand elsewhere"),
    ):
        draw(random_pipeline, PROMPT)


def test_an_object_past_the_token_limit_is_an_error_before_anything_runs(
    random_pipeline: StableDiffusionPipeline,
) -> None:
    prompt = "a cat " + "and " * 90 + "a dog"
    scene = scene_from_triples(prompt, [("cat", "left_of", "dog")])
    with pytest.raises(BindingError, match="dog"), guide().attach(random_pipeline, prompt, scene=scene):
        pass
    assert not random_pipeline.unet._forward_hooks


# --- plugins that misbehave ------------------------------------------------------------------------------------------


def registry_with(call: Callable[..., Any]) -> Registry:
    class Bad(LossTerm):
        def __call__(self, statistics: Any, scene: Any) -> Any:
            return call(statistics)

    class Plugin:
        @hookimpl
        def spatialguide_losses(self, register: Callable[[str, type[LossTerm]], None]) -> None:
            register("bad", Bad)

    registry = Registry()
    registry.add(Plugin(), "bad-dist")
    return registry


def guide_with(call: Callable[..., Any]) -> SpatialGuide:
    return SpatialGuide(registry=registry_with(call), losses={"alignment": {}, "bad": {}}, guidance={"window": (0, 1)})


def test_a_loss_that_raises_is_named_with_its_distribution(random_pipeline: StableDiffusionPipeline) -> None:
    plain = draw(random_pipeline)
    with (
        pytest.raises(PluginError, match="loss 'bad' of distribution 'bad-dist' raised ZeroDivisionError"),
        guide_with(lambda s: 1 / 0).attach(random_pipeline, PROMPT, scene=SCENE),
    ):
        draw(random_pipeline)
    assert torch.equal(plain, draw(random_pipeline))


@pytest.mark.parametrize("value", [lambda s: 3.0, lambda s: s.mass, lambda s: None])
def test_a_loss_that_returns_the_wrong_thing_is_named(random_pipeline: StableDiffusionPipeline, value: Any) -> None:
    with (
        pytest.raises(InvalidPluginError, match=r"'bad-dist' returned .* it must return a tensor of shape \(1,\)"),
        guide_with(value).attach(random_pipeline, PROMPT, scene=SCENE),
    ):
        draw(random_pipeline)


def test_a_loss_that_is_not_finite_skips_that_image_only(random_pipeline: StableDiffusionPipeline) -> None:
    def nan_for_the_first(statistics: Any) -> torch.Tensor:
        return statistics.mass.sum(dim=(1, 2)) * torch.tensor([float("nan"), 1.0])

    with (
        guide_with(nan_for_the_first).attach(random_pipeline, PROMPT, scene=SCENE) as trace,
        pytest.warns(UnguidedWarning, match="image 0: 4 of 4 guided steps were skipped"),
    ):
        guided = draw(random_pipeline, images=2)
    assert guided.isfinite().all()
    assert [image.skipped for image in trace.steps[0].images] == [True, False]
    assert trace.steps[0].images[0].correction_norm == 0
    assert trace.steps[0].images[1].correction_norm > 0
    assert trace.skipped == len(trace.steps)


def test_a_gradient_that_is_not_finite_never_reaches_the_image(random_pipeline: StableDiffusionPipeline) -> None:
    def root_of_zero(statistics: Any) -> torch.Tensor:
        return (statistics.mass.sum(dim=(1, 2)) * 0).sqrt()

    plain = draw(random_pipeline)
    with (
        guide_with(root_of_zero).attach(random_pipeline, PROMPT, scene=SCENE) as trace,
        pytest.warns(UnguidedWarning, match="4 of 4 guided steps were skipped: the gradient of"),
    ):
        guided = draw(random_pipeline)
    assert trace.skipped == 4
    assert torch.allclose(guided, plain, atol=1e-4)


@pytest.mark.slow
def test_patience_leaves_an_image_the_same_whatever_the_others_do(tiny_pipeline: StableDiffusionPipeline) -> None:
    """To the last bit, whether guidance ends for the whole batch or goes on for another image."""
    chosen = SpatialGuide(preset="fast", guidance={"window": (0.0, 1.0), "strength": 5.0})
    drawn, guided = [], []
    for side in ("below", "above"):
        scenes = [SCENE, scene_from_triples(PROMPT, [("dog", side, "cat")])]
        with chosen.attach(tiny_pipeline, [PROMPT, PROMPT], scene=scenes) as trace:
            size = {"num_inference_steps": 10, "width": 64, "height": 64, "guidance_scale": 4.0}
            generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
            drawn.append(tiny_pipeline([PROMPT, PROMPT], generator=generators, output_type="np", **size).images[0])
        guided.append(len(trace.steps))
    assert guided[0] != guided[1]
    assert (drawn[0] == drawn[1]).all()


def test_positional_arguments_stay_positional(random_pipeline: StableDiffusionPipeline) -> None:
    """Third-party patches read the latents as the first positional argument, as ToMe's hook and DeepCache's wrappers do."""
    seen: list[torch.Size] = []
    for attach_first in (False, True):
        with ExitStack() as patched:
            if not attach_first:
                hook = random_pipeline.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
                patched.callback(hook.remove)
            with SpatialGuide().attach(random_pipeline, PROMPT, scene=SCENE) as trace:
                if attach_first:
                    hook = random_pipeline.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
                    patched.callback(hook.remove)
                draw(random_pipeline)
        assert trace.steps
    assert {len(shape) for shape in seen} == {4}


# --- the prompt is read from the pipeline's own call -------------------------------------------------------------------


def same_images(first: torch.Tensor, second: torch.Tensor) -> bool:
    return torch.allclose(first, second, atol=1e-4)


def test_the_prompt_is_read_from_the_call(random_pipeline: StableDiffusionPipeline) -> None:
    prompts = [f"a photo of {PROMPT}", PROMPT, [PROMPT, OTHER_PROMPT]]
    with guide().attach(random_pipeline) as trace:
        found = []
        for prompt in prompts:
            found.append(draw(random_pipeline, prompt, negative_prompt="blurry" if isinstance(prompt, str) else ["a", "b"]))
            assert len(trace.steps) == 4
    for prompt, image in zip(prompts, found, strict=True):
        with guide().attach(random_pipeline, prompt):
            expected = draw(random_pipeline, prompt, negative_prompt="blurry" if isinstance(prompt, str) else ["a", "b"])
        assert same_images(image, expected)


def test_marks_in_a_calls_prompt_are_read_and_not_encoded(random_pipeline: StableDiffusionPipeline) -> None:
    with guide().attach(random_pipeline):
        marked = draw(random_pipeline, "a cat and a dog {{cat left_of dog}}")
    scene = scene_from_triples("a cat and a dog", [("cat", "left_of", "dog")])
    with guide().attach(random_pipeline, scene=scene):
        assert same_images(marked, draw(random_pipeline, "a cat and a dog"))


def test_a_call_that_does_not_fit_what_was_attached_is_refused_and_the_next_one_is_not(
    random_pipeline: StableDiffusionPipeline,
) -> None:
    with guide().attach(random_pipeline, PROMPT) as trace:
        with pytest.raises(PromptError, match="leave the prompt out of attach"):
            draw(random_pipeline, f"a photo of {PROMPT}")
        draw(random_pipeline, [PROMPT, PROMPT])
        assert len(trace.steps) == 4


def test_embeddings_are_guided_with_the_prompt_that_they_are_of(random_pipeline: StableDiffusionPipeline) -> None:
    embeddings, negative = random_pipeline.encode_prompt(PROMPT, "cpu", 1, True)
    with guide().attach(random_pipeline, PROMPT):
        expected = draw(random_pipeline)
        found = draw(random_pipeline, None, prompt_embeds=embeddings, negative_prompt_embeds=negative)
    assert same_images(expected, found)
    with guide().attach(random_pipeline) as trace, pytest.warns(UnguidedWarning, match="prompt_embeds"):
        draw(random_pipeline, None, prompt_embeds=embeddings, negative_prompt_embeds=negative)
    assert not trace.steps


def test_a_call_that_fails_before_it_samples_does_not_leave_its_prompt_behind(
    random_pipeline: StableDiffusionPipeline,
) -> None:
    with guide().attach(random_pipeline) as trace:
        with pytest.raises(ValueError, match="step"):
            draw(random_pipeline, OTHER_PROMPT, num_inference_steps=3, timesteps=[5], sigmas=[1.0])
        draw(random_pipeline)
    assert len(trace.steps[0].images[0].centroids) == 2


def test_one_prompt_that_was_attached_may_be_called_several_times_in_a_list(random_pipeline: StableDiffusionPipeline) -> None:
    with guide().attach(random_pipeline, PROMPT) as trace:
        assert draw(random_pipeline, [PROMPT] * 3).shape[0] == 3
    assert len(trace.steps[0].images) == 3


def test_another_pipeline_around_the_same_denoiser_is_left_alone(random_pipeline: StableDiffusionPipeline) -> None:
    other = StableDiffusionPipeline(**random_pipeline.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    plain = draw(other, OTHER_PROMPT)
    with guide().attach(random_pipeline) as trace:
        assert torch.equal(plain, draw(other, OTHER_PROMPT))
        draw(random_pipeline)
        assert torch.equal(plain, draw(other, OTHER_PROMPT))
        assert len(trace.steps) == 4


def test_a_copy_of_an_attached_pipeline_is_plain_after_detaching(random_pipeline: StableDiffusionPipeline) -> None:
    impossible = "a cat to the left of a dog and to the right of the dog"
    plain = draw(random_pipeline, impossible)
    with guide().attach(random_pipeline):
        copied = copy(random_pipeline)
    assert torch.equal(plain, draw(copied, impossible))


def test_a_users_own_encode_prompt_is_heard_and_kept(random_pipeline: StableDiffusionPipeline) -> None:
    with guide().attach(random_pipeline):
        expected = draw(random_pipeline)
    original = random_pipeline.encode_prompt

    def own(*arguments: Any, **others: Any) -> Any:
        return original(*arguments, **others)

    random_pipeline.encode_prompt = own
    with guide().attach(random_pipeline):
        assert torch.equal(expected, draw(random_pipeline))
    assert random_pipeline.encode_prompt is own


def test_tokens_after_a_textual_inversion_of_several_vectors_are_found(tokenizer: CLIPTokenizer) -> None:
    own = deepcopy(tokenizer)
    own.add_tokens(["<cat-toy>", "<cat-toy>_1", "<cat-toy>_2"])
    pipeline = make_pipeline(own)
    prompt = "a <cat-toy> to the left of a dog"
    scene = scene_from_triples(prompt, [("<cat-toy>", "left_of", "dog")])
    ids = own(pipeline.maybe_convert_prompt(prompt, own)).input_ids
    toy, dog = bind(scene, shared(pipeline, {}))
    assert [ids[position] for position in dog] == own.convert_tokens_to_ids(own.tokenize("dog"))
    assert [ids[position] for position in toy] == own.convert_tokens_to_ids(["<cat-toy>", "<cat-toy>_1", "<cat-toy>_2"])


def test_a_scene_that_no_term_speaks_of_is_drawn_as_it_would_be_and_said(random_pipeline: StableDiffusionPipeline) -> None:
    prompt = "a cat on the left"
    plain = draw(random_pipeline, prompt)
    only = SpatialGuide(losses={"balance": {}}, guidance={"window": (0.0, 1.0)})
    with pytest.warns(UnguidedWarning, match="no loss term or steering applies"), only.attach(random_pipeline, prompt):
        assert torch.equal(plain, draw(random_pipeline, prompt))
