"""Method "bias": attention steered without gradients; the masks themselves are tested for every family of models."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import LCMScheduler, StableDiffusionPipeline
from torch import Tensor

from spatialguide import SpatialGuide, Steering, hookimpl
from spatialguide.config import GuideConfig
from spatialguide.errors import ConfigError, InvalidPluginError, PluginError, UnknownPluginError
from spatialguide.guidance.trace import Trace
from spatialguide.registry import Registry, default_registry
from spatialguide_plugins.steerings.boxes import Boxes

PROMPT = "a cat to the left of a dog"
WHOLE = {"boxes": {"window": (0.0, 1.0)}}


def guide(**guidance: Any) -> SpatialGuide:
    return SpatialGuide(guidance={"method": "bias", **guidance}, steerings=WHOLE)


def draw(pipeline: Any, prompt: Any = PROMPT, **call: Any) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    usual = {"num_inference_steps": 4, "guidance_scale": 5.0, "output_type": "latent", "height": 64, "width": 64}
    images: Tensor = pipeline(prompt, generator=torch.Generator().manual_seed(0), **{**usual, **call}).images
    return images


def centroids(trace: Trace, image: int = 0) -> list[tuple[float, float]]:
    seen = trace.steps[-1].images[image]
    assert seen is not None
    return list(seen.centroids)


def test_it_draws_the_bundled_model_the_way_round_it_says() -> None:
    """By the maps' own centroids: cats go to the left of the dogs."""
    steered = SpatialGuide(guidance={"method": "bias"})
    plain = steered(PROMPT, images_per_prompt=8, seed=3, guided=False, watch=True).trace
    guided = steered(PROMPT, images_per_prompt=8, seed=3, watch=True).trace

    def gap(trace: Trace) -> float:
        return sum(dog[0] - cat[0] for cat, dog in (centroids(trace, image) for image in range(8))) / 8

    assert gap(guided) > gap(plain) + 0.05


def test_the_bias_fades_as_the_relations_come_to_hold() -> None:
    trace = SpatialGuide(guidance={"method": "bias"})("a cat to the left of a dog", seed=3).trace
    shares = [step.images[0].bias for step in trace.steps if step.images[0] is not None]
    assert shares[0] == 1.0
    assert 0 <= shares[-1] < 0.8
    kept = SpatialGuide(guidance={"method": "bias", "settle": False})("a cat to the left of a dog", seed=3).trace
    assert [step.images[0].bias for step in kept.steps if step.images[0] is not None] == [1.0] * len(kept.steps)


def test_both_corrects_at_every_so_many_steps(random_pipeline: StableDiffusionPipeline) -> None:
    with guide(method="both", every=2, window=(0.25, 1.0)).attach(random_pipeline) as trace:
        draw(random_pipeline, num_inference_steps=8)
    images = [step.images[0] for step in trace.steps]
    assert [image.correction_norm > 0 for image in images] == [number in (2, 4, 6) for number in range(8)]
    assert all(image.bias is not None for image in images)
    assert [bool(image.terms) for image in images] == [number in (2, 4, 6) for number in range(8)]


@pytest.mark.parametrize("method", ["bias", "both", "auto"])
def test_strength_zero_and_what_lies_outside_the_windows_are_the_plain_pipelines(
    random_pipeline: StableDiffusionPipeline, method: str
) -> None:
    plain = draw(random_pipeline)
    with guide(method=method, strength=0).attach(random_pipeline):
        assert torch.equal(plain, draw(random_pipeline))
    late = SpatialGuide(guidance={"method": method, "window": (0.9, 1.0)}, steerings={"boxes": {"window": (0.9, 1.0)}})
    with late.attach(random_pipeline) as trace:
        assert torch.equal(plain, draw(random_pipeline))
    assert not trace.steps
    assert torch.equal(plain, draw(random_pipeline))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradient_of_a_steered_call_is_the_same_with_checkpointing(
    random_pipeline: StableDiffusionPipeline, checkpointing: bool
) -> None:
    """Whose backward runs blocks again, which are to be steered as they were."""
    with guide(method="both", every=1, checkpointing=checkpointing).attach(random_pipeline) as trace:
        draw(random_pipeline, num_inference_steps=1)
    reference = SpatialGuide(guidance={"method": "both", "every": 1}, steerings=WHOLE)
    with reference.attach(random_pipeline) as plainly:
        draw(random_pipeline, num_inference_steps=1)
    assert trace.steps[0].images[0].gradient_norm == pytest.approx(plainly.steps[0].images[0].gradient_norm, rel=1e-5)


