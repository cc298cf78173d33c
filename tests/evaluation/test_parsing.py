"""The parser scorer against cases worked out by hand, and the parser against the gold set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spatialguide.errors import ConfigError
from spatialguide.evaluation.parser_benchmark import (
    ParserReport,
    Speed,
    noun_templates,
    read_gold,
    records,
    score_people,
    visor_templates,
)
from spatialguide.evaluation.parsing import ParserScores, score_records
from spatialguide.evaluation.prompts import bundled_names
from spatialguide.guide import SpatialGuide


def thing(key: str, text: str, *attributes: str, count: int | None = 1) -> dict[str, Any]:
    return {"id": key, "text": text, "attributes": list(attributes), "count": count}


def row(objects: list[dict[str, Any]], relations: list[list[str]], **more: Any) -> dict[str, Any]:
    return {"id": "1", "category": "x", "prompt": "p", "objects": objects, "relations": relations, **more}


def scored(gold: dict[str, Any], objects: list[dict[str, Any]], relations: list[list[str]]) -> ParserScores:
    return score_records([gold], [{"prompt": "p", "objects": objects, "relations": relations}])


CAT_AND_DOG = [thing("a", "cat"), thing("b", "dog")]
SEEN = [thing("1", "dog"), thing("2", "cat")]


@pytest.mark.parametrize(
    ("wanted", "found", "right"),
    [
        (["a", "left_of", "b"], ["2", "left_of", "1"], True),
        (["a", "left_of", "b"], ["1", "right_of", "2"], True),
        (["a", "left_of", "b"], ["1", "left_of", "2"], False),
        (["a", "next_to", "b"], ["1", "next_to", "2"], True),
        (["a", "surrounding", "b"], ["1", "surrounded_by", "2"], True),
        (["a", "inside", "b"], ["1", "contains", "2"], True),
        (["a", "in_region", "top"], ["2", "in_region", "top"], True),
        (["a", "in_region", "top"], ["1", "in_region", "top"], False),
    ],
)
def test_converses_are_equal(wanted: list[str], found: list[str], right: bool) -> None:
    scores = scored(row(CAT_AND_DOG, [wanted]), SEEN, [found])
    assert (scores.exact, scores.triples.f1) == ((100, 100) if right else (0, 0))
    assert bool(scores.failures) is not right


def test_grounds_of_between_have_no_order() -> None:
    objects = [*CAT_AND_DOG, thing("c", "bus")]
    seen = [thing("1", "bus"), thing("2", "cat"), thing("3", "dogs")]
    assert scored(row(objects, [["a", "between", "b", "c"]]), seen, [["2", "between", "1", "3"]]).exact == 100


def test_twins_are_told_apart_by_attributes() -> None:
    gold = row([thing("a", "ball", "red"), thing("b", "ball", "blue")], [["a", "left_of", "b"]])
    seen = [thing("1", "ball", "blue"), thing("2", "ball", "red")]
    assert scored(gold, seen, [["2", "left_of", "1"]]).exact == 100
    assert scored(gold, seen, [["1", "left_of", "2"]]).exact == 0


def test_what_is_optional_neither_gains_nor_costs() -> None:
    more = {"optional_objects": [thing("s", "street")], "optional_relations": [["a", "on", "s"]]}
    gold = row(CAT_AND_DOG, [["a", "left_of", "b"]], **more)
    street = thing("3", "street")
    for extra, edges in (([], []), ([street], []), ([street], [["2", "on", "3"]])):
        scores = scored(gold, [*SEEN, *extra], [["2", "left_of", "1"], *edges])
        assert (scores.exact, scores.objects.f1, scores.triples.precision) == (100, 100, 100)
    assert scored(gold, [*SEEN, street], [["2", "left_of", "1"], ["1", "on", "3"]]).exact == 0


def test_what_follows_from_two_places_is_ignored() -> None:
    gold = row(CAT_AND_DOG, [["a", "in_region", "left"], ["b", "in_region", "right"]])
    places = [["2", "in_region", "left"], ["1", "in_region", "right"]]
    assert scored(gold, SEEN, [*places, ["2", "left_of", "1"]]).exact == 100
    assert scored(gold, SEEN, [*places, ["2", "above", "1"]]).exact == 0


def test_objects_attributes_and_counts() -> None:
    gold = row([thing("a", "teddy bear", "red", count=2), thing("b", "dog", "old")], [])
    scores = scored(gold, [thing("1", "bear", "red", "teddy"), thing("2", "hat", "new")], [])
    assert (scores.objects.right, scores.objects.wrong, scores.objects.missed) == (1, 1, 1)
    assert (scores.names.right, scores.names.wrong, scores.names.missed) == (0, 2, 2)
    # "red" is right and "teddy" no fault; "new" is made up; "old" was missed.
    assert (scores.attributes.right, scores.attributes.wrong, scores.attributes.missed) == (1, 1, 1)
    assert scores.counts == (0, 1)


def test_a_prompt_without_a_prediction_counts_as_empty() -> None:
    scores = score_records([row(CAT_AND_DOG, [["a", "on", "b"]]), {**row([], []), "id": "2", "prompt": "q"}], [])
    assert scores.by_category == {"x": (1, 2)}
    assert scores.objects.recall == 0
    assert scores.as_dict()["failures"] == [{"identity": "1", "prompt": "p", "missed": ("cat on dog",), "wrong": ()}]


# The parser


@pytest.fixture(scope="module")
def scores() -> ParserScores:
    gold = read_gold(None)
    return score_records(gold, records(SpatialGuide(), [row["prompt"] for row in gold]))


def test_the_gold_set_is_sound() -> None:
    gold = read_gold(None)
    assert len(gold) >= 300
    assert len({row["id"] for row in gold}) == len({row["prompt"] for row in gold}) == len(gold)
    predicates = {triple[1] for row in gold for triple in row["relations"]}
    assert predicates <= {
        *[
            "left_of",
            "right_of",
            "above",
            "below",
            "next_to",
            "in_front_of",
            "behind",
            "inside",
            "on",
            "surrounding",
            "between",
        ],
        "in_region",
    }
    for row in gold:
        ids = {item["id"] for item in [*row["objects"], *row.get("optional_objects", [])]}
        for subject, predicate, *grounds in [*row["relations"], *row.get("optional_relations", [])]:
            assert subject in ids
            assert predicate == "in_region" or set(grounds) <= ids


@pytest.mark.slow
def test_gold_prompts(scores: ParserScores) -> None:
    assert scores.exact >= 98
    assert scores.objects.f1 >= 99
    assert scores.names.f1 >= 98
    assert scores.attributes.f1 >= 97
    assert scores.count_accuracy >= 99
    for category, (right, total) in scores.by_category.items():
        assert right / total >= 0.88, category


@pytest.mark.slow
def test_templates_in_samples() -> None:
    wanted = [
        *list(visor_templates(bundled_names("coco")))[::97],
        *list(noun_templates(bundled_names("nouns"), {"on side of": "next_to"}, ""))[::7],
    ]
    assert len(list(visor_templates(bundled_names("coco")))) == 25280
    found = records(SpatialGuide(), [item.prompt for item in wanted])
    for item, record in zip(wanted, found, strict=True):
        texts = {thing["id"]: thing["text"] for thing in record["objects"]}
        triples = [[texts[subject], predicate, texts[ground]] for subject, predicate, ground in record["relations"]]
        assert triples == [[item.subject, item.predicate, item.ground]], item.prompt


def test_what_is_unread_stays_unread() -> None:
    gold = row(CAT_AND_DOG, [["a", "left_of", "b"]])
    wrong = scored(gold, SEEN, [])
    people = {"read": wrong, "unread": wrong.without_failures()}
    report = ParserReport((), wrong, Speed(600.0, 9.0, 1.0), people)
    assert report.as_dict()["people"]["unread"]["failures"] == []
    assert report.as_dict()["people"]["unread"]["exact"] == 0
    assert len(report.failures) == 2


@pytest.mark.slow
def test_prompts_as_people_write_them() -> None:
    people = score_people(SpatialGuide())
    assert people["read"].exact >= 97
    assert people["unread"].exact >= 88
    assert people["unread"].failures == []


def test_a_gold_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read gold prompts"):
        read_gold(tmp_path / "none.jsonl")
