"""The spaCy parser: templates in full, every class of prompt by example, spans by property, accuracy on gold.jsonl."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import spacy.util
from hypothesis import given, settings
from hypothesis import strategies as st

from spatialguide.contracts import Relation
from spatialguide.errors import PromptError
from spatialguide.scene import Scene
from spatialguide_parsers.spacy_english import SpacyParser, spatialguide_parsers
from spatialguide_parsers.spacy_english.model import BUNDLED, package, shared_model
from spatialguide_parsers.spacy_english.words import cut
from spatialguide_plugins.relations import RELATIONS


def listed(text: str) -> tuple[str, ...]:
    """Words of a text; a hyphen stands for a blank."""
    return tuple(word.replace("-", " ") for word in text.split())


COCO = listed(
    """person bicycle car motorcycle airplane bus train truck boat traffic-light fire-hydrant stop-sign parking-meter
    bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee skis
    snowboard sports-ball kite baseball-bat baseball-glove skateboard surfboard tennis-racket bottle wine-glass cup fork
    knife spoon bowl banana apple sandwich orange broccoli carrot hot-dog pizza donut cake chair couch potted-plant bed
    dining-table toilet tv laptop mouse remote keyboard cell-phone microwave oven toaster sink refrigerator book clock
    vase scissors teddy-bear hair-drier toothbrush"""
)
VISOR = {"to the left of": "left_of", "to the right of": "right_of", "above": "above", "below": "below"}
GOLD = [json.loads(line) for line in (Path(__file__).parent / "gold.jsonl").read_text(encoding="utf-8").splitlines()]


@dataclass
class Plain:
    """A relation as a third party would register it."""

    name: str
    phrases: tuple[str, ...]
    grounds: int = 1
    converse: str | None = None
    direction: tuple[float, float] | None = None

    def distance(self, subject: Any, *grounds: Any) -> Any:
        return 0.0


THIRD_PARTY: tuple[Relation, ...] = (
    Plain("behind", ("behind", "hidden by", "at the back of")),
    Plain("in_front_of", ("in front of",)),
    Plain("inside", ("inside", "within", "in")),
    Plain("surrounding", ("around",)),
    Plain("surrounded_by", ("surrounded by",)),
    Plain("between", ("between",), grounds=2),
    Plain("riding", ("riding", "on the back of")),
)


def parser_of(relations: Iterable[Relation]) -> SpacyParser:
    return SpacyParser(relations={relation.name: relation for relation in relations})


@pytest.fixture(scope="module")
def parse() -> SpacyParser:
    return parser_of(RELATIONS)


@pytest.fixture(scope="module")
def parse_more() -> SpacyParser:
    return parser_of([*RELATIONS, *THIRD_PARTY])


def said(scene: Scene) -> str:
    """Relations in plain words, in a fixed order."""
    return ", ".join(sorted(scene.sentence(relation) for relation in scene.relations))


def names(scene: Scene) -> list[str]:
    return [scene.name(index) for index in range(len(scene.objects))]


# Templates


@pytest.mark.parametrize("phrase", VISOR)
@pytest.mark.parametrize("articles", [True, False])
def test_visor_template_with_all_80_names(parse: SpacyParser, phrase: str, articles: bool) -> None:
    assert len(COCO) == 80
    wrong = []
    for index, name in enumerate(COCO):
        other = COCO[(index + 37) % len(COCO)]
        first, second = (article(name), article(other)) if articles else (name, other)
        prompt = f"{first} {phrase} {second}"
        scene = parse(prompt)
        found = [(r.subject, r.predicate, r.objects) for r in scene.relations]
        spans = [prompt[slice(*o.span)] for o in scene.objects]
        if [o.text for o in scene.objects] != [name, other] or found != [(0, VISOR[phrase], (1,))]:
            wrong.append((prompt, scene.describe()))
        elif spans != [name, other] or [prompt[slice(*o.phrase)] for o in scene.objects] != [first, second]:
            wrong.append((prompt, str(spans)))
    assert wrong == []


def article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


@pytest.mark.parametrize("name", COCO)
def test_geneval_position_template(parse: SpacyParser, name: str) -> None:
    other = "zebra" if name == "bench" else "bench"
    for phrase, predicate in {"left of": "left_of", "right of": "right_of", "below": "below"}.items():
        assert said(parse(f"a photo of {article(name)} {phrase} a {other}")) == f"{name} {predicate} {other}"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a girl on the top of a frog", "girl on frog"),
        ("a mouse on side of a key", "mouse next_to key"),
        ("a bee on the right of a refrigerator", "bee right_of refrigerator"),
        ("a turtle on the left of a phone", "turtle left_of phone"),
        ("a butterfly on the bottom of a suitcase", "butterfly below suitcase"),
        ("a balloon near a painting", "balloon next_to painting"),
        ("a rabbit next to a bowl", "rabbit next_to bowl"),
    ],
)
def test_t2i_compbench_templates(parse: SpacyParser, prompt: str, expected: str) -> None:
    assert said(parse(prompt)) == expected


# Classes of prompts


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        # attachment
        ("a cat to the left of a dog, above a red car", "cat above red car, cat left_of dog"),
        ("a cat to the left of a dog and above a red car", "cat above red car, cat left_of dog"),
        ("a cat left of a dog left of a bus", "cat left_of dog, dog left_of bus"),
        ("a bird above a tree that is next to a house", "bird above tree, tree next_to house"),
        ("a cat left of a dog is above a bus", "cat above bus, cat left_of dog"),
        ("a girl peeling an orange to the left of a goat", "girl left_of goat"),
        ("a lamp above a table, a chair right of the table", "chair right_of table, lamp above table"),
        ("a woman with a red umbrella next to a bus", "woman next_to bus"),
        # coordination
        ("a cat and a dog left of a bus", "cat left_of bus, dog left_of bus"),
        ("a cat left of a dog and a bus", "cat left_of bus, cat left_of dog"),
        ("a horse next to a barn and a cow left of a bus", "cow left_of bus, horse next_to barn"),
        ("an apple, a pear and a banana on a plate", "apple on plate, banana on plate, pear on plate"),
        ("a fork and a knife next to each other", "fork next_to knife"),
        # repeated nouns and references
        ("a red ball left of a blue ball", "red ball left_of blue ball"),
        ("a cat below a cat", "cat (1) below cat (2)"),
        ("a cup on a table. Another cup is under the table.", "cup (1) on table, cup (2) below table"),
        ("cat left of dog, dog left of bus", "cat left_of dog, dog left_of bus"),
        ("A car is next to a tree. It is below a balloon.", "car below balloon, car next_to tree"),
        ("A sofa stands here. To its right there is a lamp.", "lamp right_of sofa"),
        ("a dog with a cat on its left", "cat left_of dog"),
        ("a cake with a candle on top", "candle on cake"),
        ("a boy to the tall girl's left", "boy left_of tall girl"),
        # fronted
        ("To the left of the sofa stands a lamp", "lamp left_of sofa"),
        ("Above the hill, a red balloon", "red balloon above hill"),
        ("next to a dog, above a car, a cat", "cat above car, cat next_to dog"),
        # ways to say a side
        ("a cat on the left-hand side of a dog", "cat left_of dog"),
        ("a cat on the left side of a dog", "cat left_of dog"),
        ("a cat just to the far right of a dog", "cat right_of dog"),
        ("a cat on the left and a dog on the right", "cat left_of dog"),
        # form
        ("A CAT TO THE LEFT OF A DOG", "cat left_of dog"),
        ("cat left of dog", "cat left_of dog"),
        ("(a cat:1.3) left of ((a dog)), <lora:pets:0.8>", "cat left_of dog"),
        ("a cat 🐱 left of 🐶 a dog", "cat left_of dog"),
        ("a cat\nto the left\nof a dog", "cat left_of dog"),
        ("a robot above a car, cinematic lighting, octane render, 8k", "robot above car"),
        ("best quality, masterpiece, a cat on a sofa, 4k, trending on artstation", "cat on sofa"),
    ],
)
def test_relations(parse: SpacyParser, prompt: str, expected: str) -> None:
    assert said(parse(prompt)) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "a left-handed guitarist",
        "a student with above average grades",
        "the right answer",
        "a man looking to the left",
        "a left shoe and a right glove",
        "a city seen from above",
        "a cat in love",
        "a table without a cat on it",
        "a cat with no dog to the left of it",
        "a portrait by a famous photographer",
        "a horse, by Greg Rutkowski",
        "a dog on a plain white background",
        "cat, dog, red car",
    ],
)
def test_false_friends_give_no_relation(parse: SpacyParser, prompt: str) -> None:
    assert parse(prompt).relations == ()


@pytest.mark.parametrize(
    ("prompt", "objects"),
    [
        ("cat, dog, red car, park bench", ["cat", "dog", "red car", "park bench"]),
        ("an oil painting of a horse, highly detailed, by Greg Rutkowski", ["horse"]),
        ("a ball that is red and shiny", ["red shiny ball"]),
        ("a very old, rusty bicycle", ["old rusty bicycle"]),
        ("a black and white cat", ["black white cat"]),
        ("a racing car and a hot air balloon", ["racing car", "hot air balloon"]),
        ("a chair made of wood", ["wood chair"]),
        ("an orange cat beside an orange", ["orange cat", "orange"]),
        ("a cup of coffee", ["cup"]),
        ("a red apple and a green apple", ["red apple", "green apple"]),
        ("A dog. The dog sleeps. The big dog is here.", ["dog", "big dog"]),
    ],
)
def test_objects(parse: SpacyParser, prompt: str, objects: list[str]) -> None:
    assert names(parse(prompt)) == objects


@pytest.mark.parametrize(
    ("prompt", "text", "count", "span"),
    [
        ("two cats", "cat", 2, "cats"),
        ("12 mice", "mouse", 12, "mice"),
        ("several birds", "bird", None, "birds"),
        ("dogs", "dog", None, "dogs"),
        ("a pair of shoes", "shoe", 2, "shoes"),
        ("a pair of scissors", "scissors", 1, "scissors"),
        ("a bunch of bananas", "banana", None, "bananas"),
        ("a dozen eggs", "egg", 12, "eggs"),
        ("three wine glasses", "wine glass", 3, "wine glasses"),
        ("a bus", "bus", 1, "bus"),
        ("many people", "person", None, "people"),
    ],
)
def test_counts_and_singulars(parse: SpacyParser, prompt: str, text: str, count: int | None, span: str) -> None:
    (item,) = parse(prompt).objects
    assert (item.text, item.count, prompt[slice(*item.span)]) == (text, count, span)
    assert prompt[slice(*item.phrase)] == prompt


def test_spans_of_name_phrase_and_relation(parse: SpacyParser) -> None:
    prompt = "A  big RED Traffic  Light, right next\tto the café-table!"
    scene = parse(prompt)
    assert [prompt[slice(*o.span)] for o in scene.objects] == ["Traffic  Light", "café-table"]
    assert [prompt[slice(*o.phrase)] for o in scene.objects] == ["A  big RED Traffic  Light", "the café-table"]
    assert (scene.objects[0].text, scene.objects[0].head, scene.objects[0].attributes) == (
        "traffic light",
        "light",
        ("big", "red"),
    )
    (relation,) = scene.relations
    assert relation.span is not None
    assert prompt[slice(*relation.span)] == "next\tto"


# What was seen and not used


@pytest.mark.parametrize(
    ("prompt", "remark"),
    [
        ("a cat inside a box", "'inside': no relation plugin for it"),
        ("a cat between a dog and a bus", "'between': no relation plugin for it"),
        ("a cat above", "'above': no object after it"),
        ("above a cat", "'above': no object before it"),
        ("a man under pressure", "'under': 'pressure' after it is nothing to draw"),
        ("it is above it", "'above': 'it' stands for nothing named before"),
        ("a table without a cat on it", "'on': the prompt says that it is not so"),
        ("a cat to the left", "'to the left': a place in the picture; say which object 'cat' is beside"),
        ("a city seen from above", "'above': a way of speaking, not a place beside a thing"),
    ],
)
def test_unused_phrases_are_reported(parse: SpacyParser, prompt: str, remark: str) -> None:
    scene = parse(prompt)
    assert scene.relations == ()
    assert remark in scene.ignored


# Third-party relations


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat behind a sofa", "cat behind sofa"),
        ("a cat between a dog and a bus", "cat between dog and bus"),
        ("a bench between two trees", "bench between tree and tree"),
        ("a dog between a cat and a rabbit, left of a fence", "dog between cat and rabbit, dog left_of fence"),
        ("between the sofa and the table stands a lamp", "lamp between sofa and table"),
        ("a knight riding a dragon", "knight riding dragon"),
        ("a knight on the back of a dragon above a city", "dragon above city, knight riding dragon"),
        ("a fish inside a bowl on a shelf", "bowl on shelf, fish inside bowl"),
    ],
)
def test_third_party_phrases_are_found_like_the_built_in_ones(parse_more: SpacyParser, prompt: str, expected: str) -> None:
    assert said(parse_more(prompt)) == expected


def test_missing_ground_of_a_two_place_relation_is_reported(parse_more: SpacyParser) -> None:
    assert "'between': it needs 2 objects after it, found 1" in parse_more("a cat between a dog").ignored


def test_without_plugins_there_are_objects_and_no_relations() -> None:
    scene = parser_of([])("a cat to the left of a dog")
    assert (names(scene), scene.relations) == (["cat", "dog"], ())


def test_a_new_phrase_for_a_side_brings_the_other_ways_to_say_it() -> None:
    parse = parser_of([Plain("port", ("to the left of",), converse="starboard")])
    assert said(parse("a cat on the left-hand side of a dog")) == "cat port dog"
    assert said(parse("a cat to the dog's left")) == "cat port dog"


# Robustness


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_an_empty_prompt_is_an_error(parse: SpacyParser, prompt: str) -> None:
    with pytest.raises(PromptError, match="the prompt is empty"):
        parse(prompt)


@pytest.mark.parametrize("prompt", [None, 3, b"a cat", ["a cat"]])
def test_what_is_no_text_is_an_error(parse: SpacyParser, prompt: Any) -> None:
    with pytest.raises(PromptError, match="must be a str, not"):
        parse(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "?!.,;:",
        "\x00\x01 a cat \x07 left of \x1b[0m a dog",
        "9" * 5000 + " cats",
        "кот слева от собаки",
        "🐱👈🐶",
        "left of " * 50,
        "of the 's and with which that 's left",
        "a" * 3000,
        "a cat, " * 170,
        " ".join(["a cat to the left of a dog and above a red car,"] * 45),
    ],
)
def test_any_text_is_parsed_fast(parse: SpacyParser, prompt: str) -> None:
    begin = time.perf_counter()
    assert parse(prompt).prompt == prompt
    assert time.perf_counter() - begin < 1.0


WORDS = listed(
    """a the two its it dogs cat red above left of to next and , . 's with that is between glasses no without each other
    in on by pair sits"""
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join))
def test_any_order_of_grammar_words_gives_a_sound_scene(prompt: str) -> None:
    assert_sound(parser_of([*RELATIONS, *THIRD_PARTY])(prompt))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(max_size=60).filter(str.strip))
def test_any_text_gives_a_sound_scene(prompt: str) -> None:
    assert_sound(parser_of(RELATIONS)(prompt))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from(COCO), min_size=2, max_size=2, unique=True),
    st.sampled_from(["a", "A", "the", "two", "some very big"]),
    st.sampled_from(["to the left of", "LEFT OF", "Next to", "on  top of", "above"]),
    st.sampled_from([" ", "  ", "\n", "\t ", " 🐾 "]),
    st.sampled_from([str.lower, str.upper, str.title]),
)
def test_spans_are_exact_in_any_dress(pair: list[str], lead: str, phrase: str, blank: str, dress: Callable[[str], str]) -> None:
    prompt = blank.join([lead, *pair[0].split(), *phrase.split(), lead, *pair[1].split(), "!"])
    scene = parser_of(RELATIONS)(dress(prompt))
    assert_sound(scene)
    assert [(r.subject, r.objects) for r in scene.relations] == [(0, (1,))]
    found = [" ".join(scene.prompt[slice(*o.span)].lower().replace("🐾", " ").split()) for o in scene.objects]
    assert found == pair


def assert_sound(scene: Scene) -> None:
    """Spans lie in the prompt, hold the object's name in some number, and sit inside their phrase."""
    for item in scene.objects:
        assert 0 <= item.phrase.start <= item.span.start < item.span.end <= item.phrase.end <= len(scene.prompt)
        written = [word.text for word in cut(scene.prompt[slice(*item.span)])]
        assert " ".join(written[:-1]) == " ".join(item.text.split()[:-1])
        last = written[-1]
        assert item.head in (last, shared_model().singular(last), last.removesuffix("es"))
        assert item.text.split()[-1] == item.head
    for relation in scene.relations:
        assert relation.span is not None
        assert scene.prompt[slice(*relation.span)].strip()


