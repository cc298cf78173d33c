from __future__ import annotations

import numpy as np
import pytest
import torch

from spatialguide import SpatialGuide
from spatialguide.registry import Registry
from spatialguide_plugins.relations.directions import RELATIONS

CENTRE = np.array([0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("left_of", (0.2, 0.5)),
        ("right_of", (0.8, 0.5)),
        ("above", (0.5, 0.2)),
        ("below", (0.5, 0.8)),
        ("on", (0.5, 0.2)),
    ],
)
def test_directions(registry: Registry, name: str, place: tuple[float, float]) -> None:
    relation = registry.relations()[name]
    subject = np.array(place)
    assert relation.distance(subject, CENTRE) == pytest.approx(0.3)
    assert relation.distance(CENTRE, subject) == pytest.approx(-0.3)
    dx, dy = relation.direction
    assert (subject - CENTRE) @ np.array([dx, dy]) > 0


def test_next_to_is_horizontal_distance(registry: Registry) -> None:
    beside = registry.relations()["next_to"]
    assert beside.distance(np.array([0.2, 0.9]), CENTRE) == pytest.approx(0.3)
    assert beside.distance(CENTRE, np.array([0.2, 0.9])) == pytest.approx(0.3)


def test_converses_are_registered_and_mutual(registry: Registry) -> None:
    relations = registry.relations()
    for relation in RELATIONS:
        if relation.converse is not None:
            assert relations[relation.converse].converse == relation.name


def test_no_phrase_means_two_things(registry: Registry) -> None:
    phrases = [(phrase, not relation.grounds) for relation in registry.relations().values() for phrase in relation.phrases]
    assert len(phrases) == len(set(phrases))


def test_the_conventional_names_are_all_there(registry: Registry) -> None:
    wanted = [
        "left_of",
        "right_of",
        "above",
        "below",
        "next_to",
        "on",
        "in_front_of",
        "behind",
        "inside",
        "surrounding",
        "between",
    ]
    regions = ["left", "right", "top", "bottom", "center", "top_left", "top_right", "bottom_left", "bottom_right"]
    relations = registry.relations()
    assert set(wanted) | {f"in_region:{region}" for region in regions} <= set(relations)
    assert relations["between"].grounds == 2


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("in_region:left", (0.2, 0.9), (0.7, 0.9)),
        ("in_region:right", (0.8, 0.1), (0.3, 0.1)),
        ("in_region:top", (0.9, 0.2), (0.9, 0.6)),
        ("in_region:bottom", (0.1, 0.8), (0.1, 0.4)),
        ("in_region:center", (0.6, 0.4), (0.8, 0.5)),
        ("in_region:top_left", (0.2, 0.3), (0.2, 0.7)),
        ("in_region:top_right", (0.8, 0.3), (0.2, 0.3)),
        ("in_region:bottom_left", (0.2, 0.7), (0.8, 0.7)),
        ("in_region:bottom_right", (0.8, 0.7), (0.8, 0.3)),
    ],
)
def test_regions(registry: Registry, name: str, inside: tuple[float, float], outside: tuple[float, float]) -> None:
    region = registry.relations()[name]
    assert region.distance(np.array(inside)) > 0 > region.distance(np.array(outside))


def test_between_is_best_in_the_middle(registry: Registry) -> None:
    between = registry.relations()["between"]
    left, right = np.array([0.2, 0.5]), np.array([0.8, 0.5])
    assert between.distance(CENTRE, left, right) == pytest.approx(0.3, abs=1e-4)
    assert between.distance(np.array([0.5, 0.7]), left, right) == pytest.approx(0.1, abs=1e-4)
    assert between.distance(np.array([0.9, 0.5]), left, right) < 0
    assert between.distance(np.array([0.5, 0.9]), left, right) < 0
    assert between.distance(CENTRE, right, left) == pytest.approx(between.distance(CENTRE, left, right))


def test_between_two_of_a_kind_is_the_centroid_of_both(registry: Registry) -> None:
    between = registry.relations()["between"]
    assert between.distance(CENTRE, CENTRE, CENTRE) == pytest.approx(0, abs=1e-4)
    assert between.distance(np.array([0.8, 0.5]), CENTRE, CENTRE) == pytest.approx(-0.3, abs=1e-4)


def test_depth_asks_for_overlap_and_puts_the_nearer_thing_lower(registry: Registry) -> None:
    front, behind = registry.relations()["in_front_of"], registry.relations()["behind"]
    lower, aside = np.array([0.5, 0.7]), np.array([0.9, 0.7])
    assert front.distance(lower, CENTRE) == pytest.approx(0.2)
    assert behind.distance(lower, CENTRE) == pytest.approx(-0.2)
    assert behind.distance(CENTRE, lower) == pytest.approx(0.2)
    assert front.distance(aside, CENTRE) < 0


@pytest.mark.parametrize("name", ["inside", "surrounding", "surrounded_by"])
def test_containment_asks_for_one_centre(registry: Registry, name: str) -> None:
    relation = registry.relations()[name]
    assert relation.distance(CENTRE, CENTRE) == pytest.approx(0.25, abs=1e-4)
    assert relation.distance(np.array([0.9, 0.5]), CENTRE) < 0


def test_distances_have_finite_gradients_everywhere(registry: Registry) -> None:
    same = torch.full((3, 2), 0.5, requires_grad=True)
    for relation in registry.relations().values():
        points = [same.clone() for _ in range(1 + relation.grounds)]
        distance = relation.distance(*points)
        assert distance.shape == (3,)
        (gradient,) = torch.autograd.grad(distance.sum(), same, retain_graph=True, allow_unused=True)
        assert gradient is None or gradient.isfinite().all(), relation.name


def test_the_foreground_is_lower_than_the_background(registry: Registry) -> None:
    near, far = (registry.relations()[f"in_region:{name}"] for name in ("foreground", "background"))
    low, high = np.array([0.5, 0.8]), np.array([0.5, 0.2])
    assert [near.distance(low), far.distance(high), near.distance(high)] == pytest.approx([0.3, 0.3, -0.3])
    planned = SpatialGuide().plan("a cat in the foreground and a car in the background")
    assert planned.boxes[0][1] > planned.boxes[1][1]
