"""Superiority on maps whose shares are counted by hand."""

from __future__ import annotations

import math

import pytest
import torch

from spatialguide.scenes.planned import PlannedScene
from spatialguide.testing import blobs, planned, statistics
from spatialguide_plugins.losses.alignment import Alignment
from spatialguide_plugins.losses.superiority import Superiority

PROMPT = "cat dog bus"


def points(*places: tuple[tuple[int, int], ...], size: int = 3) -> torch.Tensor:
    """Equal mass at the given (column, row) cells of each object."""
    maps = torch.zeros(1, len(places), size, size)
    for number, cells in enumerate(places):
        for column, row in cells:
            maps[0, number, row, column] = 1.0
    return maps


def scene(*triples: tuple[str, str, str], prompt: str = "cat dog") -> PlannedScene:
    return planned(prompt, triples)


def share(maps: torch.Tensor, asked: PlannedScene, **options: float) -> float:
    """P, the mean over what is asked for."""
    return 1 - float(Superiority(log=False, **options)(statistics({"coarse": maps}, asked), asked))


#: A cat at x = 0, in two rows; a dog at x = 1, in the row between.
SPREAD = points(((0, 0), (0, 2)), ((2, 1),))


@pytest.mark.parametrize(
    ("predicate", "expected"), [("left_of", 1.0), ("right_of", 0.0), ("above", 0.5), ("below", 0.5), ("on", 0.5)]
)
def test_the_share_of_pairs_in_the_asked_order(predicate: str, expected: float) -> None:
    assert share(SPREAD, scene(("cat", predicate, "dog"))) == pytest.approx(expected)


def test_two_spots_on_either_side_are_half_wrong() -> None:
    """The centroids are 0.25 apart, as alignment asks."""
    doubled = points(((0, 0), (2, 0)), ((1, 1), (2, 1)))
    asked = scene(("cat", "left_of", "dog"))
    assert float(Alignment(activation="relu")(statistics({"coarse": doubled}, asked), asked)) == 0
    # Of the four pairs two are in order, one is not, one is level.
    assert share(doubled, asked) == pytest.approx((2 + 0.5) / 4)


def test_a_gap_counts_only_what_is_farther_apart() -> None:
    near = points(((0, 0),), ((1, 0), (2, 0)))
    asked = scene(("cat", "left_of", "dog"))
    assert share(near, asked) == pytest.approx(1)
    assert share(near, asked, gap=1 / 3) == pytest.approx((0.5 + 1) / 2)
    assert share(near, asked, gap=2 / 3) == pytest.approx((0 + 0.5) / 2)


def test_orders_that_follow_count_too() -> None:
    row = points(((1, 0),), ((0, 0),), ((2, 0),))
    asked = scene(("cat", "left_of", "dog"), ("dog", "left_of", "bus"), prompt=PROMPT)
    assert share(row, asked, closure=False) == pytest.approx((0 + 1) / 2)
    assert share(row, asked) == pytest.approx((0 + 1 + 1) / 3)


@pytest.mark.parametrize(
    ("region", "expected"),
    [("left", 1.0), ("right", 0.0), ("top", 0.5), ("top_left", 0.75), ("bottom_right", 0.25), ("center", 0.25)],
)
def test_places_in_the_picture_are_shares_of_the_map(region: str, expected: float) -> None:
    """On a grid of four columns and rows: half of the cat in the corner, half left of the middle and low in the middle half."""
    maps = points(((0, 0), (0, 2)), size=4)
    # Along x none is in the middle half, along y a half is.
    assert share(maps, planned("cat", [("cat", f"in_region:{region}", ())])) == pytest.approx(expected)


def test_the_loss_is_the_mean_of_minus_the_logarithm_over_orders_and_layers() -> None:
    asked = scene(("cat", "left_of", "dog"), ("cat", "above", "dog"))
    level = points(((1, 0),), ((1, 2),))
    found = Superiority()(statistics({"coarse": SPREAD, "mid": level}, asked), asked)
    small = lambda p: -math.log(1e-4 + (1 - 1e-4) * p)  # noqa: E731
    assert found.tolist() == pytest.approx([(small(1) + small(0.5) + small(0.5) + small(1)) / 4], abs=1e-6)
    worst = Superiority()(statistics({"coarse": SPREAD}, reverse := scene(("cat", "right_of", "dog"))), reverse)
    assert worst.tolist() == pytest.approx([-math.log(1e-4)])


def test_it_speaks_of_directions_alone() -> None:
    term = Superiority()
    assert term.applies(scene(("cat", "left_of", "dog")))
    assert term.applies(planned("cat", [("cat", "in_region:center", ())]))
    for predicate in ("next_to", "inside", "behind"):
        near = scene(("cat", predicate, "dog"))
        assert not term.applies(near)
        assert term(statistics({"coarse": SPREAD}, near), near).tolist() == [0]


@pytest.mark.parametrize("log", [True, False])
def test_the_gradient_moves_each_object_to_its_side(log: bool) -> None:
    asked = scene(("cat", "left_of", "dog"))
    maps = blobs([(0.6, 0.5), (0.4, 0.5)]).expand(2, -1, -1, -1).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Superiority(log=log)(statistics({"coarse": maps}, asked), asked)[1], maps)
    assert not gradient[0].any()  # of the other image
    columns = gradient[1].sum(dim=1)
    # More of the cat on the left, and of the dog on the right, lowers the loss.
    assert columns[0, 0] < columns[0, -1]
    assert columns[1, 0] > columns[1, -1]