def test_auto_takes_both_and_in_inference_mode_the_bias(random_pipeline: StableDiffusionPipeline) -> None:
    with guide(method="auto").attach(random_pipeline) as trace:
        draw(random_pipeline)
    assert (trace.method, trace.reason) == ("both", None)
    with guide(method="auto").attach(random_pipeline) as trace, torch.inference_mode():
        draw(random_pipeline)
    assert trace.method == "bias"
    assert "torch.inference_mode() allows no gradients" in str(trace.reason)
    assert all(step.images[0].correction_norm == 0 for step in trace.steps)


def test_few_steps_of_lcm(random_pipeline: StableDiffusionPipeline) -> None:
    random_pipeline.scheduler = LCMScheduler.from_config(random_pipeline.scheduler.config)
    plain = draw(random_pipeline, guidance_scale=1.0)
    with SpatialGuide(guidance={"method": "bias"}).attach(random_pipeline) as trace:
        assert not torch.equal(plain, draw(random_pipeline, guidance_scale=1.0))
    assert [step.index for step in trace.steps] == [0, 1]


def test_an_image_is_steered_as_it_is_in_a_batch_of_its_own(random_pipeline: StableDiffusionPipeline) -> None:
    other = "a red car above a bus, a bird"
    with guide().attach(random_pipeline) as trace:
        together = draw(random_pipeline, [PROMPT, other, "a cat above a bus"], num_inference_steps=3)
    assert [len(image.centroids) for image in trace.steps[-1].images] == [2, 3, 2]
    with guide().attach(random_pipeline):
        generator = torch.Generator().manual_seed(0)
        shape = (3, *together.shape[1:])
        noise = torch.randn(shape, generator=generator, dtype=together.dtype)
        alone = draw(random_pipeline, other, num_inference_steps=3, latents=noise[1:2])
    assert torch.allclose(together[1], alone[0], atol=1e-4)


def test_patience_ends_it_for_each_image(random_pipeline: StableDiffusionPipeline) -> None:
    with guide(patience=1, settle=False).attach(random_pipeline, scene=held(random_pipeline)) as trace:
        draw(random_pipeline, PROMPT, num_inference_steps=6)
    shares = [step.images[0].bias for step in trace.steps]
    assert shares == sorted(shares, reverse=True)


def held(pipeline: Any) -> Any:
    return SpatialGuide().parse(PROMPT)


def test_an_image_that_nothing_steers_is_not_called_steered() -> None:
    """Whether it was watched or not."""
    prompts = [PROMPT, "a cat and a dog"]
    for watch in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the second nothing is to be guided
            drawn = SpatialGuide(guidance={"method": "bias"}, steps=3)(prompts, watch=watch)
        assert [each["guided"] for each in drawn.metadata] == [True, False]


def test_a_picture_says_what_auto_took_and_replays_with_it() -> None:
    chosen = SpatialGuide(guidance={"method": "auto"}, steps=3)
    with torch.inference_mode():
        drawn = chosen(PROMPT, seed=5)
    metadata = drawn.metadata[0]
    assert (metadata["method"], metadata["config"]["guidance"]["method"]) == ("bias", "bias")
    assert "inference_mode" in metadata["reason"]
    again = SpatialGuide(GuideConfig.model_validate(metadata["config"], strict=False))(PROMPT, seed=5)
    assert again.images[0].tobytes() == drawn.images[0].tobytes()


def test_after_a_gap_a_steering_starts_from_the_layout(random_pipeline: StableDiffusionPipeline) -> None:
    """What was seen long ago says little."""
    asked: list[list[float]] = []

    class Late(Steering):
        def __call__(self, places: Tensor, scene: Any, size: tuple[int, int]) -> Tensor:
            asked.append(places[0].flatten().tolist())
            return places.new_zeros(1, places.shape[1], *size)

    class Plugin:
        @hookimpl
        def spatialguide_steerings(self, register: Callable[[str, type[Steering]], None]) -> None:
            register("late", Late)

    registry = Registry()
    registry.add(Plugin(), "somebody's")
    windows = {"boxes": {"window": (0.0, 0.25)}, "late": {"window": (0.75, 1.0)}}
    with SpatialGuide(registry=registry, guidance={"method": "bias"}, steerings=windows).attach(
        random_pipeline, watch=True
    ) as trace:
        draw(random_pipeline, num_inference_steps=8)
    middles = [part for place in SpatialGuide().plan(PROMPT).middles for part in place]
    assert asked[0] == pytest.approx(middles)
    assert len(asked) == 2
    assert asked[1] != pytest.approx(middles, abs=1e-6)
    assert len(trace.steps) == 8


def test_numbers_that_are_none_change_nothing(random_pipeline: StableDiffusionPipeline) -> None:
    registry = Registry()
    registry.add(WrongPlugin(), "somebody's")
    chosen = SpatialGuide(registry=registry, guidance={"method": "bias"}, steerings={"wrong": {"what": "nan"}})
    with chosen.attach(random_pipeline):
        assert draw(random_pipeline).isfinite().all()


# --- the boxes -----------------------------------------------------------------------------------------------------


