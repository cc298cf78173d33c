from __future__ import annotations

import pytest
from pydantic import ValidationError

from spatialguide.errors import SceneError
from spatialguide.registry import default_registry
from spatialguide.scenes.planned import plan
from spatialguide.scenes.records import scene_from_triples
from spatialguide.scenes.scene import Relation, Scene, SceneObject, Span


def ball(start: int, end: int, *attributes: str) -> SceneObject:
    return SceneObject(text="ball", head="ball", attributes=attributes, span=Span(start, end), phrase=Span(start, end))


def test_scene_from_triples_points_into_the_prompt() -> None:
    prompt = "A traffic light above a cat"
    scene = scene_from_triples(prompt, [("traffic light", "above", "cat")])
    light, cat = scene.objects
    assert prompt[light.span.start : light.span.end] == "traffic light"
    assert (light.text, light.head, cat.text) == ("traffic light", "light", "cat")
    assert scene.relations == (Relation(subject=0, predicate="above", objects=(1,)),)


def test_scene_from_triples_takes_several_grounds() -> None:
    scene = scene_from_triples("a cat between a dog and a bus", [("cat", "between", ["dog", "bus"])])
    assert scene.relations[0].objects == (1, 2)
    assert scene.describe() == "objects: cat, dog, bus; relations: cat between dog and bus"


def test_scene_from_triples_takes_whole_words_that_are_free() -> None:
    prompt = "a carrot left of a car, a car wash"
    carrot, car, wash = scene_from_triples(prompt, [("carrot", "left_of", "car"), ("car", "left_of", "car wash")]).objects
    assert [prompt[o.span.start :][:4] for o in (carrot, car, wash)] == ["carr", "car,", "car "]


def test_scene_from_triples_refuses_a_name_that_the_prompt_lacks() -> None:
    with pytest.raises(SceneError, match="'dog' does not occur"):
        scene_from_triples("a cat", [("cat", "left_of", "dog")])


def test_names_tell_equal_objects_apart() -> None:
    scene = Scene(prompt="ball ball red ball", objects=(ball(0, 4), ball(5, 9), ball(14, 18, "red")))
    assert [scene.name(i) for i in range(3)] == ["ball (1)", "ball (2)", "red ball"]


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (2, 2), (0, 5)])
def test_spans_outside_the_prompt_are_refused(start: int, end: int) -> None:
    with pytest.raises(ValidationError, match="outside the prompt"):
        Scene(prompt="ball", objects=(ball(start, end),))


def test_relations_must_name_objects_of_the_scene() -> None:
    with pytest.raises(ValidationError, match="names an object that the scene lacks: its 1 are numbered from 0"):
        Scene(prompt="ball", objects=(ball(0, 4),), relations=(Relation(subject=0, predicate="above", objects=(1,)),))
    with pytest.raises(ValidationError, match="to itself"):
        Scene(prompt="ball", objects=(ball(0, 4),), relations=(Relation(subject=0, predicate="above", objects=(0,)),))


def test_scene_survives_json() -> None:
    scene = scene_from_triples("a cat above a dog", [("cat", "above", "dog")])
    assert Scene.model_validate_json(scene.model_dump_json()) == scene


def test_too_many_relations_are_refused() -> None:
    names = [f"thing{number}" for number in range(66)]
    triples = [(names[0], "left_of", name) for name in names[1:]]
    scene = scene_from_triples(" ".join(names), triples)
    with pytest.raises(SceneError, match="65 relations, and at most 64 are planned"):
        plan(scene, default_registry().relations())
    plan(scene_from_triples(" ".join(names), triples[:64]), default_registry().relations())
