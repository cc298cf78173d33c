"""The spaCy parser: templates in full, every class of prompt by example, spans by property, accuracy on gold.jsonl."""

from __future__ import annotations

import cProfile
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import spacy.util
from hypothesis import given
from hypothesis import strategies as st

from spatialguide.contracts import Predicate
from spatialguide.errors import PluginError, PromptError
from spatialguide.guide import SpatialGuide
from spatialguide.registry import default_registry
from spatialguide.scenes.scene import Scene
from spatialguide_parsers.english import SpacyParser, model, spatialguide_parsers
from spatialguide_parsers.english.model import SHIPPED, load, shared_model
from spatialguide_parsers.english.words import cut
from spatialguide_plugins.relations.directions import RELATIONS


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


BUILT_IN = tuple(default_registry().relations().values())
THIRD_PARTY: tuple[Predicate, ...] = (
    Plain("riding", ("riding", "on the back of")),
    Plain("amid", ("amid", "in the midst of"), grounds=2),
    Plain("in_region:horizon", ("horizon",), grounds=0),
)


def parser_of(relations: Iterable[Predicate]) -> SpacyParser:
    return SpacyParser(relations={relation.name: relation for relation in relations})


@cache
def parser_with_third_parties() -> SpacyParser:
    return parser_of([*BUILT_IN, *THIRD_PARTY])


@pytest.fixture(scope="module")
def parse() -> SpacyParser:
    return parser_of(BUILT_IN)


@pytest.fixture(scope="module")
def parse_few() -> SpacyParser:
    return parser_of(RELATIONS)


