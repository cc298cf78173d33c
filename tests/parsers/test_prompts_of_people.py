"""Prompts as people write them, by kind: each row is a prompt that needs a rule, and the relations that it states."""

from __future__ import annotations

import pytest

from spatialguide import SpatialGuide
from spatialguide.errors import ConfigError
from spatialguide.registry import default_registry
from spatialguide_parsers.english import SpacyParser
from spatialguide_parsers.english.findings import CONFIDENCE


@pytest.fixture(scope="module")
def parse() -> SpacyParser:
    return SpacyParser(default_registry().relations())


KINDS = {
    "a side, then a verb": {
        "a man on the left wears a red hat": "man in_region left",
        "a girl on the right waves at a boy on the left": "girl in_region right; boy in_region left",
        "two dogs on the right bark at a cat on the left": "dog in_region right; cat in_region left",
        "the woman on the left and the man on the right hold hands": "woman in_region left; man in_region right",
        "a cat on the left ignored a mouse on the right": "cat in_region left; mouse in_region right",
        "a mechanic on the left who repairs a car": "mechanic in_region left",
        "a sticker on the left wheels of a car": "sticker on left wheel",
    },
    "verbs that place their object": {
        "a boy flies a kite above a house": "kite above house",
        "a boy flying a kite next to a windmill": "boy next_to windmill",
        "a fox had hidden its prey under a log": "prey below log",
        "a gardener had planted roses around a fountain": "rose surrounding fountain",
        "a waiter pours water into a glass on a table": "glass on table",
        "the bottle on the table casts a shadow on the wall": "bottle on table; shadow on wall",
        "a boy reads a comic under a blanket": "boy below blanket",
        "a robot painting a mural on the side of a building": "robot next_to building",
    },
    "clothes and colours": {
        "a boy in green jumping over a dog": "green boy above dog",
        "a man in red sitting next to a woman in blue": "red man next_to blue woman",
        "a nun in black and white beside a fountain": "nun next_to fountain",
        "an old man in slippers on a porch swing": "old man on porch swing",
        "a mouse in a slipper": "mouse inside slipper",
        "a corgi wearing a red bow tie and a purple hat next to a cake": "corgi next_to cake",
        "a kangaroo in a hoodie and sunglasses standing on a rug": "kangaroo on rug",
        "a person dressed as a banana next to a stand": "person next_to stand",
        "a girl, umbrella, standing in front of a shrine": "girl in_front_of shrine",
    },
    "figures of speech, motion, abstract nouns": {
        "a reporter on the heels of a senator": "",
        "ten guards keep an eye on the plaza": "",
        "the friendship between a lion and a mouse": "",
        "the design of the tower looms over the city": "tower above city",
        "a wasp flying around a jam jar": "",
        "bees flying around a hive": "bee surrounding hive",
        "a dog chases a cat around a tree": "",
        "the king ruled over the land": "",
        "the sun sets, casting long shadows over the land": "",
        "a kid on her best behaviour next to a teacher": "kid next_to teacher",
    },
    "pronouns": {
        "In a cellar, a dwarf snores. Next to it lies a keg.": "keg next_to dwarf",
        "There is a barn in a field. In front of it is a tractor.": "tractor in_front_of barn",
        "the shelf holds a red kettle with a cup beside it": "cup next_to red kettle",
        "She stood to the right of the piano and held a letter.": "",
        "a man with a hat on his head and a dog at his feet": "hat on head",
        "a girl feeds a bird on her hand": "bird on hand",
        "a woman to the left of whom stands a dog": "dog left_of woman",
        "Two urns stood by a gate while a beggar sat beside the right one.": "urn next_to gate; beggar next_to right urn",
        "a girl is right of a cake, and a boy with freckles sits to its left": "girl right_of cake; boy left_of cake",
    },
    "phrases": {
        "a hedge surrounded the orchard": "hedge surrounding orchard",
        "Trees lined the road.": "tree surrounding road",
        "a line of ducks": "",
        "an elf sets a lantern onto a stump": "lantern on stump",
        "a ball among a box and a lamp": "ball between box and lamp",
        "a stack of stalls lit by paper lanterns": "",
        "a street mural shows an octopus wrapped around a submarine": "octopus surrounding submarine",
        "A sketch of a violin is taped to the board above the bed.": "board above bed",
        "a cat stares at a goldfish inside a bowl": "goldfish inside bowl",
    },
    "places in other words": {
        "a bird on top": "bird in_region top",
        "a cake with cherries on top": "cherry on cake",
        "a cat at the bottom-center": "cat in_region bottom",
        "a wolf (left) and a fox (right)": "wolf in_region left; fox in_region right",
        "the left half is a forest, the right half is a desert": "forest in_region left; desert in_region right",
        "the top half is filled with clouds": "cloud in_region top",
        "a giant eye fills the upper half": "giant eye in_region top",
        "a tiger smack in the middle": "tiger in_region center",
        "could we have the tree on the left instead?": "tree in_region left",
    },
    "nouns, names and numbers": {
        "a giant towers over a house": "giant above house",
        "behind a wooden fence children play": "child behind wooden fence",
        "a dog's ears showing behind a sofa": "ear behind sofa",
        "ok now put an easel to the left of the sofa": "easel left_of sofa",
        "spider-man on top of a tower": "spider-man on tower",
        "a Nokia 3310 beside a Walkman": "nokia 3310 next_to walkman",
        "route 66 sign to the left of a cactus": "route 66 sign left_of cactus",
        "a Boeing 747 flying over a city": "boeing 747 above city",
        "a flock of ravens gathers on the wall": "raven on wall",
        "a lane, phone booth left of kiosk, stray dog on kiosk": "phone booth left_of kiosk; stray dog on kiosk",
        "fallen leaves cover the ground around a table": "fallen leaf surrounding table",
        "a lion and a tiger face each other in front of a lake": "lion in_front_of lake; tiger in_front_of lake",
        "watch near pear": "watch next_to pear",
        "two leaves behind three towers": "leaf behind tower",
        "two guards stand on a bridge": "guard on bridge",
    },
    "depth": {
        "a fox in the foreground and a castle in the background": "fox in_region foreground; castle in_region background",
        "In the far background, a ship. A cat left of a dog.": "ship in_region background; cat left_of dog",
        "a dog on a background": "",
        "a dog, blurry background": "",
    },
    "corrections": {
        "a bird above a fish. no, the other way round: the fish above the bird": "fish above bird",
        "a candle above a mirror, sorry, I meant a candle below a mirror": "candle below mirror",
        "a ladder behind a shed, wait, not behind, in front of the shed": "ladder in_front_of shed",
        "draw a cat on a mat, no, on a chair": "cat on chair",
        "put a hat on the dog. Actually put it on the cat.": "hat on cat",
        "a dog on a mat, no people": "dog on mat",
    },
}
ROWS = [(prompt, expected) for rows in KINDS.values() for prompt, expected in rows.items()]