def bias_of(steering: Boxes, prompt: str, size: tuple[int, int], places: Any = None) -> Tensor:
    scene = SpatialGuide().plan(prompt).structure
    centres = torch.tensor([scene.middles if places is None else places], dtype=torch.float32)
    return steering(centres, scene, size)


def test_inside_and_outside_of_the_layouts_boxes() -> None:
    bias = bias_of(Boxes(inside=1, outside=3, follow=False), PROMPT, (4, 4))
    assert bias.shape == (1, 2, 4, 4)
    assert set(bias.unique().tolist()) == {1.0, -3.0}
    assert (bias[0, 0, :, 2:] == -3).all()
    assert (bias[0, 1, :, :2] == -3).all()


def test_boxes_follow_the_image_as_far_as_the_relations_allow() -> None:
    low = [(0.3, 0.8), (0.7, 0.8)]
    followed = bias_of(Boxes(), PROMPT, (16, 16), low)[0, 0]
    fixed = bias_of(Boxes(follow=False), PROMPT, (16, 16), low)[0, 0]
    middle = [float((mask > 0).float().sum(dim=1) @ torch.arange(16.0)) / float((mask > 0).sum()) for mask in (followed, fixed)]
    assert middle[0] > middle[1] + 2


def test_several_of_a_kind_get_parts_of_their_box_with_gaps_between() -> None:
    bias = bias_of(Boxes(follow=False), "three cats above a dog", (32, 32))
    row = (bias[0, 0].amax(dim=0) > 0).int().tolist()
    assert "".join(map(str, row)).strip("0").count("01") == 2


def test_given_boxes_apply_to_objects_without_relations_and_their_number_is_checked() -> None:
    given = Boxes(boxes=((0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)))
    bias = bias_of(given, "a cat and a dog", (4, 4))
    assert (bias[0, 0, :2, :2] == 2).all()
    assert (bias[0, 1, 2:, 2:] == 2).all()
    with pytest.raises(ConfigError, match="2 given for a scene of 1 objects"):
        bias_of(given, "a cat in the top left corner", (4, 4))


# --- plugins -------------------------------------------------------------------------------------------------------


class Wrong(Steering):
    what: str = "shape"

    def __call__(self, places: Tensor, scene: Any, size: tuple[int, int]) -> Any:
        answers: dict[str, Callable[[], Any]] = {
            "shape": lambda: places.new_zeros(1, 1, 1, 1),
            "nothing": lambda: None,
            "nan": lambda: places.new_full((len(places), places.shape[1], *size), torch.nan),
            "raises": lambda: places.nowhere,
        }
        return answers[self.what]()


class WrongPlugin:
    @hookimpl
    def spatialguide_steerings(self, register: Callable[[str, type[Steering]], None]) -> None:
        register("wrong", Wrong)


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("shape", InvalidPluginError, r"steering 'wrong' of .* returned a tensor of shape \(1, 1, 1, 1\)"),
        ("nothing", InvalidPluginError, r"returned None; it must return one of shape"),
        ("raises", PluginError, r"steering 'wrong' of .* raised AttributeError"),
    ],
)
def test_a_steering_that_misbehaves_is_named(
    random_pipeline: StableDiffusionPipeline, what: str, error: type[Exception], message: str
) -> None:
    registry = Registry()
    registry.add(WrongPlugin(), "somebody's")
    faulty = SpatialGuide(registry=registry, guidance={"method": "bias"}, steerings={"wrong": {"what": what}})
    plain = draw(random_pipeline)
    with pytest.raises(error, match=message), faulty.attach(random_pipeline):
        draw(random_pipeline)
    assert torch.equal(plain, draw(random_pipeline))


def test_unknown_steerings_and_options_are_named() -> None:
    assert "boxes" in default_registry().names("steerings")
    with pytest.raises(UnknownPluginError, match=r"no steering is called 'boxs'.*boxes"):
        SpatialGuide(steerings={"boxs": {}})
    with pytest.raises(ConfigError, match=r"steerings.boxes: unknown key 'insid'.*inside"):
        SpatialGuide(steerings={"boxes": {"insid": 1}})


# --- what is shown of it -------------------------------------------------------------------------------------------


def test_curves_of_steps_with_and_without_a_loss() -> None:
    drawn = SpatialGuide(guidance={"method": "both", "every": 2})(PROMPT, seed=3)
    figure = drawn.figure()
    losses, strength, *_ = figure.axes
    assert {line.get_label() for line in losses.lines} == {"alignment", "presence", "balance", "placement"}
    assert sum(bar.get_height() > 0 for bar in strength.patches) == 2
    assert "bias, share (line)" in figure.axes[1].get_title()
    assert drawn.metadata[0]["method"] == "both"
    assert SpatialGuide(guidance={"method": "bias"})(PROMPT, seed=3).figure().axes[0].get_legend() is None
