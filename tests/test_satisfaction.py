from __future__ import annotations

import pytest
import torch

from spatialguide.observer import LayerMaps
from spatialguide.satisfaction import finest, satisfaction
from spatialguide.statistics import object_statistics
from spatialguide.trace import ImageStep, Step, Trace, picked


def statistics_of(*columns: tuple[int, ...]):
    """One image per entry; an object's map is one bright column of a 4x4 grid."""
    maps = torch.zeros(len(columns), len(columns[0]), 4, 4)
    for image, places in enumerate(columns):
        for number, column in enumerate(places):
            maps[image, number, :, column] = 0.5
    return object_statistics([LayerMaps("coarse", torch.rand(len(columns), len(columns[0]), 2, 2)), LayerMaps("mid", maps)])


def test_apart_and_in_order_is_best_and_the_worst_relation_counts() -> None:
    statistics = finest(statistics_of((0, 3), (0, 0), (3, 0)))
    assert statistics.levels == ("mid",)
    distances = torch.tensor([[1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
    assert satisfaction(statistics, distances).tolist() == pytest.approx([1.0, -1.0, -1.0])
    assert satisfaction(statistics, torch.tensor([[0.125], [0.0], [0.0]])).tolist() == pytest.approx([0.5, -1.0, 0.0])


def test_one_object_and_no_relation_score_zero() -> None:
    assert satisfaction(finest(statistics_of((1,))), torch.zeros(1, 0)).tolist() == [0.0]


def test_maps_may_overlap_where_the_scene_puts_objects_together() -> None:
    statistics = finest(statistics_of((0, 0, 3), (0, 1, 3)))
    held = torch.full((2, 1), 0.25)
    assert satisfaction(statistics, held).tolist() == pytest.approx([0.0, 1.0])
    assert satisfaction(statistics, held, {(0, 1)}).tolist() == pytest.approx([1.0, 1.0])


def test_maps_that_are_not_finite_come_last() -> None:
    statistics = statistics_of((0, 3), (0, 3))
    broken = torch.tensor([[float("nan")], [1.0]])
    assert satisfaction(finest(statistics), broken).tolist() == pytest.approx([float("-inf"), 1.0])


def test_layers_of_several_grids_in_one_level() -> None:
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, :, 0] = maps[0, 1, :, 3] = 0.5
    layers = [LayerMaps("mid", torch.rand(1, 2, 2, 2)), LayerMaps("mid", maps)]
    assert satisfaction(finest(object_statistics(layers)), torch.ones(1, 1)).tolist() == pytest.approx([1.0])


def test_a_picked_trace_holds_each_images_own_steps() -> None:
    def trace(loss: float, indices: list[int]) -> Trace:
        image = ImageStep({}, loss, (), 0.0, 0.0, False, satisfaction=loss)
        return Trace([Step(index, 900.0 - index, (image, image)) for index in indices])

    found = picked([trace(0.1, [0, 1, 1]), trace(0.2, [0, 1])], [1, 0])
    losses = [(step.index, [image and image.loss for image in step.images]) for step in found.steps]
    assert losses == [(0, [0.2, 0.1]), (1, [0.2, 0.1]), (1, [None, 0.1])]
    assert (found.satisfaction(0), found.satisfaction(1)) == (0.2, 0.1)
    assert Trace().satisfaction(0) == float("-inf")