@pytest.fixture(scope="module")
def parse_more() -> SpacyParser:
    return parser_of([*BUILT_IN, *THIRD_PARTY])


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
        # regions of the picture
        ("a cat on the left and a dog on the right", "cat in_region left, dog in_region right"),
        ("a comet in the upper right-hand corner of the image", "comet in_region top_right"),
        ("On the left side of the image there is a fox", "fox in_region left"),
        ("an owl at the top, a mouse at the bottom", "mouse in_region bottom, owl in_region top"),
        ("a vase in the centre, a lamp to the left of the vase", "lamp left_of vase, vase in_region center"),
        ("a sneaker centered in the frame", "sneaker in_region center"),
        ("top left: a sun, bottom right: a whale", "sun in_region top_left, whale in_region bottom_right"),
        ("teapot left, teacup right", "teacup in_region right, teapot in_region left"),
        ("the left half of the image shows a burning city", "burning city in_region left"),
        # depth, containment, between
        ("a cat behind a sofa", "cat behind sofa"),
        ("a moose half hidden by a snowdrift", "moose behind snowdrift"),
        ("a fox peeks out from behind a tent", "fox behind tent"),
        ("a butler standing three paces in front of a duchess", "butler in_front_of duchess"),
        ("a goldfish in a bowl", "goldfish inside bowl"),
        ("a man in a red shirt in a park", ""),
        ("a castle surrounded by a moat", "castle surrounded_by moat"),
        ("children around a table", "child surrounding table"),
        ("a cat between a dog and a bus", "cat between dog and bus"),
        ("a bench between two trees", "bench between tree and tree"),
        ("between the sofa and the table stands a lamp", "lamp between sofa and table"),
        # relations that share a ground, relative clauses, agreement of noun and verb
        ("an owl above and to the right of a signpost", "owl above signpost, owl right_of signpost"),
        ("a willow under which a shepherd sleeps", "shepherd below willow"),
        ("the stool that a drummer is sitting on", "drummer on stool"),
        ("The hat that the man wears is on a bench", "hat on bench"),
        ("The lamp whose shade is green is on a desk", "lamp on desk"),
        ("A kettle whistles on the stove", "kettle on stove"),
        ("two bandits crouch behind a cart", "bandit behind cart"),
        ("a sword rack behind a fire pit", "sword rack behind fire pit"),
        ("a juggler tossing oranges in front of a carousel", "juggler in_front_of carousel"),
        # phrases without a ground
        ("a house with a tree behind", "tree behind house"),
        ("a cat and a dog side by side", "cat next_to dog"),
        ("a cat and, to its left, a dog", "dog left_of cat"),
        ("a dog without a collar left of a cat", "dog left_of cat"),
        ("a palette left of an easel", "palette left_of easel"),
        ("a bridge over water", "bridge above water"),
        ("a cat in-between two dogs", "cat between dog and dog"),
        # pronouns
        ("There is a vase. To its right sits a lamp.", "lamp right_of vase"),
        ("A desk. A booth is to its left, and a cart is to its right.", "booth left_of desk, cart right_of desk"),
        (
            "a barista behind the counter and two customers in front of it",
            "barista behind counter, customer in_front_of counter",
        ),
        (
            "Draw a mammoth. Put a man right of it. A fire burns between them.",
            "fire between man and mammoth, man right_of mammoth",
        ),
        ("a hiker with a husky by his side", "husky next_to hiker"),
        ("a green tractor beside a red one", "green tractor next_to red tractor"),
        ("two cats, three dogs and a parrot above the dogs", "parrot above dog"),
        # form
        ("A CAT TO THE LEFT OF A DOG", "cat left_of dog"),
        ("cat left of dog", "cat left_of dog"),
        ("(a cat:1.3) left of ((a dog)), <lora:pets:0.8>", "cat left_of dog"),
        ("(a cat)1.3 left of dog++ BREAK a bird- above the (red car:1.2)", "bird above red car, cat left_of dog"),
        ("a cat on a hill::2 a bird above the hill::1.5 --ar 16:9 --s 400", "bird above hill, cat on hill"),
        ("[a cat] left of {a dog}, f/1.8, negative prompt: a bus above a car", "cat left_of dog"),
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
        "a woman over 60 wearing a tracksuit",
        "oil on canvas, a horse",
        "a widow in mourning, seen from behind",
        "a woman looking over her shoulder",
        "a chef on top of his game",
        "two teenagers head over heels in love",
        "shot on a Canon R5, a horse",
        "a horse in the style of Vermeer",
        "a horse, rendered in Blender",
        "a horse --no bird on a tree",
        "every morning in a city",
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
        ("forty-two penguins", "penguin", 42, "penguins"),
        ("two hundred balloons", "balloon", 200, "balloons"),
        ("half a dozen eggs", "egg", 6, "eggs"),
        ("a trio of monks", "monk", 3, "monks"),
        ("two glasses", "glass", 2, "glasses"),
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
    ("prompt", "expected"),
    [
        ("a cat not to the left of a dog", "objects: cat, dog; relations: none"),
        ("a cat that is not above a dog", "objects: cat, dog; relations: none"),
        ("a cat isn't sitting below a dog", "objects: cat, dog; relations: none"),
        ("a cat isn’t above a dog and below a bus", "objects: cat, dog, bus; relations: cat below bus"),
        ("a cat not above or below a dog", "objects: cat, dog; relations: none"),
        ("a cat not left of but right of a dog", "objects: cat, dog; relations: cat right_of dog"),
        ("a cat to the left of a dog, not above it", "objects: cat, dog; relations: cat left_of dog"),
        ("a cat not to the left of a dog, above a bus", "objects: cat, dog, bus; relations: cat above bus"),
        ("a dog that is not red to the left of a cat", "objects: dog, cat; relations: dog left_of cat"),
        ("a cat, not a dog, to the left of a bus", "objects: cat, bus; relations: cat left_of bus"),
        ("there isn't a dog to the left of a cat", "objects: cat; relations: none"),
        ("not only a cat to the left of a dog", "objects: cat, dog; relations: cat left_of dog"),
        ("a cat neither above nor below a dog", "objects: cat, dog; relations: none"),
        ("a cat not left of a dog nor above a bus", "objects: cat, dog, bus; relations: none"),
        ("a cat not left of a dog or above a bus", "objects: cat, dog, bus; relations: none"),
        ("a cat left of a dog or above a bus", "objects: cat, dog, bus; relations: cat left_of dog, cat above bus"),
        ("a cat above but not left of a dog", "objects: cat, dog; relations: cat above dog"),
        ("a cat that cannot be above a dog", "objects: cat, dog; relations: none"),
        ("a cat nowhere near a dog", "objects: cat, dog; relations: none"),
        (
            "a cat and a dog not next to each other on a table",
            "objects: cat, dog, table; relations: cat on table, dog on table",
        ),
        ("neither a cat nor a dog above a bus", "objects: bus; relations: none"),
        # What is denied is something else.
        ("a dog that isn't barking is to the left of a cat", "objects: dog, cat; relations: dog left_of cat"),
        ("a dog that isn't sitting is to the left of a cat", "objects: dog, cat; relations: dog left_of cat"),
        ("a man not smiling to the left of a woman", "objects: man, woman; relations: man left_of woman"),
        ("a car not on fire above a desk", "objects: car, desk; relations: car above desk"),
        (
            "a cat not just above a dog but also left of a bus",
            "objects: cat, dog, bus; relations: cat above dog, cat left_of bus",
        ),
        ("a cat not far above a dog", "objects: cat, dog; relations: cat above dog"),
        ("a tree not far to the left of a house", "objects: tree, house; relations: tree left_of house"),
    ],
)
def test_what_is_denied_is_no_relation(parse: SpacyParser, prompt: str, expected: str) -> None:
    assert parse(prompt).describe() == expected


