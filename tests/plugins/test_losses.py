"""The three InfSplign terms against the paper's formulas on maps computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from spatialguide.contracts import LossTerm
from spatialguide.guidance.statistics import ObjectStatistics
from spatialguide.registry import default_registry
from spatialguide.scenes.planned import PlannedScene, plan
from spatialguide.scenes.scene import Relation, Scene, SceneObject, Span
from spatialguide.testing import statistics
from spatialguide_plugins.losses.alignment import Alignment
from spatialguide_plugins.losses.balance import Balance
from spatialguide_plugins.losses.presence import Presence

NAMES = ("cat", "dog", "bus")
PROMPT = "cat dog bus"


def scene(objects: int, *edges: tuple[int, str, int]) -> PlannedScene:
    spans = [Span(4 * i, 4 * i + 3) for i in range(objects)]
    stated = Scene(
        prompt=PROMPT,
        objects=tuple(SceneObject(text=n, head=n, span=s, phrase=s) for n, s in zip(NAMES, spans, strict=False)),
        relations=tuple(Relation(subject=a, predicate=p, objects=(b,)) for a, p, b in edges),
    )
    return plan(stated, default_registry().relations())


def points(*places: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """Maps on a 3x3 grid, coordinates 0, 0.5, 1: equal mass at the given (column, row) cells of each object."""
    maps = torch.zeros(1, len(places), 3, 3)
    for index, cells in enumerate(places):
        for column, row in cells:
            maps[0, index, row, column] = 1.0
    return maps


def values(term: LossTerm, scene: PlannedScene, **maps: torch.Tensor) -> list[float]:
    """Of maps by level."""
    return term(statistics(maps, scene), scene).tolist()


def gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


#: A on the left (x = 0, two cells: variance 0.25), B on the right (x = 1, one cell: variance 0).
SPREAD = points(((0, 0), (0, 2)), ((2, 1),))
#: Both in the centre column: distance 0, variances 0 and 0.25.
STACKED = points(((1, 1),), ((1, 0), (1, 2)))


@pytest.mark.parametrize(
    ("predicate", "distance"), [("left_of", 1.0), ("right_of", -1.0), ("above", 0.0), ("below", 0.0), ("next_to", 1.0)]
)
def test_alignment_is_gelu_of_alpha_times_margin_minus_distance(predicate: str, distance: float) -> None:
    found = values(Alignment(), scene(2, (0, predicate, 1)), coarse=SPREAD)
    assert found == pytest.approx([gelu(0.75 * (0.25 - distance))], abs=1e-6)


def test_alignment_is_the_mean_over_layers_and_relations() -> None:
    found = values(Alignment(), scene(2, (0, "left_of", 1), (0, "above", 1)), coarse=SPREAD, mid=STACKED)
    left = (gelu(0.75 * (0.25 - 1)) + gelu(0.75 * 0.25)) / 2
    above = gelu(0.75 * 0.25)
    assert found == pytest.approx([(left + above) / 2], abs=1e-6)


def test_focus_weighs_what_is_farther_from_holding() -> None:
    both = scene(2, (0, "left_of", 1), (0, "above", 1))  # d = 1 and 0
    # Of what falls short, relu is the identity.
    found = values(Alignment(focus=4.0, activation="relu", alpha=1.0, margin=1.25), both, coarse=SPREAD)
    weights = [math.exp(4 * (0.25 - 1)), math.exp(4 * 0.25)]
    expected = (weights[0] * (0.25 - 1) + weights[1] * 0.25) / sum(weights)
    assert found == pytest.approx([1 + expected], abs=1e-6)


def test_only_what_is_stated_counts() -> None:
    """Cat left of dog, bus right of dog, here at x = 0, 0.5 and 0. That the cat is left of the bus follows; nobody asks it."""
    row = points(((0, 0),), ((1, 0),), ((0, 2),))
    chain = scene(3, (0, "left_of", 1), (2, "right_of", 1), (2, "below", 0))
    found = values(Alignment(activation="relu", alpha=1.0, margin=1.0), chain, coarse=row)
    assert found == pytest.approx([1 - (0.5 - 0.5 + 1) / 3])


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", lambda x: max(x, 0.0)),
        ("squared_relu", lambda x: max(x, 0.0) ** 2),
        ("leaky_relu", lambda x: x if x > 0 else 0.01 * x),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("softplus", lambda x: math.log(1 + math.exp(x))),
        ("gelu", gelu),
    ],
)
@pytest.mark.parametrize(("predicate", "distance"), [("left_of", 1.0), ("right_of", -1.0)])
def test_the_ablated_activations(activation, expected, predicate: str, distance: float) -> None:
    term = Alignment(alpha=2.0, margin=0.1, activation=activation)
    found = values(term, scene(2, (0, predicate, 1)), coarse=SPREAD)
    assert found == pytest.approx([expected(2.0 * (0.1 - distance))], abs=1e-5)


def test_presence_is_the_sum_of_variances() -> None:
    term = Presence()
    assert term.levels == ("coarse",)
    assert values(term, scene(2), coarse=SPREAD) == pytest.approx([0.25 + 0.0], abs=1e-6)
    three = points(((0, 0), (0, 2)), ((2, 1),), ((0, 0), (2, 0)))
    assert values(term, scene(3), coarse=three) == pytest.approx([0.5], abs=1e-6)


def test_balance_is_the_absolute_difference_of_variances() -> None:
    term = Balance()
    assert term.levels == ("mid",)
    two_layers = statistics({"mid": [SPREAD, STACKED]}, scene(2))
    assert term(two_layers, scene(2)).tolist() == pytest.approx([0.25], abs=1e-6)


def test_balance_of_more_objects_is_the_mean_over_pairs() -> None:
    three = points(((0, 0), (0, 2)), ((2, 1),), ((0, 0), (2, 0)))  # variances 0.25, 0, 0.25
    assert values(Balance(), scene(3), mid=three) == pytest.approx([(0.25 + 0 + 0.25) / 3], abs=1e-6)


def test_terms_without_anything_to_do_are_zero() -> None:
    single = points(((0, 0),))
    assert values(Alignment(), scene(1), coarse=single) == [0.0]
    assert values(Balance(), scene(1), mid=single) == [0.0]


@pytest.mark.parametrize("term", [Alignment(), Presence(levels=("coarse", "mid")), Balance(levels=("coarse", "mid"))])
def test_terms_are_per_image_and_differentiable(term: LossTerm) -> None:
    generator, asked = torch.Generator().manual_seed(0), scene(3, (0, "left_of", 1), (2, "above", 1))
    maps = torch.rand(4, 3, 5, 5, generator=generator).requires_grad_()
    found = term(statistics(maps, asked), asked)
    assert found.shape == (4,)
    (gradient,) = torch.autograd.grad(found[1], maps)
    assert gradient[1].abs().sum() > 0
    assert not gradient[[0, 2, 3]].any()


def test_descending_the_alignment_moves_the_subject_to_its_side() -> None:
    asked = scene(2, (0, "left_of", 1))
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=50.0)

    def seen() -> ObjectStatistics:
        return statistics({"coarse": logits.flatten(2).softmax(dim=-1).view(1, 2, 8, 8)}, asked)

    for _ in range(50):
        loss = Alignment()(seen(), asked).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    centroid = seen().centroid[0, 0].detach()
    assert centroid[1, 0] - centroid[0, 0] > 0.25
    assert abs(centroid[1, 1] - centroid[0, 1]) < 1e-3
