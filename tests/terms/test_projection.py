"""Boxes that follow the image: the relations hold between them, and nothing moves that need not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_layout import feasible_scenes, scene_of

from spatialguide.registry import default_registry
from spatialguide.scenes.planned import PlannedScene
from spatialguide.terms.projection import nearest_places


def nearest(start: torch.Tensor, scene: PlannedScene, slack: float = 0.2) -> torch.Tensor:
    """Centres of the scene's own boxes, brought near to where the objects are."""
    return nearest_places(start, scene, scene.boxes, slack)


@given(feasible_scenes(), st.integers(0, 2**16))
def test_relations_hold_wherever_the_objects_are(scene: PlannedScene, seed: int) -> None:
    start = torch.rand(5, len(scene.counts), 2, generator=torch.Generator().manual_seed(seed))
    found = nearest(start, scene)
    assert found.shape == (5, len(scene.counts), 2)
    given_boxes = torch.tensor(scene.boxes).view(-1, 4)
    half = (given_boxes[:, 2:] - given_boxes[:, :2]) / 2
    assert (found - half >= -1e-6).all()
    assert (found + half <= 1 + 1e-6).all()
    assert_all_hold(scene, found)


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
def test_relations_of_other_kinds_hold_too(edges: list[tuple[int, str, tuple[int, ...]]]) -> None:
    scene = scene_of(3, *edges)
    start = torch.rand(20, 3, 2, generator=torch.Generator().manual_seed(0))
    assert_all_hold(scene, nearest(start, scene))


def assert_all_hold(scene: PlannedScene, centres: torch.Tensor) -> None:
    relations = default_registry().relations()
    for edge in scene.scene.relations:
        distance = relations[edge.predicate].distance(centres[:, edge.subject], *(centres[:, g] for g in edge.objects))
        assert (distance > 0).all(), scene.scene.describe()


def moved(scene: PlannedScene, start: list[list[float]], slack: float = 0.2) -> torch.Tensor:
    (found,) = nearest(torch.tensor([start]), scene, slack)
    return found


def test_what_the_relations_leave_open_stays() -> None:
    left_of = scene_of(2, (0, "left_of", (1,)))
    apart = [[0.25, 0.4], [0.75, 0.6]]
    assert torch.allclose(moved(left_of, apart), torch.tensor(apart))
    found = moved(left_of, [[0.6, 0.4], [0.5, 0.6]])
    # Both move by as much, to four fifths of the layout's distance.
    assert torch.allclose(found, torch.tensor([[0.35, 0.4], [0.75, 0.6]]), atol=1e-4)


def test_no_slack_gives_the_layouts_distances() -> None:
    found = moved(scene_of(2, (0, "left_of", (1,))), [[0.5, 0.5], [0.5, 0.5]], slack=0.0)
    assert torch.allclose(found[:, 0], torch.tensor([0.25, 0.75]), atol=1e-4)


def test_neighbours_keep_the_images_order() -> None:
    """Which of the two is on the left is open, and not for the layout to say."""
    scene = scene_of(2, (0, "next_to", (1,)))
    for apart in ([[0.25, 0.5], [0.75, 0.5]], [[0.75, 0.5], [0.25, 0.5]]):
        assert torch.allclose(moved(scene, apart), torch.tensor(apart))
    x = moved(scene, [[0.55, 0.5], [0.5, 0.5]])[:, 0]
    assert x[0] - x[1] > 0.3
    # A third object that something orders keeps the layout's.
    mixed = scene_of(3, (0, "next_to", (1,)), (1, "left_of", (2,)))
    found = moved(mixed, [[0.9, 0.5], [0.5, 0.5], [0.1, 0.5]])[:, 0]
    assert found[1] < found[2]


def test_a_place_in_the_picture_fixes_only_what_it_says() -> None:
    """The left third says nothing of the height; an object of no relation stands apart, and else where it was."""
    scene = scene_of(2, (0, "in_region:left", ()))
    place = scene.boxes[0]
    found = moved(scene, [[0.8, 0.3], [0.8, 0.75]])
    assert found[0].tolist() == pytest.approx([(place[0] + place[2]) / 2, 0.3])
    assert found[1, 1].item() == pytest.approx(0.75)


def test_orders_that_follow_are_kept() -> None:
    chain = scene_of(3, (0, "left_of", (1,)), (1, "left_of", (2,)))
    x = moved(chain, [[0.9, 0.5], [0.5, 0.5], [0.1, 0.5]])[:, 0].tolist()
    assert x[1] - x[0] >= 0.8 / 3 - 1e-3
    assert x[2] - x[1] >= 0.8 / 3 - 1e-3
