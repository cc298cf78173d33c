from __future__ import annotations

import pytest

from spatialguide.errors import ContradictionError, SceneError, UnguidedWarning, UnknownPluginError
from spatialguide.guide import SpatialGuide
from spatialguide.testing import planned

PROMPT = "a cat, a dog, a bus"


@pytest.mark.parametrize(
    "triples",
    [
        [("cat", "left_of", "dog"), ("dog", "left_of", "cat")],
        [("cat", "left_of", "dog"), ("cat", "right_of", "dog")],
        [("cat", "above", "dog"), ("dog", "on", "bus"), ("bus", "above", "cat")],
        [("cat", "in_region", "left"), ("dog", "in_region", "right"), ("dog", "left_of", "cat")],
        [("cat", "in_region", "top_left"), ("cat", "in_region", "bottom")],
        [("cat", "in_region", "center"), ("dog", "in_region", "bottom"), ("cat", "below", "dog")],
    ],
)
def test_cycles_on_an_axis_are_contradictions(triples: list[tuple[str, str, str]]) -> None:
    with pytest.raises(ContradictionError) as error:
        planned(PROMPT, triples)
    for subject, predicate, ground in triples:
        assert f"'{subject} {predicate} {ground}'" in str(error.value)


def test_places_that_can_hold_together_pass() -> None:
    triples = [
        ("cat", "in_region", "left"),
        ("cat", "in_region", "top"),
        ("cat", "left_of", "dog"),
        ("dog", "in_region", "left"),
    ]
    planned(PROMPT, triples)


def test_an_unknown_place_names_the_nearest() -> None:
    with pytest.raises(UnknownPluginError, match="Did you mean 'in_region:top_left'"):
        planned(PROMPT, [("cat", "in_region", "topleft")])


@pytest.mark.parametrize(
    "triples",
    [
        [("cat", "left_of", "dog"), ("dog", "right_of", "cat")],
        [("cat", "left_of", "dog"), ("dog", "above", "cat")],
        [("cat", "left_of", "dog"), ("dog", "left_of", "bus"), ("cat", "left_of", "bus")],
        [("cat", "next_to", "dog"), ("dog", "next_to", "cat")],
    ],
)
def test_scenes_that_can_hold_pass(triples: list[tuple[str, str, str]]) -> None:
    planned(PROMPT, triples)


def test_unknown_predicate_names_the_nearest() -> None:
    with pytest.raises(UnknownPluginError, match=r"'left_off'.*Did you mean 'left_of'"):
        planned(PROMPT, [("cat", "left_off", "dog")])


def test_wrong_number_of_grounds() -> None:
    with pytest.raises(SceneError, match="takes 1 grounds, not 2"):
        planned(PROMPT, [("cat", "left_of", ["dog", "bus"])])


CONTRADICTION = "a cat left of a dog. the dog left of the cat. the dog above a bus."


def test_in_prose_what_contradicts_is_left_out_and_named() -> None:
    scene = SpatialGuide().parse(CONTRADICTION)
    assert [relation.predicate for relation in scene.relations] == ["left_of", "above"]
    assert "'dog left_of cat' (it contradicts what was said before)" in scene.ignored
    with pytest.warns(UnguidedWarning, match="it contradicts what was said before"):
        SpatialGuide(backend="tiny", steps=1)(CONTRADICTION)


def test_strict_prose_and_short_prompts_must_hold_together() -> None:
    with pytest.raises(ContradictionError):
        SpatialGuide(strict=True).parse(CONTRADICTION)
    with pytest.raises(ContradictionError):
        SpatialGuide().parse("a cat left of a dog and the dog left of the cat")


def test_in_prose_a_phrase_without_a_plugin_is_no_error() -> None:
    assert SpatialGuide().parse("A shop stands across from a bank. It rains. Nobody is there.").relations == ()
