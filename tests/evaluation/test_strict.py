"""The strict rule, on boxes placed by hand."""

from __future__ import annotations

import pytest

from spatialguide.contracts import Detection
from spatialguide.evaluation.strict import Verdict, distinct, judge
from spatialguide.guide import SpatialGuide
from spatialguide.registry import Registry
from spatialguide.scenes.records import scene_from_triples
from spatialguide.scenes.scene import Scene

SIZE = (100, 100)
RIGHT, WRONG = Verdict(True, False, False), Verdict(False, False, False)
MISSING, DOUBLE = Verdict(False, True, False), Verdict(False, False, True)


def box(label: str, x: float, y: float = 50, colour: str | None = None) -> Detection:
    return Detection(label, 0.9, (x - 4, y - 4, x + 4, y + 4), colour)


def scene(prompt: str, *triples: tuple[str, str, str], **asked: dict[str, object]) -> Scene:
    """asked: count and attributes of an object, by its name."""
    made = scene_from_triples(prompt, triples)
    objects = tuple(item.model_copy(update=asked.get(item.text, {})) for item in made.objects)
    return made.model_copy(update={"objects": objects})


@pytest.fixture(scope="module")
def guide() -> SpatialGuide:
    return SpatialGuide()


CAT_DOG = scene("a cat to the left of a dog", ("cat", "left_of", "dog"))


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([box("cat", 10), box("dog", 40)], RIGHT),
        ([box("cat", 40), box("dog", 10)], WRONG),
        ([box("cat", 10)], MISSING),
        ([], MISSING),
        # VISOR's rule is content with any of them.
        ([box("cat", 10), box("cat", 90), box("dog", 40)], DOUBLE),
        ([box("cat", 10), box("cat", 20), box("dog", 40)], DOUBLE),
        ([box("cat", 10), box("cat", 20)], Verdict(False, True, True)),
        # The same cat found twice, and a thing that nobody asked for.
        ([box("cat", 10), box("cat", 11), box("dog", 40), box("bus", 50)], RIGHT),
    ],
)
def test_every_object_is_there_exactly_once(registry: Registry, found: list[Detection], verdict: Verdict) -> None:
    assert judge(CAT_DOG, found, registry.relations(), SIZE) == verdict


def test_every_one_of_several_is_on_its_side(registry: Registry) -> None:
    cats = scene("three cats to the left of a dog", ("cat", "left_of", "dog"), cat={"count": 3})
    left = [box("cat", x) for x in (10, 20, 30)]
    assert judge(cats, [*left, box("dog", 40)], registry.relations(), SIZE) == RIGHT
    assert judge(cats, [*left, box("dog", 25)], registry.relations(), SIZE) == WRONG
    assert judge(cats, [*left[:2], box("dog", 40)], registry.relations(), SIZE) == MISSING
    some = scene("cats to the left of a dog", ("cat", "left_of", "dog"), cat={"count": None})
    assert judge(some, [*left, box("dog", 40)], registry.relations(), SIZE) == RIGHT
    assert judge(some, [box("dog", 40)], registry.relations(), SIZE) == MISSING


def test_colours_tell_things_of_one_name_apart(guide: SpatialGuide) -> None:
    cars = guide.parse("a red car to the left of a blue car")
    relations = guide.registry.relations()
    red, blue = box("car", 10, colour="red"), box("car", 40, colour="blue")
    assert judge(cars, [red, blue], relations, SIZE) == RIGHT
    assert judge(cars, [red, box("car", 5, colour="blue")], relations, SIZE) == WRONG
    assert judge(cars, [red, box("car", 40, colour="red")], relations, SIZE) == WRONG
    assert judge(cars, [red], relations, SIZE) == MISSING
    assert judge(cars, [red, blue, box("car", 70, colour="green")], relations, SIZE) == DOUBLE
    # A detector that names no colours cannot tell.
    assert judge(cars, [box("car", 10), box("car", 40)], relations, SIZE) == RIGHT
    assert judge(guide.parse("a big car"), [red], relations, SIZE) == RIGHT


def test_each_of_several_is_near_some_where_there_is_no_direction(guide: SpatialGuide) -> None:
    cars = guide.parse("two cars in front of three cows")
    cows = [box("cow", x, 20) for x in (10, 50, 90)]
    relations = guide.registry.relations()
    assert judge(cars, [box("car", 12, 60), box("car", 88, 60), *cows], relations, SIZE) == RIGHT
    assert judge(cars, [box("car", 12, 60), box("car", 88, 10), *cows], relations, SIZE) == WRONG


def test_one_object_in_two_places_needs_two_that_fit(guide: SpatialGuide) -> None:
    between = guide.parse("a cat between two trees")
    trees = [box("tree", 10), box("tree", 90)]
    assert judge(between, [box("cat", 50), *trees], guide.registry.relations(), SIZE) == RIGHT
    assert judge(between, [box("cat", 96, 10), *trees], guide.registry.relations(), SIZE) == WRONG


def test_boxes_that_share_most_are_one_object() -> None:
    first, second, third = box("cat", 10), box("cat", 11), box("cat", 17)
    assert distinct([first, second, third]) == [first, third]


def test_a_scene_without_objects_is_right(registry: Registry) -> None:
    assert judge(Scene(prompt="fog"), [box("cat", 10)], registry.relations(), SIZE) == RIGHT
