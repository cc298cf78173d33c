"""Loss terms that spoil what others see, or guide nothing: each is named, and nothing vanishes without a word."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from spatialguide import LossTerm, SpatialGuide, hookimpl
from spatialguide.errors import InvalidPluginError, PluginError, UnguidedWarning
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.registry import Registry
from spatialguide.scenes.planned import Structure

PROMPT = "a cat to the left of a dog"
WHOLE = {"window": (0, 1)}


def registry_of(name: str, term: type[LossTerm]) -> Registry:
    class Plugin:
        @hookimpl
        def spatialguide_losses(self, register: Callable[[str, type[LossTerm]], None]) -> None:
            register(name, term)

    registry = Registry()
    registry.add(Plugin(), "bad-dist")
    return registry


def guide_with(call: Callable[[ObjectStatistics, Any], Any], *others: str) -> SpatialGuide:
    class Bad(LossTerm):
        def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Any:
            return call(statistics, scene)

    losses: dict[str, Any] = {"bad": {}, **{name: {} for name in others}}
    return SpatialGuide(registry=registry_of("bad", Bad), losses=losses, steps=2, guidance=WHOLE)


def mass(statistics: ObjectStatistics) -> torch.Tensor:
    return statistics.mass.sum(dim=(1, 2))


def changes_in_place(statistics: ObjectStatistics, scene: Any) -> torch.Tensor:
    with torch.no_grad():
        statistics.centroid.zero_()
    return mass(statistics)


def changes_maps(statistics: ObjectStatistics, scene: Any) -> torch.Tensor:
    statistics.maps[-1].detach().zero_()
    return mass(statistics)


def turns_gradients_off(statistics: ObjectStatistics, scene: Any) -> torch.Tensor:
    torch.set_grad_enabled(False)
    return mass(statistics)


def calls_backward(statistics: ObjectStatistics, scene: Any) -> torch.Tensor:
    value = mass(statistics)
    torch.autograd.backward(value.sum())
    return value


def clears_relations(statistics: ObjectStatistics, scene: Any) -> torch.Tensor:
    object.__setattr__(scene, "relations", ())
    return mass(statistics)


def empties_the_scene(statistics: ObjectStatistics, scene: Any) -> torch.Tensor:
    vars(scene).clear()
    return mass(statistics)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (changes_in_place, "changed the statistics in place, which other terms read too"),
        (changes_maps, "changed the statistics in place"),
        (turns_gradients_off, "switched gradients off for everyone"),
        (calls_backward, "differentiated the statistics itself"),
        (clears_relations, "changed the scene"),
        (empties_the_scene, "raised AttributeError"),
        (lambda statistics, scene: mass(statistics) * 1j, "returned a tensor of shape .1,., torch.complex64"),
        (lambda statistics, scene: sys.exit(0), "raised SystemExit: 0"),
    ],
)
def test_what_a_term_may_not_do_is_an_error_that_names_it(
    random_pipeline: StableDiffusionPipeline, call: Callable[..., Any], fault: str
) -> None:
    with (
        torch.enable_grad(),
        pytest.raises(PluginError, match=f"loss 'bad' of distribution 'bad-dist' {fault}"),
        guide_with(call, "alignment").attach(random_pipeline, PROMPT),
    ):
        random_pipeline(PROMPT, num_inference_steps=2, output_type="latent", height=64, width=64)
    assert torch.is_grad_enabled()


def test_a_term_may_differentiate_a_copy(random_pipeline: StableDiffusionPipeline) -> None:
    def of_a_copy(statistics: ObjectStatistics, scene: Any) -> torch.Tensor:
        with torch.enable_grad():
            copy = statistics.mass.detach().requires_grad_()
            (slope,) = torch.autograd.grad(copy.square().sum(), copy)
        return (statistics.mass * slope).sum(dim=(1, 2))

    with guide_with(of_a_copy).attach(random_pipeline, PROMPT) as trace:
        random_pipeline(PROMPT, num_inference_steps=2, output_type="latent", height=64, width=64)
    assert trace.guided(0)


class Quits(LossTerm):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        sys.exit(0)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> torch.Tensor:
        return mass(statistics)


class QuitsWhenAsked(LossTerm):
    def applies(self, scene: Structure) -> bool:
        sys.exit(0)

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> torch.Tensor:
        return mass(statistics)


class SwitchesOff(QuitsWhenAsked):
    def applies(self, scene: Structure) -> bool:
        torch.set_grad_enabled(False)
        return True


@pytest.mark.parametrize(
    ("term", "fault"),
    [(Quits, "raised SystemExit: 0"), (QuitsWhenAsked, "raised SystemExit: 0"), (SwitchesOff, "switched gradients off")],
)
def test_a_term_that_quits_before_it_is_called_is_named(term: type[LossTerm], fault: str) -> None:
    def ask() -> bool:
        guide = SpatialGuide(registry=registry_of("bad", term), losses={"bad": {}})
        return guide.guides(guide.plan(PROMPT))

    with torch.enable_grad(), pytest.raises(PluginError, match=f"loss 'bad' of distribution 'bad-dist' {fault}"):
        ask()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("other", [{"dtype": torch.int64}, {"device": "meta"}])
def test_numbers_of_another_kind_or_place_are_named(random_pipeline: StableDiffusionPipeline, other: Any) -> None:
    with (
        pytest.raises(InvalidPluginError, match=r"'bad' of distribution 'bad-dist' returned .* of real numbers, on cpu"),
        guide_with(lambda statistics, scene: torch.zeros(1, **other)).attach(random_pipeline, PROMPT),
    ):
        random_pipeline(PROMPT, num_inference_steps=2, output_type="latent", height=64, width=64)


def root_of_zero(statistics: ObjectStatistics, scene: Any) -> torch.Tensor:
    return (mass(statistics) * 0).sqrt()


NAMED = "of loss 'bad' of distribution 'bad-dist'"


@pytest.mark.parametrize(
    ("call", "fault", "skipped"),
    [
        (lambda s, scene: mass(s) * float("nan"), f"2 of 2 guided steps were skipped: the value {NAMED} was not finite", 2),
        (root_of_zero, f"2 of 2 guided steps were skipped: the gradient {NAMED} was not finite", 2),
        (lambda s, scene: mass(s) * 0, f"no guided step changed it, .*: the gradient {NAMED}, .*, was zero", 0),
    ],
)
def test_guidance_that_does_nothing_says_so(call: Callable[..., Any], fault: str, skipped: int) -> None:
    with pytest.warns(UnguidedWarning, match=f"image 0: {fault}"):
        result = guide_with(call)(PROMPT)
    assert (result.metadata[0]["guided"], result.metadata[0]["skipped_steps"]) == (False, skipped)


def test_one_step_that_is_skipped_is_a_warning_and_the_rest_is_guided() -> None:
    calls = []

    def once(statistics: ObjectStatistics, scene: Any) -> torch.Tensor:
        calls.append(1)
        return mass(statistics) * (float("nan") if len(calls) == 1 else 1.0)

    with pytest.warns(UnguidedWarning, match=r"image 0: 1 of 2 guided steps were skipped: .*loss 'bad' of .* was not finite"):
        result = guide_with(once, "alignment")(PROMPT)
    assert (result.metadata[0]["guided"], result.metadata[0]["skipped_steps"]) == (True, 1)


def test_guidance_that_works_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnguidedWarning)
        result = SpatialGuide(steps=2, guidance=WHOLE)(PROMPT)
    assert (result.metadata[0]["guided"], result.metadata[0]["skipped_steps"]) == (True, 0)


def test_a_backend_that_raises_when_asked_for_its_layers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = SpatialGuide(steps=1, guidance=WHOLE)
    monkeypatch.setattr(guide.backend, "layers", lambda pipeline: sys.exit(0))
    with pytest.raises(PluginError, match=r"backend 'tiny' of distribution '.*' raised SystemExit: 0"):
        guide(PROMPT)