@pytest.mark.parametrize(
    ("prompt", "remark"),
    [
        ("a cat opposite a box", "'opposite': no relation plugin for it"),
        ("a cat in a hurry", "'in': a setting, a state or clothes, not a container"),
        ("a cat above", "'above': no object after it"),
        ("above a cat", "'above': no object before it"),
        ("a man under zero", "'under': a way of speaking, not a place beside a thing"),
        ("a man under pressure", "'under pressure': a way of speaking"),
        ("it is above it", "'above': 'it' stands for nothing named before"),
        ("a table without a cat on it", "'on': the prompt says that it is not so"),
        ("a cat in the distance", "'in the distance': a place in the picture that no relation plugin has"),
        ("a knight facing a dragon", "'facing': which way a thing looks is not guided"),
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
        ("a knight riding a dragon", "knight riding dragon"),
        ("a knight on the back of a dragon above a city", "dragon above city, knight riding dragon"),
        ("a cat amid a dog and a bus", "cat amid dog and bus"),
        ("a cat in the midst of two trees", "cat amid tree and tree"),
        ("a ship on the horizon", "ship in_region horizon"),
    ],
)
def test_third_party_phrases_are_found_like_the_built_in_ones(parse_more: SpacyParser, prompt: str, expected: str) -> None:
    assert said(parse_more(prompt)) == expected


def test_missing_ground_of_a_two_place_relation_is_reported(parse_more: SpacyParser) -> None:
    assert "'between': it needs 2 objects after it, found 1" in parse_more("a cat between a dog").ignored


def test_phrases_of_a_plugin_that_is_not_there_are_reported(parse_few: SpacyParser) -> None:
    scene = parse_few("a cat inside a box, a dog on the left")
    assert scene.relations == ()
    assert scene.ignored == (
        "'inside': no relation plugin for it",
        "'on the left': a place in the picture that no relation plugin has",
    )
    assert scene.unknown == ("inside",)


def test_without_plugins_there_are_objects_and_no_relations() -> None:
    scene = parser_of([])("a cat to the left of a dog")
    assert (names(scene), scene.relations) == (["cat", "dog"], ())


def test_a_new_phrase_for_a_side_brings_the_other_ways_to_say_it() -> None:
    parse = parser_of([Plain("port", ("to the left of",), converse="starboard")])
    assert said(parse("a cat on the left-hand side of a dog")) == "cat port dog"
    assert said(parse("a cat to the dog's left")) == "cat port dog"


# Prompt syntax


