"""Boxes that were moved, and what they then say."""

from __future__ import annotations

import pytest

from spatialguide.web.canvas import canvas
from spatialguide.web.studio import Reading, Studio


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


def moved(studio: Studio, prompt: str, name: str, x: float, y: float) -> list[str]:
    """The relations after the object was moved there; they must be those that the layout then shows."""
    before = studio.follow(prompt, "", Reading())
    assert before.scene is not None
    names = [before.scene.name(index) for index in range(len(before.scene.objects))]
    after = studio.move(before, names.index(name), x, y)
    assert after.fault == ""
    assert after.scene is not None
    assert len(studio.boxes(after.scene)) == len(after.scene.objects)
    return after.shown.splitlines()


@pytest.mark.parametrize(
    ("prompt", "name", "place", "lines"),
    [
        ("a cat to the left of a dog", "cat", (0.95, 0.5), ["cat right_of dog"]),
        ("a cat to the left of a dog", "cat", (0.75, 0.05), ["cat above dog"]),
        ("a cat to the left of a dog", "dog", (0.05, 0.5), ["cat right_of dog"]),
        ("a cat to the left of a dog", "cat", (0.2, 0.5), ["cat left_of dog"]),
        ("a cat to the left of a dog, above a red car", "red car", (0.25, 0.0), ["cat left_of dog", "cat below red car"]),
        ("a cat in the top left corner", "cat", (0.9, 0.5), ["cat in_region right"]),
        ("a cat in the top left corner", "cat", (0.5, 0.5), ["cat in_region center"]),
        ("a cat", "cat", (0.1, 0.9), ["cat in_region bottom_left"]),
        ("a cat and a dog", "cat", (0.0, 0.5), ["cat left_of dog"]),
        ("a cat inside a box", "cat", (0.5, 0.5), ["cat inside box"]),
        ("a cat inside a box", "cat", (0.5, 0.0), ["cat above box"]),
    ],
)
def test_relations_follow_the_box(studio: Studio, prompt: str, name: str, place: tuple[float, float], lines: list[str]) -> None:
    assert moved(studio, prompt, name, *place) == lines


def test_the_boxes_follow_the_relations(studio: Studio) -> None:
    before = studio.follow("a cat to the left of a dog", "", Reading())
    after = studio.move(before, 0, 0.95, 0.5)
    assert after.scene is not None
    cat, dog = studio.boxes(after.scene)
    assert cat[0] > dog[0]
    assert (after.own, after.prompt) == ("cat right_of dog", before.prompt)


@pytest.mark.parametrize("index", [-1, 2, 10**9])
def test_what_is_not_there_cannot_be_moved(studio: Studio, index: int) -> None:
    before = studio.follow("a cat to the left of a dog", "", Reading())
    assert studio.move(before, index, 0.5, 0.5) is before
    assert studio.move(Reading(), 0, 0.5, 0.5) == Reading()


@pytest.mark.parametrize("place", [(float("nan"), 0.5), (float("inf"), -1e300)])
def test_strange_places_do_no_harm(studio: Studio, place: tuple[float, float]) -> None:
    for prompt in ("a cat to the left of a dog", "a cat"):
        before = studio.follow(prompt, "", Reading())
        assert studio.move(before, 0, *place) is before


def test_the_canvas_has_a_named_box_for_each_object_and_no_markup_of_the_visitors(studio: Studio) -> None:
    scene = studio.follow("a cat inside a box", "", Reading()).scene
    assert scene is not None
    shown = canvas(scene, studio.boxes(scene))
    assert shown.count('class="box"') == 2
    assert shown.count("<line") == 1
    # What is inside is smaller, and above.
    assert shown.index("cat: drag it") < shown.index("box: drag it")
    sizes = [float(part.partition("%")[0]) for part in shown.split("width:")[1:]]
    assert sizes[0] < sizes[1]
    named = scene.model_copy(
        update={"objects": tuple(item.model_copy(update={"text": "<b onload='x'>"}) for item in scene.objects)}
    )
    assert "<b" not in canvas(named, studio.boxes(scene))
    assert canvas(None, ()) == ""