@pytest.mark.parametrize(("prompt", "expected"), ROWS)
def test_relations_of_prompts_of_people(parse: SpacyParser, prompt: str, expected: str) -> None:
    scene = parse(prompt)
    assert "; ".join(scene.sentence(relation) for relation in scene.relations) == expected


def test_colours_of_clothes_are_no_things(parse: SpacyParser) -> None:
    assert [(item.text, item.attributes) for item in parse("a woman in red next to a car").objects] == [
        ("woman", ("red",)),
        ("car", ()),
    ]


def test_a_number_in_a_name_is_no_count(parse: SpacyParser) -> None:
    prompt = "a red 1965 Mustang next to three Boeing 747 models and a 100 cats"
    assert [item.count for item in parse(prompt).objects] == [1, 3, 100]


def test_what_is_about_nothing_named_is_reported(parse: SpacyParser) -> None:
    assert parse("He waited beside a phone booth.").ignored == ("'beside': no object that it is about",)


def test_a_relation_is_less_sure_the_more_could_be_meant(parse: SpacyParser) -> None:
    (plain,) = parse("a cat to the left of a dog").relations
    sure = parse("A boy feeds a bird with a spoon, in a box beside it. It is above a cat.").relations
    assert plain.confidence == CONFIDENCE[0]
    assert [relation.confidence for relation in sure] == [CONFIDENCE[4], CONFIDENCE[3], CONFIDENCE[1]]


def test_what_is_less_sure_than_asked_for_is_left_out_and_said() -> None:
    guide = SpatialGuide(parser_options={"min_confidence": 0.99})
    scene = guide.parse("A cat sits on a mat. There is a dog next to it.")
    assert [scene.sentence(relation) for relation in scene.relations] == []
    assert "'cat on mat': left out, its confidence 0.989 is below 0.99" in scene.ignored
    assert guide.parse("a cat to the left of a dog").relations
    with pytest.raises(ConfigError, match="min_confidence must be a number from 0 to 1"):
        SpatialGuide(parser_options={"min_confidence": 2}).parse("a cat left of a dog")
    with pytest.raises(ConfigError, match="Did you mean 'min_confidence'"):
        SpatialGuide(parser_options={"min_confidenc": 0.5}).parse("a cat left of a dog")
