"""Boxes from scenes: every direction holds between their centres, and nothing overlaps that need not."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatialguide.errors import ConfigError, SpatialGuideError
from spatialguide.registry import default_registry
from spatialguide.scenes.conflicts import conflicts
from spatialguide.scenes.layout import Box, grid
from spatialguide.scenes.planned import PlannedScene, plan
from spatialguide.scenes.scene import Relation, Scene, SceneObject, Span
from spatialguide.terms.boxes import BoxTerm
from spatialguide.testing import planned

NAMES = "abcdefgh"
PROMPT = " ".join(NAMES)
THIRDS = ("left", "", "right"), ("top", "", "bottom")


def scene_of(objects: int, *edges: tuple[int, str, tuple[int, ...]]) -> PlannedScene:
    spans = [Span(2 * i, 2 * i + 1) for i in range(objects)]
    scene = Scene(
        prompt=PROMPT,
        objects=tuple(SceneObject(text=n, head=n, span=s, phrase=s) for n, s in zip(NAMES, spans, strict=False)),
        relations=tuple(Relation(subject=a, predicate=p, objects=b) for a, p, b in edges),
    )
    return plan(scene, default_registry().relations())


def centre(box: Box) -> np.ndarray:
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])


def distances(scene: PlannedScene) -> list[float]:
    """By the plugins themselves, between the boxes' centres."""
    middles, relations = [centre(box) for box in scene.boxes], default_registry().relations()
    return [
        float(relations[e.predicate].distance(middles[e.subject], *(middles[g] for g in e.objects)))
        for e in scene.scene.relations
    ]


def overlapping(one: Box, other: Box) -> bool:
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])