@pytest.mark.parametrize(
    ("prompt", "spans"),
    [
        ("(red cat)1.3 left of dog++", ["cat", "dog"]),
        ("((traffic light:1.2)) above [a (blue) bus]", ["traffic light", "bus"]),
        ("<lora:Cat_v2:0.8> a cat- BREAK a dog+++ below the cat", ["cat", "dog"]),
        ("a (<cat-toy>:1.2) above <my-bench>++", ["<cat-toy>", "<my-bench>"]),
    ],
)
def test_spans_point_into_a_weighted_prompt(parse: SpacyParser, prompt: str, spans: list[str]) -> None:
    scene = parse(prompt)
    assert [prompt[slice(*o.span)] for o in scene.objects] == spans
    assert len(scene.relations) == 1


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a <cat-toy> to the left of a dog", "objects: <cat-toy>, dog; relations: <cat-toy> left_of dog"),
        ("a photo of <cat-toy> on a <my-bench>", "objects: <cat-toy>, <my-bench>; relations: <cat-toy> on <my-bench>"),
        ("two <cat-toy> above a car", "objects: <cat-toy>, car; relations: <cat-toy> above car"),
        ("a red <Cat_Toy> left of <s1>", "objects: red <cat_toy>, <s1>; relations: red <cat_toy> left_of <s1>"),
        ("a <cat-toy> backpack under a dog", "objects: <cat-toy> backpack, dog; relations: <cat-toy> backpack below dog"),
        ("a cat to the <cat-toy>'s left", "objects: cat, <cat-toy>; relations: cat left_of <cat-toy>"),
        ("a cat left of a dog, <line-art>", "objects: cat, dog; relations: cat left_of dog"),
        ("<LoRA:pets:0.8> <lyco:a b:1> <hypernet:c> a cat left of a dog", "objects: cat, dog; relations: cat left_of dog"),
        ("a <b>red</b> cat left of a dog", "objects: red cat, dog; relations: red cat left_of dog"),
        (
            "<|endoftext|> a <red> cat left of a <brown dog>",
            "objects: <red> cat, brown dog; relations: <red> cat left_of brown dog",
        ),
    ],
)
def test_textual_inversions_are_nouns_and_tags_of_networks_are_none(parse: SpacyParser, prompt: str, expected: str) -> None:
    assert parse(prompt).describe() == expected


def test_textual_inversions_are_counted(parse: SpacyParser) -> None:
    assert [item.count for item in parse("two <cat-toy> above a car").objects] == [2, 1]


# Many at once


def test_bulk_and_single_parsing_agree(parse: SpacyParser) -> None:
    prompts = [f"{article(name)} left of a bench. It is red." for name in COCO]
    assert list(parse.pipe(iter(prompts))) == [parse(prompt) for prompt in prompts]


# Robustness


def test_what_no_encoding_has_is_an_error(parse: SpacyParser) -> None:
    with pytest.raises(PromptError, match=r"no valid text: .* at character 6; write it as UTF-8"):
        parse("a cat \ud800")


@pytest.mark.parametrize("relation", BUILT_IN, ids=lambda relation: relation.name)
def test_every_phrase_of_every_plugin_is_found(parse: SpacyParser, relation: Predicate) -> None:
    for phrase in relation.phrases:
        if phrase == "side by side":
            continue  # it takes no ground
        ground = {0: "", 1: " a box", 2: " two boxes"}[relation.grounds]
        said = phrase if relation.grounds else f"at the {phrase} of the image"
        assert [edge.predicate for edge in parse(f"a ball {said}{ground}").relations] == [relation.name], phrase


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_an_empty_prompt_is_an_error(parse: SpacyParser, prompt: str) -> None:
    with pytest.raises(PromptError, match="the prompt is empty"):
        parse(prompt)


@pytest.mark.parametrize("prompt", [None, 3, b"a cat", ["a cat"]])
def test_what_is_no_text_is_an_error(parse: SpacyParser, prompt: Any) -> None:
    with pytest.raises(PromptError, match="must be a str, not"):
        parse(prompt)


MIDDLES = listed(
    """in-the-center-of in-the-centre-of in-the-middle-of in-the-heart-of in-the-midst-of at-the-center-of at-the-centre-of
    at-the-middle-of at-the-heart-of on-the-center-of in-center-of in-the-very-center-of in-the-dead-centre-of
    right-in-the-middle-of in-the-exact-middle-of IN-THE-CENTER-OF"""
)


@pytest.mark.parametrize("phrase", MIDDLES)
def test_the_middle_of_a_thing_is_inside_it_in_all_its_names(parse: SpacyParser, phrase: str) -> None:
    scene = parse(f"a boat {phrase} a lake")
    assert scene.describe() == "objects: boat, lake; relations: boat inside lake"
    assert scene.ignored == ()


