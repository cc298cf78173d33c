"""Boxes that follow the image: the relations hold between them, and nothing moves that need not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_layout import feasible_scenes, scene_of

from spatialguide.contracts import Relation
from spatialguide.layout import boxes
from spatialguide.placement import nearest_boxes, parts
from spatialguide.registry import Registry, default_registry
from spatialguide.scene import Scene


def centres_of(found: torch.Tensor) -> torch.Tensor:
    return (found[..., :2] + found[..., 2:]) / 2


@given(feasible_scenes(), st.integers(0, 2**16))
def test_relations_hold_wherever_the_objects_are(scene: Scene, seed: int) -> None:
    relations = default_registry().relations()
    start = torch.rand(5, len(scene.objects), 2, generator=torch.Generator().manual_seed(seed))
    found = nearest_boxes(start, scene, relations, boxes(scene, relations), 0.2)
    assert found.shape == (5, len(scene.objects), 4)
    assert (found >= -1e-6).all()
    assert (found <= 1 + 1e-6).all()
    assert_all_hold(scene, centres_of(found), relations)


@pytest.mark.parametrize(
    "edges",
    [
        [(0, "inside", (1,))],
        [(0, "surrounding", (1,)), (1, "left_of", (2,))],
        [(0, "behind", (1,))],
        [(0, "behind", (1,)), (0, "left_of", (1,))],
        [(0, "in_front_of", (1,)), (2, "left_of", (1,))],
        [(0, "between", (1, 2))],
        [(0, "next_to", (1,)), (1, "above", (2,))],
        [(0, "in_region:center", ()), (1, "left_of", (0,)), (2, "in_region:bottom_right", ())],
    ],
)
def test_relations_of_other_kinds_hold_too(registry: Registry, edges: list[tuple[int, str, tuple[int, ...]]]) -> None:
    scene, relations = scene_of(3, *edges), registry.relations()
    start = torch.rand(20, 3, 2, generator=torch.Generator().manual_seed(0))
    assert_all_hold(scene, centres_of(nearest_boxes(start, scene, relations, boxes(scene, relations), 0.2)), relations)


def assert_all_hold(scene: Scene, centres: torch.Tensor, relations: Mapping[str, Relation]) -> None:
    for edge in scene.relations:
        distance = relations[edge.predicate].distance(centres[:, edge.subject], *(centres[:, g] for g in edge.objects))
        assert (distance > 0).all(), scene.describe()


def moved(scene: Scene, start: list[list[float]], registry: Registry, slack: float = 0.2) -> torch.Tensor:
    relations = registry.relations()
    return centres_of(nearest_boxes(torch.tensor(start), scene, relations, boxes(scene, relations), slack))


def test_what_the_relations_leave_open_stays(registry: Registry) -> None:
    left_of = scene_of(2, (0, "left_of", (1,)))
    apart = [[0.25, 0.4], [0.75, 0.6]]
    assert torch.allclose(moved(left_of, apart, registry), torch.tensor(apart))
    found = moved(left_of, [[0.6, 0.4], [0.5, 0.6]], registry)
    # Both move by as much, to four fifths of the layout's distance.
    assert torch.allclose(found, torch.tensor([[0.35, 0.4], [0.75, 0.6]]), atol=1e-4)


def test_no_slack_gives_the_layouts_distances(registry: Registry) -> None:
    found = moved(scene_of(2, (0, "left_of", (1,))), [[0.5, 0.5], [0.5, 0.5]], registry, slack=0.0)
    assert torch.allclose(found[:, 0], torch.tensor([0.25, 0.75]), atol=1e-4)


def test_neighbours_keep_the_images_order(registry: Registry) -> None:
    """Which of the two is on the left is open, and not for the layout to say."""
    scene = scene_of(2, (0, "next_to", (1,)))
    for apart in ([[0.25, 0.5], [0.75, 0.5]], [[0.75, 0.5], [0.25, 0.5]]):
        assert torch.allclose(moved(scene, apart, registry), torch.tensor(apart))
    x = moved(scene, [[0.55, 0.5], [0.5, 0.5]], registry)[:, 0]
    assert x[0] - x[1] > 0.3
    # A third object that something orders keeps the layout's.
    mixed = scene_of(3, (0, "next_to", (1,)), (1, "left_of", (2,)))
    found = moved(mixed, [[0.9, 0.5], [0.5, 0.5], [0.1, 0.5]], registry)[:, 0]
    assert found[1] < found[2]


def test_a_place_in_the_picture_fixes_only_what_it_says(registry: Registry) -> None:
    """The left third says nothing of the height; an object of no relation stands apart, and else where it was."""
    scene = scene_of(2, (0, "in_region:left", ()))
    place = boxes(scene, registry.relations())[0]
    found = moved(scene, [[0.8, 0.3], [0.8, 0.75]], registry)
    assert found[0].tolist() == pytest.approx([(place[0] + place[2]) / 2, 0.3])
    assert found[1, 1].item() == pytest.approx(0.75)


def test_orders_that_follow_are_kept(registry: Registry) -> None:
    chain = scene_of(3, (0, "left_of", (1,)), (1, "left_of", (2,)))
    x = moved(chain, [[0.9, 0.5], [0.5, 0.5], [0.1, 0.5]], registry)[:, 0].tolist()
    assert x[1] - x[0] >= 0.8 / 3 - 1e-3
    assert x[2] - x[1] >= 0.8 / 3 - 1e-3


def test_an_object_asked_for_twice_gets_two_halves() -> None:
    split, owners = parts(torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.5, 0.2, 1.0, 0.8]]), [1, 2])
    assert owners == [0, 1, 1]
    assert torch.allclose(split, torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.5, 0.2, 0.75, 0.8], [0.75, 0.2, 1.0, 0.8]]))
