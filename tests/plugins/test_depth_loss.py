"""Depth on maps whose overlap and order are counted by hand."""

from __future__ import annotations

import pytest
import torch

from spatialguide.testing import blobs, planned, statistics
from spatialguide_plugins.losses.depth import Depth


def value(maps: torch.Tensor, predicate: str) -> float:
    asked = planned("cat box", [("cat", predicate, "box")])
    return float(Depth()(statistics({"coarse": maps}, asked), asked))


def points(*places: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """Maps on a 4x4 grid: equal mass at the given (column, row) cells of each object."""
    maps = torch.zeros(1, len(places), 4, 4)
    for number, cells in enumerate(places):
        for column, row in cells:
            maps[0, number, row, column] = 1.0
    return maps


SQUARE = ((1, 1), (2, 1), (1, 2), (2, 2))


def test_inside_is_the_share_of_the_subject_on_the_ground() -> None:
    assert value(points(((1, 1),), SQUARE), "inside") == pytest.approx(0)
    assert value(points(((1, 1), (0, 0)), SQUARE), "inside") == pytest.approx(0.5)
    # The box in the cat: the centroids meet all the same.
    assert value(points(SQUARE, ((1, 1),)), "inside") == pytest.approx(0.75)
    assert value(points(((0, 0),), SQUARE), "inside") == pytest.approx(1)


@pytest.mark.parametrize(("predicate", "higher"), [("on", True), ("behind", True), ("in_front_of", False)])
def test_columns_are_shared_and_rows_are_in_order(predicate: str, higher: bool) -> None:
    above, level, below, aside = (points((place,), ((1, 1), (2, 1))) for place in ((1, 0), (1, 1), (1, 3), (3, 0)))
    assert value(above if higher else below, predicate) == pytest.approx(0)
    assert value(level, predicate) == pytest.approx(0.25)  # the columns meet, and the order is half right
    assert value(below if higher else above, predicate) == pytest.approx(0.5)
    assert value(aside, predicate) == pytest.approx(0.5 if higher else 1)


def test_it_speaks_of_these_relations_alone() -> None:
    for predicate, applies in (("on", True), ("inside", True), ("left_of", False), ("surrounding", False)):
        asked = planned("cat box", [("cat", predicate, "box")])
        assert Depth().applies(asked) is applies
        assert applies or Depth()(statistics({"coarse": points(SQUARE, SQUARE)}, asked), asked).tolist() == [0]


def test_the_gradient_moves_the_subject_onto_the_ground() -> None:
    asked = planned("cat box", [("cat", "inside", "box")])
    maps = blobs([(0.2, 0.5), (0.8, 0.5)]).requires_grad_()
    (gradient,) = torch.autograd.grad(Depth()(statistics({"coarse": maps}, asked), asked).sum(), maps)
    columns = gradient[0, 0].sum(dim=0)
    assert columns[12] < columns[3]  # more of the cat where the box is lowers the loss
