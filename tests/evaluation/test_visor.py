from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatialguide.contracts import Case, Detection
from spatialguide.errors import EvaluationError
from spatialguide.evaluation.prompts import RELATION_PHRASES, sample_prompts, sr2d, sr2d_prompts
from spatialguide.evaluation.visor import (
    VisorScores,
    aggregate,
    compare_detections,
    read_detections,
    relation_verdicts,
    score_detections,
)
from spatialguide.registry import Registry
from spatialguide.scenes.records import scene_from_triples
from spatialguide_plugins.benchmarks.spatial import Visor

CASE = Case("a cat to the left of a dog", ())
SCENE = scene_from_triples("a cat to the left of a dog", [("cat", "left_of", "dog")])


def box(label: str, x: float, y: float = 10) -> Detection:
    return Detection(label, 0.9, (x - 4, y - 4, x + 4, y + 4))


@pytest.mark.parametrize(
    ("detections", "detected", "correct"),
    [
        ([box("cat", 10), box("dog", 40)], True, True),
        ([box("cat", 40), box("dog", 10)], True, False),
        ([box("cat", 10)], False, False),
        ([], False, False),
        ([box("cat", 40), box("dog", 10), box("dog", 50)], True, True),
        ([box("cat", 10), box("dog", 10)], True, False),
    ],
)
def test_an_image_is_right_when_some_pair_of_boxes_is(
    registry: Registry, detections: list[Detection], detected: bool, correct: bool
) -> None:
    rule = Visor()
    assert rule.score(CASE, SCENE, detections, (64, 64), registry.relations()) == (detected, float(correct))
    assert rule.labels(CASE, SCENE) == ("cat", "dog")


def scored(rows: list[tuple[int, int, int]], most: int = 4) -> VisorScores:
    """rows: number of the prompt, whether the objects were found, whether the relation holds."""
    prompts, detected, correct = np.array(rows).T
    return aggregate(prompts, detected.astype(float), correct.astype(float), most)


def test_scores_of_a_hand_made_run() -> None:
    # Prompt 0: right, right, wrong, missing. Prompt 1: right, missing, missing, missing.
    rows = [(0, 1, 1), (0, 1, 1), (0, 1, 0), (0, 0, 0), (1, 1, 1), (1, 0, 0), (1, 0, 0), (1, 0, 0)]
    scores = scored(rows)
    assert (scores.oa, scores.uncond, scores.cond) == (50.0, 37.5, 75.0)
    assert scores.at_least == (100.0, 50.0, 0.0, 0.0)


def test_cond_is_nan_without_detections() -> None:
    assert math.isnan(scored([(0, 0, 0)]).cond)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_figures_are_consistent(rows: list[tuple[int, bool, bool]]) -> None:
    scores = scored([(p, d, d and c) for p, d, c in rows], 60)
    assert 0 <= scores.uncond <= scores.oa + 1e-9
    assert scores.oa <= 100
    assert list(scores.at_least) == sorted(scores.at_least, reverse=True)
    if scores.oa:
        assert scores.cond == pytest.approx(100 * scores.uncond / scores.oa)


def test_prompts_are_numbered_as_sr2d_numbers_them() -> None:
    prompts = sr2d_prompts(["cat", "umbrella", "bus"])
    assert prompts[:4] == [
        "a cat to the left of an umbrella",
        "an umbrella to the left of a cat",
        "a cat to the right of an umbrella",
        "an umbrella to the right of a cat",
    ]
    assert prompts[8] == "a cat to the left of a bus"
    assert len(prompts) == 3 * 8
    assert len(sr2d_prompts([str(i) for i in range(80)])) == 25280


def test_a_sample_is_even_over_relations_and_reproducible() -> None:
    names = ["cat", "dog", "bus", "car", "cow"]
    prompts = sample_prompts(names, 20, seed=1)
    assert prompts == sample_prompts(names, 20, seed=1)
    assert prompts != sample_prompts(names, 20, seed=2)
    assert len(set(prompts)) == 20
    for phrase in RELATION_PHRASES:
        assert sum(f" {phrase} " in prompt for prompt in prompts) == 5
    assert len(sample_prompts(names, 10**6, seed=0)) == 80