# Loading


def test_listing_the_plugin_loads_no_spacy() -> None:
    code = "import sys, spatialguide_parsers.spacy_english; assert not {'spacy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_registered_as_spacy() -> None:
    registered: dict[str, Any] = {}
    spatialguide_parsers(registered.__setitem__)
    assert registered == {"spacy": SpacyParser}


def test_the_model_is_loaded_once_and_the_users_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_model() is shared_model()
    monkeypatch.setattr(spacy.util, "is_package", lambda name: False)
    assert package() == BUNDLED
    monkeypatch.setattr(spacy.util, "is_package", lambda name: name in ("en_core_web_sm", "en_core_web_md"))
    assert package() == "en_core_web_md"


# Accuracy on the hand-written gold prompts

SYMMETRIC = {"next_to"}
INVERSE = {"right_of": "left_of", "below": "above", "behind": "in_front_of", "surrounded_by": "surrounding"}
Triple = tuple[str, str, str]


def canonical(subject: str, predicate: str, *grounds: str) -> Triple:
    """One form for a relation and its converse."""
    ground = " ".join(sorted(grounds))
    if predicate in INVERSE:
        return ground, INVERSE[predicate], subject
    if predicate in SYMMETRIC:
        subject, ground = sorted((subject, ground))
    return subject, predicate, ground