@st.composite
def feasible_scenes(draw: st.DrawFn) -> PlannedScene:
    """Relations that are true of hidden places of the objects, so that they can hold together."""
    count = draw(st.integers(1, 6))
    places = list(zip(*(draw(st.permutations(range(count))) for _ in range(2)), strict=True))
    edges: list[tuple[int, str, tuple[int, ...]]] = []
    for a, b in draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=7)):
        if a != b:
            across = "left_of" if places[a][0] < places[b][0] else "right_of"
            down = draw(st.sampled_from(("above", "on"))) if places[a][1] < places[b][1] else "below"
            edges.append((a, draw(st.sampled_from((across, down))), (b,)))
    for a in draw(st.lists(st.integers(0, count - 1), max_size=2, unique=True)):
        x, y = (THIRDS[axis][3 * places[a][axis] // count] for axis in (0, 1))
        edges.append((a, f"in_region:{'_'.join(part for part in (y, x) if part) or 'center'}", ()))
    return scene_of(count, *edges)


@given(feasible_scenes())
def test_every_relation_of_a_feasible_scene_holds(scene: PlannedScene) -> None:
    found, described = scene.boxes, scene.scene.describe()
    assert len(found) == len(scene.scene.objects)
    assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in found)
    assert all(distance > 1e-6 for distance in distances(scene)), (described, found)
    assert not any(overlapping(one, other) for one, other in combinations(found, 2)), (described, found)


def test_two_objects_side_by_side() -> None:
    left, right = scene_of(2, (0, "left_of", (1,))).boxes
    assert left == pytest.approx((0.05, 0.3, 0.45, 0.7))
    assert right == pytest.approx((0.55, 0.3, 0.95, 0.7))


def test_scenes_without_relations_share_the_picture() -> None:
    assert scene_of(0).boxes == ()
    assert scene_of(1).boxes[0] == pytest.approx((0.1, 0.1, 0.9, 0.9))
    found = scene_of(4).boxes
    assert not any(overlapping(one, other) for one, other in combinations(found, 2))


def test_free_objects_take_empty_cells_first() -> None:
    scene = scene_of(4, (0, "left_of", (1,)), (0, "above", (1,)))
    found = scene.boxes
    assert sorted((round(float(x), 2), round(float(y), 2)) for x, y in map(centre, found)) == [
        (0.25, 0.25),
        (0.25, 0.75),
        (0.75, 0.25),
        (0.75, 0.75),
    ]


@pytest.mark.parametrize(
    "edges",
    [
        [(0, "behind", (1,))],
        [(0, "in_front_of", (1,)), (2, "left_of", (1,))],
        [(0, "inside", (1,))],
        [(0, "surrounding", (1,)), (1, "left_of", (2,))],
        [(0, "next_to", (1,))],
        [(0, "between", (1, 2))],
        [(0, "in_region:center", ()), (1, "left_of", (0,)), (2, "in_region:bottom_right", ())],
    ],
)
def test_relations_without_a_direction_hold_where_they_can(edges: list[tuple[int, str, tuple[int, ...]]]) -> None:
    scene = scene_of(3, *edges)
    assert all(distance > 0 for distance in distances(scene))


def test_relations_beside_a_grids_knowledge_are_searched_for() -> None:
    """ "behind" wants the two to meet across, and "left of" one before the other: both hold a fifth of the picture apart."""
    scene = scene_of(2, (0, "behind", (1,)), (0, "left_of", (1,)))
    assert all(distance > 0 for distance in distances(scene))
    assert conflicts(scene) == ()


def test_what_cannot_hold_together_is_found_and_nothing_else() -> None:
    edges = [(0, "behind", (1,)), (2, "left_of", (0,)), (0, "in_front_of", (1,)), (2, "above", (1,))]
    scene = scene_of(3, *edges)
    (found,) = conflicts(scene)
    assert [scene.scene.sentence(scene.scene.relations[number]) for number in found] == ["a behind b", "a in_front_of b"]
    assert conflicts(scene_of(3, *edges[1:])) == ()


def test_one_object_on_both_sides_is_no_conflict() -> None:
    assert conflicts(scene_of(2, (0, "between", (1, 1)))) == ()


def test_columns_of_the_first_third_stay_in_it() -> None:
    scene = scene_of(4, (0, "left_of", (1,)), (1, "left_of", (2,)), (2, "in_region:left", ()), (3, "in_region:right", ()))
    found = grid(scene.relations, len(scene.counts))
    assert found.columns == 5
    assert found.x_edges == pytest.approx((0, 1 / 9, 2 / 9, 1 / 3, 2 / 3, 1))
    assert found.y_edges == (0, 1)


def test_between_two_of_a_kind_is_amid_them() -> None:
    """One object stands for both trees: it has one box, around that of the cat."""
    scene = scene_of(3, (0, "between", (1, 1)), (2, "left_of", (0,)))
    cat, trees, dog = scene.boxes
    assert centre(cat) == pytest.approx(centre(trees))
    assert trees[0] < cat[0] < cat[2] < trees[2]
    assert dog[2] < trees[0]
    assert scene.together == {(0, 1)}
    assert scene.reach == pytest.approx([0, 0.5], abs=1e-4)


class Boxed(BoxTerm):
    def __call__(self, statistics, scene):
        return statistics.mass.sum(dim=(1, 2)) * 0


def test_given_boxes_are_taken_as_they_are() -> None:
    term = Boxed(boxes=[[0, 0, 0.5, 1], [0.5, 0, 1, 1]])
    assert term.boxes_of(scene_of(2)) == ((0, 0, 0.5, 1), (0.5, 0, 1, 1))


def test_another_number_of_boxes_is_a_named_error() -> None:
    term = Boxed(boxes=((0, 0, 0.5, 1),))
    message = "boxes: 1 given for a scene of 3 objects; give one for each, in the order of `spatialguide parse`"
    with pytest.raises(ConfigError, match=message) as error:
        term.boxes_of(scene_of(3))
    assert isinstance(error.value, SpatialGuideError)


def test_a_triple_scene_works_as_well() -> None:
    cat, dog = planned("a cat, a dog", [("cat", "above", "dog")]).boxes
    assert cat[3] < dog[1]


def test_the_layout_needs_neither_rich_nor_torch() -> None:
    code = "import sys, spatialguide.scenes.layout; sys.exit(any(name in sys.modules for name in ('rich', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