def test_verdicts_read_well(registry: Registry) -> None:
    relations = registry.relations()
    assert relation_verdicts(SCENE, [box("cat", 10), box("dog", 40)], relations, (64, 64)) == "cat left_of dog: yes"
    assert relation_verdicts(SCENE, [box("cat", 50), box("dog", 40)], relations, (64, 64)) == "cat left_of dog: no"
    assert relation_verdicts(SCENE, [box("cat", 10)], relations, (64, 64)) == "no dog detected"
    alone = SCENE.model_copy(update={"relations": ()})
    assert relation_verdicts(alone, [box("cat", 10), box("dog", 40)], relations, (64, 64)) == "all objects detected"


# Files of detection results

PROMPTS = sr2d(["cat", "dog"])


def row(number: int, classes: list[str], sra: int) -> dict[str, Any]:
    return {"classes": classes, "centroid": [], "recall": len(classes), "sra": sra, "text": PROMPTS[number].text}


def test_sr2d_numbers_every_prompt() -> None:
    assert [(p.text, p.is_spatial) for p in PROMPTS[6:]] == [
        ("a cat below a dog", True),
        ("a dog below a cat", True),
        ("a cat and a dog", False),
        ("a dog and a cat", False),
        ("a cat", False),
        ("a dog", False),
    ]
    assert len(sr2d([str(i) for i in range(80)])) == 31680


def test_a_file_of_detections_worked_out_by_hand() -> None:
    both = ["cat", "dog", "bus"]
    results = {
        # Prompt 0: right, right, wrong, one object. Prompt 3: right only.
        "0_0": row(0, both, 1),
        "0_1": row(0, both, 1),
        "0_2": row(0, both, 0),
        "0_3": row(0, ["cat"], 1),
        "3_0": row(3, both, 1),
        # Not counted.
        "8_0": row(8, both, 1),
        "10_0": row(10, ["cat"], 1),
    }
    scores = score_detections(results, PROMPTS)
    assert (scores.oa, scores.cond, scores.uncond) == pytest.approx((80, 75, 60))
    assert scores.at_least == (100, 50, 0, 0)
    assert scores.images == 5
    assert len(scores.intervals) == 7


def test_two_files_are_compared_over_the_prompts_that_they_share() -> None:
    worse = {f"{n}_{i}": row(n, ["cat", "dog"], 0) for n in range(8) for i in range(4)}
    better = {key: {**value, "sra": 1} for key, value in worse.items()}
    del better["7_0"], better["7_1"], better["7_2"], better["7_3"]
    comparison = compare_detections(worse, better, PROMPTS)
    assert comparison.difference == 100
    assert comparison.p_value < 0.05
    with pytest.raises(EvaluationError, match="share no prompt"):
        compare_detections({"7_0": worse["7_0"]}, better, PROMPTS)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({}, "no row of a prompt with two objects"),
        ({"10_0": row(10, ["cat"], 1)}, "no row of a prompt with two objects"),
        ({"cat": row(0, [], 0)}, "row 'cat' is not of the form"),
        ({"0_0": {"classes": []}}, "row '0_0' is not of the form"),
        ({"0_0": {"classes": None, "sra": "x"}}, "row '0_0' is not of the form"),
        ({"0_0": {"classes": 3, "sra": 1}}, "row '0_0' is not of the form"),
        (
            {"12_0": row(0, [], 0)},
            "there is no prompt 12; the 12 prompts are numbered from 0: give detections of these prompts",
        ),
        ({"-1_0": row(0, [], 0)}, "there is no prompt -1"),
    ],
)
def test_files_of_another_form(results: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        score_detections(results, PROMPTS)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"cannot read detections .*; give a file of JSON"):
        read_detections(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    with pytest.raises(EvaluationError, match="holds a list"):
        read_detections(tmp_path / "list.json")
