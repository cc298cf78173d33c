import pytest
import torch
from elbow_room import ElbowRoom

from spatialguide import SpatialGuide
from spatialguide.errors import ConfigError
from spatialguide.testing import statistics


def spots(*places: tuple[int, int]) -> torch.Tensor:
    """Maps (1, objects, 8, 8), each with all its attention in one cell, given as x and y."""
    maps = torch.zeros(1, len(places), 8, 8)
    for number, (x, y) in enumerate(places):
        maps[0, number, y, x] = 1
    return maps


def loss(prompt: str, maps: torch.Tensor, distance: float) -> torch.Tensor:
    scene = SpatialGuide().plan(prompt)
    return ElbowRoom(distance=distance)(statistics(maps, scene), scene)


def test_objects_that_are_apart_cost_nothing() -> None:
    assert loss("a cat to the left of a dog", spots((0, 4), (7, 4)), 0.4).tolist() == [0]


def test_what_is_missing_to_the_distance_is_the_loss() -> None:
    # One cell of eight is 1/7 of the way between the first cell's middle and the last's.
    assert loss("a cat to the left of a dog", spots((3, 4), (4, 4)), 0.4).tolist() == pytest.approx([0.4 - 1 / 7])


def test_one_object_needs_no_room() -> None:
    assert loss("a cat at the top", spots((3, 4)), 0.4).tolist() == [0]
    assert not ElbowRoom().applies(SpatialGuide().plan("a cat at the top"))


def test_it_pushes_apart() -> None:
    maps = torch.rand(1, 2, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss("a cat to the left of a dog", maps, 2.0).sum(), maps)
    assert gradient.abs().sum() > 0


def test_it_is_found_by_name_and_draws() -> None:
    guide = SpatialGuide(steps=4, losses={"alignment": {}, "elbow_room": {"weight": 0.5, "distance": 0.5}})
    result = guide("a cat to the left of a dog")
    assert "elbow_room" in result.trace.steps[0].images[0].terms


def test_a_distance_that_makes_no_sense_is_refused_with_its_name() -> None:
    with pytest.raises(ConfigError, match=r"losses\.elbow_room: 'distance'"):
        SpatialGuide(losses={"elbow_room": {"distance": -1}})("a cat to the left of a dog")
