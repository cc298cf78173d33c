"""Every family of models, in miniature and with random weights: guided, bound to its words, and left as it was."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from families import FAMILIES, draw, make_family
from torch import Tensor
from transformers import CLIPTokenizer

from spatialguide import SpatialGuide, hookimpl
from spatialguide.errors import ObjectWarning, UntestedModelWarning
from spatialguide.guidance.attention import Seen, grid_of
from spatialguide.guidance.bias import Bias
from spatialguide.guidance.calls import GuidedCalls
from spatialguide.guidance.denoiser import denoiser_of
from spatialguide.guidance.models import ModelFacts, facts_of
from spatialguide.guidance.prompts import Prompts, PromptSource
from spatialguide.registry import Registry, default_registry
from spatialguide_plugins.tiny.backend import WEIGHTS

# diffusers' own Chroma uses what diffusers is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning", "ignore:.*timm:UserWarning")

PROMPT = "a cat to the left of a dog"
OTHER = "a red car above a bus, a bird"
LONGER = "the cat and the dog, to the left of a car"


@cache
def _made(name: str) -> Any:
    return make_family(name, CLIPTokenizer.from_pretrained(WEIGHTS / "pipeline" / "tokenizer"))


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, _made(request.param)


def guide(**guidance: Any) -> SpatialGuide:
    return SpatialGuide(guidance={"window": (0.0, 1.0), "patience": None, "settle": False, **guidance})


def test_guided_it_changes_and_else_it_is_as_it_was(family: tuple[str, Any]) -> None:
    name, pipeline = family
    plain = draw(pipeline, name, PROMPT)
    with guide().attach(pipeline) as trace:
        guided = draw(pipeline, name, PROMPT)
    assert [step.index for step in trace.steps] == [0, 1, 2]
    assert all(step.images[0].gradient_norm > 0 and not step.images[0].skipped for step in trace.steps)
    assert guided.isfinite().all()
    assert not torch.equal(plain, guided)
    with guide(strength=0).attach(pipeline):
        assert torch.equal(plain, draw(pipeline, name, PROMPT))
    assert torch.equal(plain, draw(pipeline, name, PROMPT))
    assert "step" not in pipeline.scheduler.__dict__
    assert not any("forward" in module.__dict__ for module in denoiser_of(pipeline).modules())


def test_a_bias_steers_it_without_gradients(family: tuple[str, Any]) -> None:
    """In inference mode, and of several prompts each image as in a batch of its own."""
    name, pipeline = family
    whole = {"boxes": {"window": (0.0, 1.0)}}
    with torch.inference_mode():
        plain = draw(pipeline, name, PROMPT)
        with SpatialGuide(guidance={"method": "bias"}, steerings=whole).attach(pipeline) as trace:
            steered = draw(pipeline, name, PROMPT)
        assert torch.equal(plain, draw(pipeline, name, PROMPT))
    assert next(step.images[0].bias for step in trace.steps) == 1.0
    assert len(trace.steps) == 3
    assert steered.isfinite().all()
    assert not torch.equal(plain, steered)
    assert not any("forward" in module.__dict__ for module in denoiser_of(pipeline).modules())


def test_a_bias_is_added_to_the_objects_words_in_the_pixels_rows_alone(
    family: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very scores: +2 inside an object's box and -2 outside, for its tokens and conditional images only."""
    name, pipeline = family
    seen: list[tuple[Seen, Tensor, Bias]] = []
    mask = Bias.mask

    def spy(bias: Bias, given: Seen) -> Tensor:
        made = mask(bias, given)
        seen.append((given, made, bias))
        return made

    monkeypatch.setattr(Bias, "mask", spy)
    steerings = {"boxes": {"window": (0.0, 0.01), "follow": False}}
    with SpatialGuide(guidance={"method": "bias"}, steerings=steerings).attach(pipeline):
        draw(pipeline, name, PROMPT)
    assert seen
    for given, made, bias in seen:
        before = torch.zeros(()) if given.mask is None else torch.zeros_like(given.mask, dtype=made.dtype)
        if given.mask is not None:
            before = before.masked_fill(~given.mask, -torch.inf) if given.mask.dtype == torch.bool else given.mask
        change = (made - before).nan_to_num(nan=0.0)[:, 0]
        assert not change[: bias.first].any()
        added = change[bias.first :]
        places, tokens = bias.places, bias.batch.tokens
        start = places.pixels[0] if places.pixels else 0
        pixels = places.size[0] * places.size[1] if places.joint else made.shape[2]
        marked = tokens.marks(made.shape[3], places, made.device)[0].sum(dim=0) > 0
        own = added[0, start : start + pixels]
        # On coarser grids than the latents' the averages lie between.
        assert own[:, marked].abs().amax() <= 2
        assert pixels != places.size[0] * places.size[1] or set(own[:, marked].unique().tolist()) == {-2.0, 2.0}
        assert not own[:, ~marked].any()
        assert not added[0, :start].any()
        assert not added[0, start + pixels :].any()
        # The cat stands left of the dog, so its words count in the left half alone.
        cat = tokens.marks(made.shape[3], places, made.device)[0, 0] > 0
        grid = places.size if places.joint else grid_of(pixels, places.size)
        columns = own[:, cat][:, 0].reshape(grid).amax(dim=0)
        assert columns[: grid[1] // 2].amax() > columns[grid[1] // 2 :].amax()
        assert not (columns[grid[1] // 2 :] > 0).any()


def test_several_prompts_and_images_not_square(family: tuple[str, Any]) -> None:
    """Each image of a batch gets the correction that it gets in a batch of its own."""
    name, pipeline = family
    if name == "hidream":
        pytest.skip("the pipeline itself fails on several prompts and on sides that differ")
    call = {"width": FAMILIES[name][1].get("width", 32) * 3 // 2, "num_images_per_prompt": 2}
    call |= {"negative_prompt": ["bus"] * 2} if "negative_prompt" in FAMILIES[name][1] else {}
    call |= {"height": 64, "width": 96} if name == "kandinsky 5" else {}
    with guide().attach(pipeline) as trace:
        drawn = draw(pipeline, name, [PROMPT, OTHER], num_inference_steps=2, **call)
    assert drawn.isfinite().all()
    step = trace.steps[0]
    assert len(step.images) == 4
    assert [len(image.centroids) for image in step.images] == [2, 2, 3, 3]
    assert all(image.gradient_norm > 0 for image in step.images)


def test_the_prediction_moves_by_the_correction_and_no_more(family: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a pipeline does after its denoiser: guidance in one call or two, a change of sign, renormalisation."""
    name, pipeline = family
    predictions: list[Tensor] = []
    step = pipeline.scheduler.step

    def record(prediction: Tensor, *arguments: Any, **others: Any) -> Any:
        predictions.append(prediction)
        return step(prediction, *arguments, **others)

    monkeypatch.setattr(pipeline.scheduler, "step", record)
    draw(pipeline, name, PROMPT, num_inference_steps=2)
    with guide(strength=3.0, rescale=False).attach(pipeline) as trace:
        draw(pipeline, name, PROMPT, num_inference_steps=2)
    moved = float((predictions[2] - predictions[0]).norm())
    assert moved == pytest.approx(trace.steps[0].images[0].correction_norm, rel=1e-2)
    assert moved > 0


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_the_loss(family: tuple[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same call, with its latents a little down the gradient, has a loss as much lower as the gradient says."""
    name, pipeline = family
    denoiser = denoiser_of(pipeline)
    facts = facts_of(denoiser)
    scored: list[Any] = []
    score = GuidedCalls._score

    def record(self: GuidedCalls, step: Any, denoiser: Any) -> None:
        score(self, step, denoiser)
        scored.append((float(step.scores.loss.sum()), step.direction, step.leaves, self.generation.prompts))

    monkeypatch.setattr(GuidedCalls, "_score", record)
    calls: list[Any] = []
    handle = denoiser.register_forward_pre_hook(lambda *call: calls.append(call[1:]), with_kwargs=True, prepend=True)
    alone = SpatialGuide(losses={"alignment": {}}, guidance={"window": (0.0, 1.0), "settle": False, "patience": None})
    with alone.attach(pipeline, PROMPT), torch.no_grad():
        draw(pipeline, name, PROMPT, seed, num_inference_steps=2)
        (args, kwargs), (loss, direction, leaves, prompts) = calls[0], scored[0]
        length = 1e-3 * torch.cat([leaf.flatten() for leaf in leaves]).norm()
        pipeline._spatialguide_attachment._calls.begin(prompts, guided=True)
        pipeline.scheduler.set_timesteps(2)
        args, kwargs = _moved(facts.latents_name(denoiser), args, kwargs, -direction * (length / direction.norm()))
        scored.clear()
        denoiser(*args, **kwargs)
    handle.remove()
    assert scored[0][0] - loss == pytest.approx(-float(length * direction.norm()), rel=0.05)


def _moved(name: str, args: Any, kwargs: Any, move: Tensor) -> Any:
    """A call's arguments with its latents, of every part of the batch, moved."""
    sample = kwargs[name] if name in kwargs else args[0]
    whole = torch.stack(sample) if isinstance(sample, list) else sample
    whole = whole + move.repeat(len(whole) // len(move), *[1] * (move.ndim - 1))
    there: Any = list(whole) if isinstance(sample, list) else whole
    return (args, {**kwargs, name: there}) if name in kwargs else ((there, *args[1:]), kwargs)


@pytest.mark.parametrize("prompt", [PROMPT, LONGER])
def test_bound_tokens_are_the_objects_words(family: tuple[str, Any], prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text encoders that answer with their tokens' numbers: at the bound places the denoiser sees those of the words."""
    name, pipeline = family
    handles = [
        part.register_forward_hook(_numbered, with_kwargs=True)
        for key, part in pipeline.components.items()
        if key.startswith("text_encoder") and part is not None
    ]
    calls: list[Any] = []
    found: list[Prompts] = []
    of = PromptSource.of

    def remember(self: PromptSource, *args: Any, **kwargs: Any) -> Prompts:
        found.append(of(self, *args, **kwargs))
        return found[-1]

    monkeypatch.setattr(PromptSource, "of", remember)
    denoiser = denoiser_of(pipeline)
    handles.append(denoiser.register_forward_pre_hook(lambda *call: calls.append(call[1:]), with_kwargs=True, prepend=True))
    try:
        with guide().attach(pipeline):
            draw(pipeline, name, prompt, num_inference_steps=2)
    finally:
        for handle in handles:
            handle.remove()
    scene = SpatialGuide().parse(prompt)
    (bound,) = found[0].bindings
    text = _text_of(calls[0])
    tokenizers = [part for key, part in pipeline.components.items() if key.startswith("tokenizer") and part is not None]
    for thing, positions in zip(scene.objects, bound, strict=True):
        numbers = [round(float(text[position, 0]) * 1000) for position in positions]
        words = {tokenizer.decode(numbers).strip(" \u2581") for tokenizer in tokenizers}
        assert any(set(word.split()) == {thing.text} or word == thing.text for word in words), (thing.text, words)


def _numbered(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
    ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
    value = ids[..., None].float() / 1000
    for key, found in list(output.items()):
        if isinstance(found, tuple):
            output[key] = tuple(value.expand(each.shape).clone() for each in found)
        elif isinstance(found, Tensor) and found.ndim == 3 and found.shape[:2] == ids.shape:
            output[key] = value.expand(found.shape).clone()
    return output


def _text_of(call: Any) -> Tensor:
    """The conditional part's text, (tokens, channels), of a call of the denoiser."""
    args, kwargs = call
    if "encoder_hidden_states_llama3" in kwargs:
        fourth = kwargs["encoder_hidden_states_llama3"][0, -1]
        return torch.cat([kwargs["encoder_hidden_states_t5"][-1], fourth, fourth])
    if "encoder_hidden_states" in kwargs:
        return kwargs["encoder_hidden_states"][-1]
    return args[2][0]


def test_a_pipeline_that_reads_other_words_is_warned_of(family: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tokens that its text encoders are given; none of the families is, as all tests here show."""
    name, pipeline = family
    check = PromptSource.check

    def shifted(self: PromptSource, prompts: Prompts, call: Any, read: Any) -> None:
        check(self, prompts, call, [[token + 1 for token in row] for row in read])

    monkeypatch.setattr(PromptSource, "check", shifted)
    with pytest.warns(ObjectWarning, match="does not read .* as it stands"), guide().attach(pipeline):
        draw(pipeline, name, PROMPT, num_inference_steps=2)


def test_every_model_that_is_known_is_tried() -> None:
    tried = {facts_of(denoiser_of(_made(name))).denoiser for name in FAMILIES}
    assert tried | {"UNet2DConditionModel"} == set(default_registry().names("models"))


def test_a_model_that_nobody_knows_is_tried_by_rule_and_says_so() -> None:
    """FLUX under another name is found to be what FLUX is registered as, but for its depths."""
    pipeline = _made("flux")
    known = facts_of(pipeline.transformer)

    class Unheard(torch.nn.Module):
        forward = type(pipeline.transformer).forward

        def __init__(self) -> None:
            super().__init__()
            self.transformer_blocks = pipeline.transformer.transformer_blocks

    with pytest.warns(UntestedModelWarning, match="Unheard is not one of the models that were tried"):
        found = facts_of(Unheard())
    assert [getattr(found, name) for name in ("text", "latents", "calls", "time")] == [
        getattr(known, name) for name in ("text", "latents", "calls", "time")
    ]


def test_a_third_party_registers_what_its_model_is_like() -> None:
    class Plugin:
        @hookimpl
        def spatialguide_models(self, register: Any) -> None:
            register("Linear", ModelFacts("Linear", "theirs", "nowhere"))

    registry = Registry(load_entry_points=False)
    registry.add(Plugin())
    assert facts_of(torch.nn.Linear(1, 1), registry).models == "theirs"
