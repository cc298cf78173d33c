"""The three InfSplign terms against the paper's formulas on maps computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from spatialguide.observer import LayerMaps
from spatialguide.registry import Registry
from spatialguide.scene import Relation, Scene, SceneObject, Span
from spatialguide.statistics import ObjectStatistics, object_statistics
from spatialguide_plugins.alignment import Alignment
from spatialguide_plugins.balance import Balance
from spatialguide_plugins.presence import Presence

NAMES = ("cat", "dog", "bus")
PROMPT = "cat dog bus"


def scene(objects: int, *edges: tuple[int, str, int]) -> Scene:
    spans = [Span(4 * i, 4 * i + 3) for i in range(objects)]
    return Scene(
        prompt=PROMPT,
        objects=tuple(SceneObject(text=n, head=n, span=s, phrase=s) for n, s in zip(NAMES, spans, strict=False)),
        relations=tuple(Relation(subject=a, predicate=p, objects=(b,)) for a, p, b in edges),
    )


def points(*places: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """Maps on a 3x3 grid, coordinates 0, 0.5, 1: equal mass at the given (column, row) cells of each object."""
    maps = torch.zeros(1, len(places), 3, 3)
    for index, cells in enumerate(places):
        for column, row in cells:
            maps[0, index, row, column] = 1.0
    return maps


def statistics(coarse: torch.Tensor, mid: torch.Tensor | None = None) -> ObjectStatistics:
    layers = [LayerMaps("coarse", coarse)]
    return object_statistics(layers if mid is None else [*layers, LayerMaps("mid", mid)])


def gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


#: A on the left (x = 0, two cells: variance 0.25), B on the right (x = 1, one cell: variance 0).
SPREAD = points(((0, 0), (0, 2)), ((2, 1),))
#: Both in the centre column: distance 0, variances 0 and 0.25.
STACKED = points(((1, 1),), ((1, 0), (1, 2)))


@pytest.mark.parametrize(
    ("predicate", "distance"), [("left_of", 1.0), ("right_of", -1.0), ("above", 0.0), ("below", 0.0), ("next_to", 1.0)]
)
def test_alignment_is_gelu_of_alpha_times_margin_minus_distance(registry: Registry, predicate: str, distance: float) -> None:
    value = Alignment()(statistics(SPREAD), scene(2, (0, predicate, 1)), registry.relations())
    assert value.tolist() == pytest.approx([gelu(0.75 * (0.25 - distance))], abs=1e-6)


def test_alignment_is_the_mean_over_layers_and_relations(registry: Registry) -> None:
    both = statistics(SPREAD, STACKED)
    value = Alignment()(both, scene(2, (0, "left_of", 1), (0, "above", 1)), registry.relations())
    left = (gelu(0.75 * (0.25 - 1)) + gelu(0.75 * 0.25)) / 2
    above = gelu(0.75 * 0.25)
    assert value.tolist() == pytest.approx([(left + above) / 2], abs=1e-6)


def test_focus_weighs_what_is_farther_from_holding(registry: Registry) -> None:
    both = scene(2, (0, "left_of", 1), (0, "above", 1))  # d = 1 and 0
    value = Alignment(focus=4.0, activation="identity", alpha=1.0)(statistics(SPREAD), both, registry.relations())
    weights = [math.exp(4 * (0.25 - 1)), math.exp(4 * 0.25)]
    expected = (weights[0] * (0.25 - 1) + weights[1] * 0.25) / sum(weights)
    assert value.tolist() == pytest.approx([expected], abs=1e-6)


def test_closure_asks_for_what_directions_imply(registry: Registry) -> None:
    """Cat left of dog, bus right of dog: the cat is left of the bus, here at x = 0, 0.5 and 0."""
    row = statistics(points(((0, 0),), ((1, 0),), ((0, 2),)))
    chain = scene(3, (0, "left_of", 1), (2, "right_of", 1), (2, "below", 0))
    options = {"activation": "identity", "alpha": 1.0, "margin": 0.0}
    stated = Alignment(**options)(row, chain, registry.relations())
    assert stated.item() == pytest.approx(-(0.5 - 0.5 + 1) / 3)
    implied = Alignment(**options, closure=True)(row, chain, registry.relations())
    assert implied.item() == pytest.approx(-(0.5 - 0.5 + 1 + 0) / 4)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", lambda x: max(x, 0.0)),
        ("squared_relu", lambda x: max(x, 0.0) ** 2),
        ("leaky_relu", lambda x: x if x > 0 else 0.01 * x),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("softplus", lambda x: math.log(1 + math.exp(x))),
        ("silu", lambda x: x / (1 + math.exp(-x))),
        ("elu", lambda x: x if x > 0 else math.exp(x) - 1),
        ("identity", lambda x: x),
        ("gelu", gelu),
    ],
)
@pytest.mark.parametrize(("predicate", "distance"), [("left_of", 1.0), ("right_of", -1.0)])
def test_the_ablated_activations(registry: Registry, activation, expected, predicate: str, distance: float) -> None:
    term = Alignment(alpha=2.0, margin=0.1, activation=activation)
    value = term(statistics(SPREAD), scene(2, (0, predicate, 1)), registry.relations())
    assert value.tolist() == pytest.approx([expected(2.0 * (0.1 - distance))], abs=1e-5)


def test_presence_is_the_sum_of_variances(registry: Registry) -> None:
    term = Presence()
    assert term.levels == ("coarse",)
    assert term(statistics(SPREAD), scene(2), registry.relations()).tolist() == pytest.approx([0.25 + 0.0], abs=1e-6)
    three = points(((0, 0), (0, 2)), ((2, 1),), ((0, 0), (2, 0)))
    assert term(statistics(three), scene(3), registry.relations()).tolist() == pytest.approx([0.5], abs=1e-6)


def test_balance_is_the_absolute_difference_of_variances(registry: Registry) -> None:
    term = Balance()
    assert term.levels == ("mid",)
    mid_only = object_statistics([LayerMaps("mid", SPREAD), LayerMaps("mid", STACKED)])
    assert term(mid_only, scene(2), registry.relations()).tolist() == pytest.approx([0.25], abs=1e-6)


def test_balance_of_more_objects_is_the_mean_over_pairs(registry: Registry) -> None:
    three = points(((0, 0), (0, 2)), ((2, 1),), ((0, 0), (2, 0)))  # variances 0.25, 0, 0.25
    layers = object_statistics([LayerMaps("mid", three)])
    assert Balance()(layers, scene(3), registry.relations()).tolist() == pytest.approx([(0.25 + 0 + 0.25) / 3], abs=1e-6)


def test_terms_without_anything_to_do_are_zero(registry: Registry) -> None:
    single = points(((0, 0),))
    assert Alignment()(statistics(single), scene(1), registry.relations()).tolist() == [0.0]
    one = object_statistics([LayerMaps("mid", single)])
    assert Balance()(one, scene(1), registry.relations()).tolist() == [0.0]


@pytest.mark.parametrize("term", [Alignment(), Presence(levels=("coarse", "mid")), Balance(levels=("coarse", "mid"))])
def test_terms_are_per_image_and_differentiable(registry: Registry, term) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(4, 3, 5, 5, generator=generator).requires_grad_()
    values = term(statistics(maps, maps), scene(3, (0, "left_of", 1), (2, "above", 1)), registry.relations())
    assert values.shape == (4,)
    (gradient,) = torch.autograd.grad(values[1], maps)
    assert gradient[1].abs().sum() > 0
    assert not gradient[[0, 2, 3]].any()


def test_descending_the_alignment_moves_the_subject_to_its_side(registry: Registry) -> None:
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=50.0)
    for _ in range(50):
        maps = logits.flatten(2).softmax(dim=-1).view(1, 2, 8, 8)
        loss = Alignment()(statistics(maps), scene(2, (0, "left_of", 1)), registry.relations()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    centroid = statistics(logits.detach().flatten(2).softmax(dim=-1).view(1, 2, 8, 8)).centroid[0, 0]
    assert centroid[1, 0] - centroid[0, 0] > 0.25
    assert abs(centroid[1, 1] - centroid[0, 1]) < 1e-3
