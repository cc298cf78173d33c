"""Boxes that follow the image: the relations hold between them, and nothing moves that need not."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_layout import feasible_scenes, scene_of

from spatialguide.layout import boxes
from spatialguide.placement import nearest_boxes, parts
from spatialguide.registry import Registry, default_registry
from spatialguide.scene import Scene


def centres_of(found: torch.Tensor) -> torch.Tensor:
    return (found[..., :2] + found[..., 2:]) / 2


@settings(max_examples=60, deadline=None, derandomize=True)
@given(feasible_scenes(), st.integers(0, 2**16))
def test_relations_hold_wherever_the_objects_are(scene: Scene, seed: int) -> None:
    relations = default_registry().relations()
    given_boxes = boxes(scene, relations)
    fixed = [edge.subject for edge in scene.relations if not edge.objects]
    start = torch.rand(5, len(scene.objects), 2, generator=torch.Generator().manual_seed(seed))
    found = nearest_boxes(start, given_boxes, 0.2, fixed)
    assert found.shape == (5, len(scene.objects), 4)
    assert (found >= -1e-6).all()
    assert (found <= 1 + 1e-6).all()
    assert torch.allclose(found[:, fixed], torch.tensor(given_boxes)[fixed].expand(5, -1, -1), atol=1e-6)
    centres = centres_of(found)
    for edge in scene.relations:
        distance = relations[edge.predicate].distance(centres[:, edge.subject], *(centres[:, g] for g in edge.objects))
        assert (distance > 0).all(), scene.describe()


def test_what_the_relations_leave_open_stays(registry: Registry) -> None:
    given_boxes = boxes(scene_of(2, (0, "left_of", (1,))), registry.relations())
    apart = torch.tensor([[0.25, 0.4], [0.75, 0.6]])
    assert torch.allclose(centres_of(nearest_boxes(apart, given_boxes, 0.2)), apart)
    swapped = torch.tensor([[0.6, 0.4], [0.5, 0.6]])
    found = centres_of(nearest_boxes(swapped, given_boxes, 0.2))
    assert torch.allclose(found[:, 1], swapped[:, 1])
    # Both move by as much, to four fifths of the layout's distance.
    assert torch.allclose(found[:, 0], torch.tensor([0.35, 0.75]), atol=1e-4)


def test_no_slack_gives_the_layouts_distances(registry: Registry) -> None:
    given_boxes = boxes(scene_of(2, (0, "left_of", (1,))), registry.relations())
    found = nearest_boxes(torch.full((2, 2), 0.5), given_boxes, 0.0)
    assert torch.allclose(centres_of(found)[:, 0], torch.tensor([0.25, 0.75]), atol=1e-4)


def test_objects_in_one_place_may_stay_together(registry: Registry) -> None:
    given_boxes = boxes(scene_of(2, (0, "inside", (1,))), registry.relations())
    together = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    assert torch.allclose(centres_of(nearest_boxes(together, given_boxes, 0.2)), together)


def test_an_object_asked_for_twice_gets_two_halves() -> None:
    split, owners = parts(torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.5, 0.2, 1.0, 0.8]]), [1, 2])
    assert owners == [0, 1, 1]
    assert torch.allclose(split, torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.5, 0.2, 0.75, 0.8], [0.75, 0.2, 1.0, 0.8]]))
