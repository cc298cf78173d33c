from __future__ import annotations

import pytest

from spatialguide.errors import ContradictionError, PromptError
from spatialguide.guide import SpatialGuide
from spatialguide.registry import Registry
from spatialguide.scenes.inline import stated

PROMPT = "a cat and a dog in a park {{dog left_of cat; cat in_region bottom}}"


def test_marks_beat_the_parser_and_leave_the_prompt() -> None:
    scene = SpatialGuide().parse("a cat left of a dog {{dog left_of cat}}")
    assert scene.prompt == "a cat left of a dog"
    assert [scene.sentence(r) for r in scene.relations] == ["dog left_of cat"]


def test_marks_name_places_and_several_grounds() -> None:
    guide = SpatialGuide()
    assert guide.parse(PROMPT).describe() == "objects: dog, cat; relations: dog left_of cat, cat in_region bottom"
    scene = guide.parse("a red bird, a cat and a dog {{red bird between cat and dog\ncat next_to dog}}")
    assert scene.describe() == ("objects: red bird, cat, dog; relations: red bird between cat and dog, cat next_to dog")


def test_marks_name_textual_inversions() -> None:
    scene = SpatialGuide().parse("a <cat-toy> and a dog {{<cat-toy> left_of dog; dog in_region top}}")
    assert scene.describe() == "objects: <cat-toy>, dog; relations: <cat-toy> left_of dog, dog in_region top"
    assert scene.prompt[slice(*scene.objects[0].span)] == "<cat-toy>"


def test_the_drawn_prompt_has_no_marks() -> None:
    result = SpatialGuide(steps=1)(PROMPT)
    assert result.metadata[0]["prompt"] == "a cat and a dog in a park"
    assert result.scene.objects[0].text == "dog"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{{cat left_of dog}}", "beside its marks the prompt is empty"),
        ("a cat {{cat lef_of dog}}", "'cat lef_of dog' is no relation"),
        ("a cat {{left_of dog}}", "is no relation"),
        ("a cat {{cat left_of dog}}", "'dog' does not occur"),
    ],
)
def test_wrong_marks_are_explained(prompt: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        SpatialGuide().parse(prompt)


@pytest.mark.parametrize(
    "prompt", ["a {{cat}} left of a dog", "{{{masterpiece}}}, a cat left of a dog", "a cat left of a dog {{"]
)
def test_other_braces_are_weights(prompt: str) -> None:
    scene = SpatialGuide().parse(prompt)
    assert scene.prompt == prompt
    assert [scene.sentence(r) for r in scene.relations] == ["cat left_of dog"]


def test_marks_are_checked_like_any_scene() -> None:
    with pytest.raises(ContradictionError):
        SpatialGuide().parse("a cat and a dog {{cat left_of dog; dog left_of cat}}")


def test_the_manual_parser_reads_marks_only() -> None:
    guide = SpatialGuide(parser="manual")
    assert len(guide.parse(PROMPT).relations) == 2
    with pytest.raises(PromptError, match="the prompt has no marks"):
        guide.parse("a cat left of a dog")


def test_statements_about_known_objects_keep_them_in_the_order_of_naming() -> None:
    guide = SpatialGuide()
    known = guide.parse("two cats to the left of a red car, above a toy top")
    scene = stated(known.prompt, ["red car above CATS", "cat in_region top"], guide.registry.relations(), known)
    assert sorted(scene.objects, key=lambda item: item.span) == list(known.objects)
    assert [scene.name(index) for index in range(3)] == ["red car", "cat", "toy top"]
    assert [scene.sentence(r) for r in scene.relations] == ["red car above cat", "cat in_region top"]


def test_attach_takes_the_prompt_with_and_without_marks(registry: Registry) -> None:
    guide = SpatialGuide(registry=registry, steps=1)
    scene = guide.parse(PROMPT)
    for given in (PROMPT, scene.prompt):
        with guide.attach(guide.pipeline, given, scene=None if given == PROMPT else scene) as trace:
            guide.pipeline(given, num_inference_steps=2)
        assert trace.steps
