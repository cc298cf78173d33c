"""Binding on maps placed by hand, and that attributes get maps of their own in a pipeline, for the term that asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from spatialguide import SpatialGuide
from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.hookspecs import hookimpl
from spatialguide.registry import Registry, default_registry
from spatialguide.scenes.planned import PlannedScene, Structure, plan
from spatialguide.scenes.scene import Relation, Scene, SceneObject, Span
from spatialguide.testing import random_pipeline, statistics
from spatialguide_plugins.losses.binding import Binding

PROMPT = "a red car to the left of a blue bowl"


def coloured(prompt: str = PROMPT) -> PlannedScene:
    def thing(name: str, *colours: str) -> SceneObject:
        start = prompt.index(name)
        first = prompt.index(colours[0]) if colours else start
        span = Span(start, start + len(name))
        return SceneObject(text=name, head=name, attributes=colours, span=span, phrase=Span(first, span.end))

    relation = Relation(subject=0, predicate="left_of", objects=(1,))
    scene = Scene(prompt=prompt, objects=(thing("car", "red"), thing("bowl", "blue")), relations=(relation,))
    return plan(scene, default_registry().relations())


def cells(*columns: tuple[int, ...]) -> torch.Tensor:
    """One image, a row of four cells: equal mass in the given ones."""
    maps = torch.zeros(1, len(columns), 1, 4)
    for number, places in enumerate(columns):
        maps[0, number, 0, list(places)] = 1.0
    return maps


def seen(words: torch.Tensor, nouns: torch.Tensor) -> ObjectStatistics:
    return replace(statistics({"coarse": nouns}, coloured()), attributes=(words,))


NOUNS = cells((0, 1), (2, 3))


def test_attributes_are_found_in_their_phrases_or_outside_all() -> None:
    scene = coloured().scene
    assert [(index, PROMPT[span.start : span.end]) for index, span in scene.attribute_spans] == [(0, "red"), (1, "blue")]
    later = "a red car that is old to the left of a bowl"
    spans = SpatialGuide().parse(later).attribute_spans
    assert [(index, later[span.start : span.end]) for index, span in spans] == [(0, "red"), (0, "old")]
    plain = scene.model_copy(
        update={"objects": (scene.objects[0], scene.objects[1].model_copy(update={"attributes": ("car",)}))}
    )
    assert [index for index, _ in plain.attribute_spans] == [0]  # no word of the bowl's phrase


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (NOUNS, 0.0),
        # Each on the other's noun.
        (cells((2, 3), (0, 1)), 2.0),
        # Red on half of the car and half of the bowl, blue where it belongs.
        (cells((1, 2), (2, 3)), ((1 - 0.5 + 0.5) + 0) / 2),
        (cells((0,), (2, 3)), ((1 - 0.5) + 0) / 2),
    ],
)
def test_the_share_on_its_noun_less_that_on_others(words: torch.Tensor, expected: float) -> None:
    assert Binding()(seen(words, NOUNS), coloured()).tolist() == pytest.approx([expected])


def test_apart_weighs_the_other_nouns() -> None:
    swapped = cells((2, 3), (0, 1))
    assert Binding(apart=0)(seen(swapped, NOUNS), coloured()).tolist() == pytest.approx([1.0])
    assert Binding(apart=2)(seen(swapped, NOUNS), coloured()).tolist() == pytest.approx([3.0])


def test_the_gradient_draws_the_attribute_to_its_noun() -> None:
    words = torch.full((1, 2, 1, 4), 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(Binding()(seen(words, NOUNS), coloured()).sum(), words)
    assert (gradient[0, 0, 0, :2] < gradient[0, 0, 0, 2:]).all()
    assert (gradient[0, 1, 0, 2:] < gradient[0, 1, 0, :2]).all()


def test_it_speaks_of_scenes_with_attributes() -> None:
    term = Binding()
    assert term.applies(coloured())
    assert not term.applies(coloured().structure)
    nouns = NOUNS.clone().requires_grad_()
    unknown = term(statistics({"coarse": nouns}, coloured()), coloured())
    assert unknown.tolist() == [0]
    assert unknown.requires_grad


class Recording(LossTerm):
    """Keeps what it is given."""

    reads_words: ClassVar[bool] = True
    looked: ClassVar[list[ObjectStatistics]] = []

    def __call__(self, statistics: ObjectStatistics, scene: Structure) -> Any:
        self.looked.append(statistics)
        return statistics.variance.sum(dim=(1, 2))


class RecordingAttributes(Recording):
    """Asks for attributes too."""

    reads_attributes: ClassVar[bool] = True


def registry_of(kind: type[LossTerm]) -> Registry:
    class Plugin:
        @hookimpl
        def spatialguide_losses(self, register: Callable[[str, type[LossTerm]], None]) -> None:
            register("recording", kind)

    registry = Registry()
    registry.add(Plugin())
    return registry


def test_attributes_have_maps_for_terms_that_read_them() -> None:
    pipeline = random_pipeline(["car", "bowl", "red", "blue"])
    shown = []
    for kind in (Recording, RecordingAttributes):
        kind.looked.clear()
        guide = SpatialGuide(registry=registry_of(kind), losses={"recording": {}})
        with guide.attach(pipeline):
            pipeline(PROMPT, num_inference_steps=1, output_type="latent", generator=torch.Generator().manual_seed(0))
        shown.append(kind.looked[0])
    without, with_them = shown
    assert without.attributes == ()
    assert [each.shape[1] for each in with_them.attributes] == [2] * len(with_them.maps)
    for one, other, words in zip(without.maps, with_them.maps, with_them.attributes, strict=True):
        assert torch.equal(one, other)  # the objects' maps are what they were
        assert words.shape == other.shape
        assert not torch.equal(words, other)


@pytest.mark.parametrize("prompts", [PROMPT, [PROMPT, "a car below a blue bowl"]])
def test_binding_guides_a_pipeline(prompts: Any) -> None:
    pipeline = random_pipeline(["car", "bowl", "red", "blue"])
    with SpatialGuide(losses={"binding": {}}).attach(pipeline) as trace:
        pipeline(prompts, num_inference_steps=2, output_type="latent")
    assert all(image.gradient_norm > 0 for image in trace.steps[0].images)