def labels(objects: list[tuple[str, list[str]]]) -> list[str]:
    """Names by which gold and parsed objects are matched: text, attributes where the text repeats, else their order."""
    texts = [text for text, _ in objects]
    keys = [f"{text} {sorted(words)}" if texts.count(text) > 1 else text for text, words in objects]
    return [f"{key} {keys[: index + 1].count(key)}" for index, key in enumerate(keys)]


def matches(scene: Scene, row: dict[str, Any], predicates: set[str]) -> bool:
    """Whether a scene has exactly the gold relations, of those whose predicate is registered."""
    gold = [*row["objects"], *row.get("optional_objects", [])]
    by_id = dict(zip([o["id"] for o in gold], labels([(o["text"], o["attributes"]) for o in gold]), strict=True))
    mine = labels([(o.text, list(o.attributes)) for o in scene.objects])
    found = {canonical(mine[r.subject], r.predicate, *(mine[g] for g in r.objects)) for r in scene.relations}

    def triples(key: str) -> set[Triple]:
        wanted = [r for r in row.get(key, []) if r[1] in predicates]
        return {canonical(by_id[s], p, *(by_id[g] for g in grounds)) for s, p, *grounds in wanted}

    return found - (triples("optional_relations") - triples("relations")) == triples("relations")


@pytest.mark.parametrize(("more", "floor"), [(False, 1.0), (True, 1.0)])
def test_relations_exactly_right_on_gold(more: bool, floor: float) -> None:
    """Without and with third-party relations; gold relations that no plugin has are left out of the comparison.

    So are regions of the picture ("in_region"), which a scene cannot hold: counting them as misses gives 98.7 %.
    """
    relations = [*RELATIONS, *THIRD_PARTY[:-1]] if more else list(RELATIONS)
    parse, predicates = parser_of(relations), {relation.name for relation in relations}
    wrong = [row["prompt"] for row in GOLD if not matches(parse(row["prompt"]), row, predicates)]
    assert len(GOLD) >= 60
    assert 1 - len(wrong) / len(GOLD) >= floor, wrong


def test_objects_on_gold() -> None:
    """At least 98 % of the gold objects are found with their text and count."""
    parse = parser_of(RELATIONS)
    hits = total = 0
    for row in GOLD:
        found = [(item.text, item.count) for item in parse(row["prompt"]).objects]
        total += len(row["objects"])
        hits += sum((item["text"], item["count"]) in found for item in row["objects"])
    assert hits / total >= 0.98