@pytest.mark.parametrize("phrase", MIDDLES)
def test_the_middle_of_what_has_none_is_not_guided(parse: SpacyParser, phrase: str) -> None:
    scene = parse(f"a wrestler {phrase} a heated argument")
    assert (said(scene), scene.unknown) == ("", ())
    assert len(scene.ignored) == 1
    assert "heated argument" in names(scene)


@pytest.mark.parametrize("phrase", MIDDLES)
def test_without_its_plugin_the_middle_of_a_thing_is_a_part_of_it(parse_few: SpacyParser, phrase: str) -> None:
    scene = parse_few(f"a boat {phrase} a lake")
    assert (names(scene), said(scene), scene.unknown) == (["boat", "lake"], "", ())
    assert len(scene.ignored) == 1


@pytest.mark.parametrize(
    ("prompt", "objects"),
    [
        ("a bird at the top of the tree", ["bird", "tree"]),
        ("a bird at the very top of a tree", ["bird", "tree"]),
        ("a chair in the corner of a room", ["chair", "room"]),
        ("a chair in a corner of a room", ["chair", "room"]),
        ("a chair in the far corner of a room", ["chair", "room"]),
        ("a chair in the top left corner of a room", ["chair", "room"]),
        ("a chair in the left-hand corner of a room", ["chair", "room"]),
        ("a lamp at the corner of a street", ["lamp", "street"]),
        ("a ship at the bottom of a lake", ["ship", "lake"]),
        ("a nest in the upper part of a tree", ["nest", "tree"]),
        ("a nest in the top of a tree", ["nest", "tree"]),
        ("a cat at the foot of a bed", ["cat", "bed"]),
        ("a cat at the base of a tree", ["cat", "tree"]),
        ("a cat at the end of a table", ["cat", "table"]),
        ("a cat at the far end of a long table", ["cat", "long table"]),
        ("a king at the head of a table", ["king", "table"]),
        ("a cat on the back of a truck", ["cat", "truck"]),
        ("a badge on the front of a truck", ["badge", "truck"]),
        ("a cat amid flowers", ["cat", "flower"]),
        ("a cat outside of a house", ["cat", "house"]),
    ],
)
def test_a_part_of_a_thing_is_remarked_on_and_no_error(parse: SpacyParser, prompt: str, objects: list[str]) -> None:
    scene = parse(prompt)
    assert (names(scene), said(scene), scene.unknown) == (objects, "", ())
    assert len(scene.ignored) == 1
    assert [edge.predicate for edge in parse(f"{prompt} left of a dog").relations] == ["left_of"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a bird in the middle, a cat in the center of the image", "bird in_region center, cat in_region center"),
        ("a bird on the top of a tree", "bird on tree"),
        ("a cat on the edge of a table", "cat on table"),
        ("a hat on the head of a dog", "hat on head"),
        ("a chair in the top left corner of the picture", "chair in_region top_left"),
        ("a cat at the back of a bus", "cat behind bus"),
        ("the left of the picture shows a cat", "cat in_region left"),
    ],
)
def test_places_beside_parts_of_things_stay(parse: SpacyParser, prompt: str, expected: str) -> None:
    assert said(parse(prompt)) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "?!.,;:",
        "\x00\x01 a cat \x07 left of \x1b[0m a dog",
        "9" * 5000 + " cats",
        "кот слева от собаки",
        "🐱👈🐶",
        "b of b of " * 500,
        "far far " * 600,
        "left of " * 50,
        "of the 's and with which that 's left",
        "a" * 3000,
        "a cat, " * 170,
        " ".join(["a cat to the left of a dog and above a red car,"] * 45),
    ],
)
def test_any_text_is_parsed(parse: SpacyParser, prompt: str) -> None:
    assert parse(prompt).prompt == prompt


UNITS = (
    "far far ", "very ", "a ", "b of ", ", cat", "with a cat on its left ", "two hundred ", "which ", "and ", "the left of ",
    "very far right directly just ", "cat left, ", "image shot and ", "'s ", "it ", "(cat)1.2 ", "{{",
)  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_time_grows_with_the_length_and_no_faster(parse: SpacyParser, unit: str) -> None:
    """Work is counted in calls, which do not depend on the machine: four times the text, not sixteen times the work."""
    calls = [count_calls(parse, (unit * 5000)[:length]) for length in (1250, 5000)]
    assert calls[1] <= 6 * calls[0] + 1000


