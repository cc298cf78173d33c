"""The publications' rules, on boxes whose scores were worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from spatialguide.contracts import Detection
from spatialguide.errors import EvaluationError
from spatialguide_plugins.benchmarks import compbench, geneval

SIZE = (512, 512)


def box(label: str, x: float, y: float, score: float = 0.8, half: float = 20) -> Detection:
    return Detection(label, score, (x - half, y - half, x + half, y + half))


@pytest.mark.parametrize(
    ("prompt", "phrase"),
    [
        ("a mouse on side of a key", "on side of"),
        ("a girl on the top of a frog", "on the top of"),
        ("a cup on top of a box", "on top of"),
        ("a cup behind a box", None),
    ],
)
def test_compbench_phrases(prompt: str, phrase: str | None) -> None:
    assert compbench.phrase_of(prompt) == phrase


@pytest.mark.parametrize(
    ("phrase", "subject", "ground", "score"),
    [
        ("on the left of", (100, 100), (300, 100), 1.0),
        ("on the left of", (300, 100), (100, 100), 0.0),
        ("on the right of", (300, 100), (100, 100), 1.0),
        ("on the left of", (100, 100), (200, 250), 0.0),  # farther apart in y than in x
        ("on the left of", (100, 100), (200, 200), 0.0),  # not farther apart in x than in y
        ("on the top of", (100, 100), (100, 300), 1.0),
        ("on the bottom of", (100, 300), (100, 100), 1.0),
        ("on the bottom of", (100, 100), (100, 300), 0.0),
        ("near", (100, 100), (240, 400), 1.0),  # near on one axis
        ("next to", (100, 100), (300, 400), 0.5),  # 150 / 300
        ("on top of", (100, 100), (100, 300), 0.0),
        (None, (100, 100), (300, 100), 0.0),
    ],
)
def test_compbench_positions(phrase: str | None, subject: Any, ground: Any, score: float) -> None:
    assert compbench.position_score(phrase, box("a", *subject), box("b", *ground), reach=150) == pytest.approx(score)


def test_compbench_overlap_lowers_the_score() -> None:
    # Two 40x40 boxes 20 apart: IoU = 20*40 / (2*1600 - 800) = 1/3.
    score = compbench.position_score("on the left of", box("a", 100, 100), box("b", 120, 100), reach=150)
    assert score == pytest.approx(0.1 * 3)


def test_compbench_images() -> None:
    girl, frog = box("person", 100, 100, 0.8), box("frog", 100, 300, 0.6)
    score = compbench.spatial_score("on the top of", "girl", "frog", [girl, frog], SIZE)
    assert score == pytest.approx(0.25 * 0.8 + 0.25 * 0.6 + 0.5)
    assert compbench.spatial_score("on the bottom of", "girl", "frog", [girl, frog], SIZE) == 0
    assert compbench.spatial_score("on the top of", "girl", "frog", [girl], SIZE) == 0
    worse = box("frog", 100, 20, 0.3)
    assert compbench.spatial_score("on the top of", "girl", "frog", [girl, frog, worse], SIZE) == pytest.approx(score)


def test_compbench_distances_scale_with_the_image() -> None:
    far = [box("a", 10, 10, half=2), box("b", 40, 40, half=2)]
    assert compbench.spatial_score("near", "a", "b", far, (64, 64)) == pytest.approx(0.4 + 0.5 * (150 / 8) / 30)
    assert compbench.spatial_score("near", "a", "b", far, SIZE) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("first", "second", "relations"),
    [
        ((100, 100), (300, 100), {"left of"}),
        ((300, 100), (100, 100), {"right of"}),
        ((100, 100), (100, 300), {"above"}),
        ((100, 300), (100, 100), {"below"}),
        ((100, 100), (300, 300), {"left of", "above"}),
        ((100, 100), (107, 100), set()),  # within a tenth of both widths
        ((100, 100), (110, 100), set()),  # 2 of 10 pixels left
        ((100, 100), (120, 100), {"left of"}),  # 12 of 20 pixels left
    ],
)
def test_geneval_positions(first: Any, second: Any, relations: set[str]) -> None:
    assert geneval.relative_position(box("a", *first), box("b", *second)) == relations


DOG_RIGHT_OF_BED = {
    "tag": "position",
    "include": [{"class": "bed", "count": 1}, {"class": "dog", "count": 1, "position": ["right of", 0]}],
    "prompt": "a photo of a dog right of a bed",
}


@pytest.mark.parametrize(
    ("detections", "right"),
    [
        ([box("bed", 100, 100), box("dog", 300, 100)], True),
        ([box("bed", 300, 100), box("dog", 100, 100)], False),
        ([box("dog", 300, 100)], False),
        ([box("bed", 100, 100, 0.2), box("dog", 300, 100)], False),
        # Only the best box of each counts.
        ([box("bed", 100, 100), box("dog", 20, 100, 0.9), box("dog", 300, 100, 0.5)], False),
    ],
)
def test_geneval_images(detections: list[Detection], right: bool) -> None:
    assert geneval.is_correct(DOG_RIGHT_OF_BED, detections) is right


def test_geneval_counts() -> None:
    two = {"tag": "counting", "include": [{"class": "cup", "count": 2}], "exclude": [{"class": "cup", "count": 3}]}
    cups = [box("cup", x, 10, 0.95) for x in (10, 60, 110)]
    assert geneval.is_correct(two, cups[:2])
    assert not geneval.is_correct(two, cups)
    assert not geneval.is_correct(two, [cups[0], box("cup", 60, 10, 0.85)])


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"include": [{"class": "cup", "count": 1, "color": "red"}]}, "colours are not supported"),
        ({"include": [{"count": 1}]}, "no line of GenEval's metadata"),
        ({"include": [{"class": "cup", "count": 1, "position": ["left of", 7]}]}, "no line of GenEval's metadata"),
    ],
)
def test_geneval_metadata_of_another_form(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        geneval.is_correct(metadata, [box("cup", 10, 10)])
