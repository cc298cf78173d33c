from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spatialguide.guidance.ranking import finest_maps, satisfaction
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.guidance.trace import ImageStep, Step, Trace, picked
from spatialguide.scenes.planned import Structure
from spatialguide.testing import planned, statistics

PROMPT = "a cat, a dog, a bus"
ONE = planned(PROMPT, [("cat", "left_of", "dog")])
TWO = planned(PROMPT, [("cat", "left_of", "dog"), ("cat", "above", "dog")])


def seen(*columns: tuple[int, ...], distances: list[list[float]]) -> ObjectStatistics:
    """One image per entry; an object's map is one bright column of a 4x4 grid.

    Args:
        distances: on the finest level, per image; on the coarser one all are wrong.
    """
    maps = torch.zeros(len(columns), len(columns[0]), 4, 4)
    for image, places in enumerate(columns):
        for number, column in enumerate(places):
            maps[image, number, :, column] = 0.5
    coarse = torch.rand(len(columns), len(columns[0]), 2, 2)
    found = statistics({"coarse": coarse, "mid": maps}, Structure((1,) * len(columns[0]), ()))
    fine = torch.tensor(distances).view(len(columns), -1)
    return replace(found, distances=torch.stack([torch.full_like(fine, -1.0), fine], dim=1))


def test_apart_and_in_order_is_best_and_the_worst_relation_counts() -> None:
    places = (0, 3), (0, 0), (3, 0)
    found = seen(*places, distances=[[1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
    assert finest_maps(found).shape[-2:] == (4, 4)
    assert satisfaction(found, TWO).tolist() == pytest.approx([1.0, -1.0, -1.0])
    assert satisfaction(seen(*places, distances=[[0.125], [0.0], [0.0]]), ONE).tolist() == pytest.approx([0.5, -1.0, 0.0])


def test_distances_are_the_images_own() -> None:
    """Columns 0 and 3 of four are a whole side apart."""
    maps = torch.zeros(2, 2, 4, 4)
    maps[0, 0, :, 0] = maps[0, 1, :, 3] = maps[1, 0, :, 3] = maps[1, 1, :, 0] = 0.5
    assert satisfaction(statistics(maps, ONE), ONE).tolist() == pytest.approx([1.0, -1.0])


def test_one_object_and_no_relation_score_zero() -> None:
    assert satisfaction(seen((1,), distances=[[]]), Structure((1,), ())).tolist() == [0.0]


def test_maps_may_overlap_where_the_scene_puts_objects_together() -> None:
    found = seen((0, 0, 3), (0, 1, 3), distances=[[0.25], [0.25]])
    apart = planned(PROMPT, [("cat", "left_of", "dog"), ("bus", "left_of", "cat")])
    inside = planned(PROMPT, [("cat", "inside", "dog"), ("bus", "left_of", "cat")])
    assert (apart.together, inside.together) == (frozenset(), {(0, 1)})
    assert satisfaction(found, apart).tolist() == pytest.approx([0.0, 1.0])
    assert satisfaction(found, inside).tolist() == pytest.approx([1.0, 1.0])


def test_maps_that_are_not_finite_come_last() -> None:
    broken = seen((0, 3), (0, 3), distances=[[float("nan")], [1.0]])
    assert satisfaction(broken, ONE).tolist() == pytest.approx([float("-inf"), 1.0])


def test_layers_of_several_grids_in_one_level() -> None:
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, :, 0] = maps[0, 1, :, 3] = 0.5
    found = statistics({"mid": [torch.rand(1, 2, 2, 2), maps]}, ONE)
    assert satisfaction(replace(found, distances=torch.ones(1, 2, 1)), ONE).tolist() == pytest.approx([1.0])


def test_a_picked_trace_holds_each_images_own_steps() -> None:
    def trace(loss: float, indices: list[int]) -> Trace:
        image = ImageStep({}, loss, (), 0.0, 0.0, False, satisfaction=loss)
        return Trace([Step(index, 900.0 - index, (image, image)) for index in indices])

    found = picked([trace(0.1, [0, 1, 1]), trace(0.2, [0, 1])], [1, 0])
    losses = [(step.index, [image and image.loss for image in step.images]) for step in found.steps]
    assert losses == [(0, [0.2, 0.1]), (1, [0.2, 0.1]), (1, [None, 0.1])]
    assert (found.satisfaction(0), found.satisfaction(1)) == (0.2, 0.1)
    assert Trace().satisfaction(0) == float("-inf")