def count_calls(parse: SpacyParser, prompt: str) -> int:
    profile = cProfile.Profile()
    profile.runcall(parse, prompt)
    return sum(entry.callcount for entry in profile.getstats())


WORDS = listed(
    """a the two its it dogs cat red above left of to next and , . 's with that is between glasses no without each other
    in on by pair sits"""
)


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join))
def test_any_order_of_grammar_words_gives_a_sound_scene(prompt: str) -> None:
    assert_sound(parser_with_third_parties()(prompt))


@given(st.text(max_size=60).filter(str.strip))
def test_any_text_gives_a_sound_scene(prompt: str) -> None:
    assert_sound(parser_with_third_parties()(prompt))


@given(
    st.lists(st.sampled_from(COCO), min_size=2, max_size=2, unique=True),
    st.sampled_from(["a", "A", "the", "two", "some very big"]),
    st.sampled_from(["to the left of", "LEFT OF", "Next to", "on  top of", "above"]),
    st.sampled_from([" ", "  ", "\n", "\t ", " 🐾 "]),
    st.sampled_from([str.lower, str.upper, str.title]),
)
def test_spans_are_exact_in_any_dress(pair: list[str], lead: str, phrase: str, blank: str, dress: Callable[[str], str]) -> None:
    prompt = blank.join([lead, *pair[0].split(), *phrase.split(), lead, *pair[1].split(), "!"])
    scene = parser_with_third_parties()(dress(prompt))
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
    code = "import sys, spatialguide_parsers.english; assert not {'spacy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_registered_as_spacy() -> None:
    registered: dict[str, Any] = {}
    spatialguide_parsers(registered.__setitem__)
    assert registered == {"spacy": SpacyParser}


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str, broken: str = "") -> list[str]:
    """Pretend that these packages are all that is installed; what spaCy is asked to load, in order."""
    asked: list[str] = []

    def pretend(name: str | Path, **options: Any) -> Any:
        asked.append(str(name))
        if name == broken:
            raise ValueError("[E002] Can't find factory\nof this component")
        return name

    monkeypatch.setattr(spacy.util, "is_package", lambda name: name in packages)
    monkeypatch.setattr(spacy, "load", pretend)
    return asked


def test_the_model_is_loaded_once_and_the_users_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_model() is shared_model()
    assert installed(monkeypatch, "en_core_web_sm", "en_core_web_md") == []
    assert load() == "en_core_web_md"


def test_without_a_package_the_files_that_ship_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spacy.util, "is_package", lambda name: False)
    assert load().pipe_names == ["tok2vec", "tagger", "lemmatizer"]
    assert {path.name for path in SHIPPED.glob("LICENSE*")} == {"LICENSE", "LICENSES_SOURCES"}


def test_a_package_that_does_not_load_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = installed(monkeypatch, "en_core_web_trf", broken="en_core_web_trf")
    with pytest.warns(UserWarning, match=r"en_core_web_trf does not load \(\[E002\] Can't find factory\); another"):
        load()
    assert asked == ["en_core_web_trf", str(SHIPPED)]


def test_without_any_model_one_line_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spacy.util, "is_package", lambda name: False)
    monkeypatch.setattr(model, "SHIPPED", tmp_path / "gone")
    with pytest.raises(PluginError, match="python -m spacy download en_core_web_sm"):
        load()


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        ("a thousand cats left of a dog", 1000),
        ("a hundred thousand cats left of a dog", None),
        ("99999999999 cats left of a dog", None),
        ("9000 pairs of shoes left of a dog", None),
    ],
)
def test_more_than_ten_thousand_are_several(prompt: str, count: int | None) -> None:
    assert SpatialGuide().parse(prompt).objects[0].count == count


def test_a_long_prompt_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = SpatialGuide()
    monkeypatch.setattr(guide._reader, "_call_parser", lambda action: pytest.fail("parsed"))
    with pytest.raises(PromptError, match="120,000 characters, and at most 10,000"):
        guide.parse("a" * 120_000)
