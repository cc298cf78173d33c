"""Prompts in twos: that they are, and SpatialBench-UC's rule on boxes placed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spatialguide.contracts import Detection
from spatialguide.errors import EvaluationError
from spatialguide.scenes.scene import Scene
from spatialguide_plugins.benchmarks.counterfactual import SpatialBench, Swapped, verdict

SIZE = (100, 100)


def box(label: str, x: float, y: float = 50, score: float = 0.9, half: float = 8) -> Detection:
    return Detection(label, score, (x - half, y - half, x + half, y + half))


def line(number: int, relation: str, first: str, second: str, twin: int) -> dict[str, Any]:
    return {
        "prompt_id": f"v1_{number}",
        "relation": relation,
        "object_a": {"name": first, "coco_label": first},
        "object_b": {"name": second, "coco_label": second},
        "prompt": f"A photo of a {first} {relation} a {second}.",
        "counterfactual": {"prompt_id": f"v1_{twin}", "relation": "x", "prompt": "y"},
    }


def write(path: Path, lines: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return str(path)


def test_swapped_prompts_come_in_twos_of_contraries() -> None:
    cases = Swapped().cases(("cat", "dog", "bus"), 9, seed=0)
    assert Swapped.twins
    assert len(cases) == 8
    assert len({case.prompt for case in cases}) == 8
    for one, other in zip(cases[::2], cases[1::2], strict=True):
        for relation in (" to the left of ", " to the right of ", " above ", " below "):
            if relation in one.prompt:
                assert other.prompt == relation.join(reversed(one.prompt.split(relation)))
    assert Swapped().cases(("cat", "dog", "bus"), 9, seed=0) == cases
    (one, other) = Swapped(pairs=[["cat", "pizza"]]).cases(None, 2, seed=0)
    assert "pizza" in one.prompt
    assert "pizza" in other.prompt


def test_spatialbench_puts_twins_side_by_side(tmp_path: Path) -> None:
    lines = [
        line(0, "left_of", "cake", "bed", twin=2),
        line(1, "above", "cat", "dog", twin=3),
        line(2, "right_of", "bed", "cake", twin=0),
        line(3, "below", "dog", "cat", twin=1),
    ]
    benchmark = SpatialBench(write(tmp_path / "prompts.jsonl", lines))
    assert benchmark.twins
    cases = benchmark.cases(None, 5, seed=0)
    assert [case.labels for case in cases] == [("cake", "bed"), ("bed", "cake"), ("cat", "dog"), ("dog", "cat")]
    assert len(benchmark.cases(None, 3, seed=0)) == 2
    scene = Scene(prompt="x")
    assert benchmark.score(cases[0], scene, [box("cake", 20), box("bed", 60)], SIZE, {}) == (True, 1.0)
    assert benchmark.score(cases[1], scene, [box("cake", 60), box("bed", 20)], SIZE, {}) == (True, 0.0)
    assert benchmark.score(cases[0], scene, [box("cake", 20)], SIZE, {}) == (False, 0.0)


@pytest.mark.parametrize(
    ("relation", "found", "expected"),
    [
        ("left_of", [box("cat", 20), box("dog", 60)], True),
        ("left_of", [box("cat", 60), box("dog", 20)], False),
        ("above", [box("cat", 50, 20), box("dog", 50, 60)], True),
        ("below", [box("cat", 50, 20), box("dog", 50, 60)], False),
        # It abstains: none there, none sure or large enough, level to a twentieth, two as sure, one on the other.
        ("left_of", [box("cat", 20)], None),
        ("left_of", [box("cat", 20), box("dog", 60, score=0.29)], None),
        ("left_of", [box("cat", 20), box("dog", 60, half=3)], None),
        ("left_of", [box("cat", 20), box("dog", 25)], None),
        ("left_of", [box("cat", 20), box("cat", 80, score=0.85), box("dog", 60)], None),
        ("left_of", [box("cat", 50, half=25), box("dog", 56, half=25)], None),
        # A second box that is less sure by a tenth is no second object; sides alone mind overlap.
        ("left_of", [box("cat", 20), box("cat", 80, score=0.75), box("dog", 60)], True),
        ("above", [box("cat", 50, 50, half=25), box("dog", 50, 56, half=25)], True),
    ],
)
def test_spatialbenchs_rule(relation: str, found: list[Detection], expected: bool | None) -> None:
    assert verdict(relation, ("cat", "dog"), found, SIZE) is expected


@pytest.mark.parametrize(
    "lines",
    [
        [{"prompt": "x"}],
        [line(0, "left_of", "cake", "bed", twin=7)],
        [line(0, "beside", "cake", "bed", twin=0)],
        [{**line(0, "left_of", "cake", "bed", twin=0), "counterfactual": None}],
    ],
)
def test_a_file_that_is_not_spatialbenchs_is_named(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    with pytest.raises(EvaluationError, match="is not SpatialBench-UC's"):
        SpatialBench(write(tmp_path / "x.jsonl", lines))
