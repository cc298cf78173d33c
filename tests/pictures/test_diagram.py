from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from rich.console import Console

from spatialguide.guide import SpatialGuide
from spatialguide.pictures.diagram import MOST_OBJECTS, grid_table, scene_svg
from spatialguide.registry import Registry
from spatialguide.scenes.layout import grid
from spatialguide.scenes.planned import plan
from spatialguide.scenes.scene import Relation, Scene, SceneObject, Span


def cells(registry: Registry, prompt: str) -> dict[str, tuple[int, int]]:
    scene = SpatialGuide(registry=registry).parse(prompt)
    found = grid(plan(scene, registry.relations()).relations, len(scene.objects))
    return {scene.name(i): place for place, members in found.cells.items() for i in members}


def test_directions_order_columns_and_rows(registry: Registry) -> None:
    places = cells(registry, "a cat left of a dog and above a car, the dog left of a bus")
    assert places["cat"][0] < places["dog"][0] < places["bus"][0]
    assert places["cat"][1] < places["car"][1]
    assert places["cat"][1] == places["dog"][1]
    assert places["cat"][0] == places["car"][0]


def test_between_and_neighbours_go_side_by_side(registry: Registry) -> None:
    places = cells(registry, "a cat between a dog and a bus, a lamp next to the bus")
    assert [name for name, _ in sorted(places.items(), key=lambda item: item[1])] == ["dog", "cat", "bus", "lamp"]
    assert len({row for _, row in places.values()}) == 1


def test_regions_leave_the_other_thirds_empty(registry: Registry) -> None:
    scene = SpatialGuide(registry=registry).parse("a moon in the top right corner, a fox in the center, a cat left of a dog")
    found = grid(plan(scene, registry.relations()).relations, len(scene.objects))
    places = {scene.name(i): place for place, members in found.cells.items() for i in members}
    assert places["moon"][0] == found.columns - 1
    assert places["moon"][1] == 0
    assert 0 < places["fox"][0] < places["moon"][0]
    assert 0 < places["cat"][0] < places["dog"][0] < places["moon"][0]


def test_every_direction_holds_in_the_grid_of_long_scenes(registry: Registry) -> None:
    prompt = "a cat left of a dog, the dog above a bus, the bus left of a tree, a bird above the tree, the bird left of a kite"
    scene = SpatialGuide(registry=registry).parse(prompt)
    found = grid(plan(scene, registry.relations()).relations, len(scene.objects))
    places = {i: place for place, members in found.cells.items() for i in members}
    for edge in scene.relations:
        dx, dy = registry.relations()[edge.predicate].direction or (0, 0)
        (ground,) = edge.objects
        steps = [places[edge.subject][axis] - places[ground][axis] for axis in (0, 1)]
        assert steps[0] * dx + steps[1] * dy > 0


def test_the_table_shows_what_a_grid_cannot(registry: Registry) -> None:
    scene = SpatialGuide(registry=registry).parse("a fox behind a bench, a bird")
    table = grid_table(scene, registry.relations())
    assert table is not None
    console = Console(width=80)
    with console.capture() as printed:
        console.print(table)
    text = printed.get()
    assert "fox (behind bench)" in text
    assert "anywhere: bird" in text


def test_no_table_without_relations_or_with_too_many_objects(registry: Registry) -> None:
    guide = SpatialGuide(registry=registry)
    assert grid_table(guide.parse("a cat and a dog"), registry.relations()) is None
    many = ", ".join(["a cat"] * (MOST_OBJECTS + 1))
    scene = guide.parse(f"{many} and a dog left of a bus")
    assert len(scene.objects) > MOST_OBJECTS
    assert grid_table(scene, registry.relations()) is None


@pytest.mark.parametrize(
    ("prompt", "words", "labels"),
    [
        ("a <b>red</b> cat left of two dogs", ["red cat", "dog", "x 2"], ["left_of"]),
        ("a moon in the top left corner", ["moon", "top_left", "place in the picture"], ["in_region"]),
        ("a cat between a dog and a bus", ["cat", "dog", "bus"], ["between", "between"]),
        ("a cat", ["cat"], []),
    ],
)
def test_the_svg_is_sound_and_names_everything(registry: Registry, prompt: str, words: list[str], labels: list[str]) -> None:
    svg = ElementTree.fromstring(scene_svg(SpatialGuide(registry=registry).parse(prompt)))
    texts = ["".join(node.itertext()).strip() for node in svg.iter() if node.tag.endswith(("tspan", "textPath"))]
    assert [text for text in texts if text in words] == words
    assert [text for text in texts if text in labels] == labels


def test_the_svg_of_an_empty_scene(registry: Registry) -> None:
    assert scene_svg(Scene(prompt="nothing")).startswith("<svg")


@pytest.mark.parametrize("place", [False, True], ids=["relation", "place"])
def test_names_of_relations_are_text(place: bool) -> None:
    """A plugin chooses them, and displaCy does not escape its labels."""
    name = "</text><img src=x onerror=alert(1)>&amp;"
    objects = (
        SceneObject(text="cat", head="cat", span=Span(0, 3), phrase=Span(0, 3)),
        SceneObject(text="dog", head="dog", span=Span(4, 7), phrase=Span(4, 7)),
    )
    edge = Relation(subject=0, objects=() if place else (1,), predicate=f"{name}:{name}" if place else name)
    markup = scene_svg(Scene(prompt="cat dog", objects=objects, relations=(edge,)))
    assert "<img" not in markup
    labels = [node.text for node in ElementTree.fromstring(markup).iter() if node.tag.endswith("textPath")]
    assert labels == [name]


def test_the_svg_can_be_scaled(registry: Registry) -> None:
    svg = ElementTree.fromstring(scene_svg(SpatialGuide(registry=registry).parse("a cat left of a dog")))
    assert svg.attrib["viewBox"] == f"0 0 {svg.attrib['width']} {svg.attrib['height']}"
