from __future__ import annotations

import numpy as np
import pytest

from spatialguide.registry import Registry
from spatialguide_plugins.relations import RELATIONS

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


def test_no_phrase_means_two_things() -> None:
    phrases = [phrase for relation in RELATIONS for phrase in relation.phrases]
    assert len(phrases) == len(set(phrases))
