from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from spatialguide import SpatialGuide
from spatialguide.errors import BindingError
from spatialguide.guidance.tokens import Encoding, bind, bind_ids, token_offsets
from spatialguide.scenes.records import from_record, scene_from_triples, to_record
from spatialguide.scenes.scene import Scene, SceneObject, Span


def words(tokenizer: CLIPTokenizer, prompt: str, positions: tuple[int, ...]) -> str:
    ids = tokenizer(prompt)["input_ids"]
    return tokenizer.decode([ids[p] for p in positions]).strip()


def test_single_and_compound_names(tokenizer: CLIPTokenizer) -> None:
    prompt = "a traffic light above a cat"
    scene = scene_from_triples(prompt, [("traffic light", "above", "cat")])
    assert bind(scene, [Encoding(tokenizer)]) == ((2, 3), (6,))


def test_words_of_several_tokens_bind_all_of_them(tokenizer: CLIPTokenizer) -> None:
    prompt = "a flamingo left of a cat"
    bound = bind(scene_from_triples(prompt, [("flamingo", "left_of", "cat")]), [Encoding(tokenizer)])
    assert len(bound[0]) > 1
    assert words(tokenizer, prompt, bound[0]).replace(" ", "") == "flamingo"


def test_repeated_nouns_stay_apart(tokenizer: CLIPTokenizer) -> None:
    prompt = "a red ball left of a blue ball"
    objects = tuple(
        SceneObject(text="ball", head="ball", span=Span(start, start + 4), phrase=Span(start, start + 4)) for start in (6, 26)
    )
    assert bind(Scene(prompt=prompt, objects=objects), [Encoding(tokenizer)]) == ((3,), (8,))


def test_case_blanks_and_other_scripts_keep_their_place(tokenizer: CLIPTokenizer) -> None:
    prompt = "  A   CAT,\n猫 left   of a Dog"
    bound = bind(scene_from_triples(prompt, [("cat", "left_of", "dog")]), [Encoding(tokenizer)])
    assert [words(tokenizer, prompt, positions) for positions in bound] == ["cat", "dog"]


def test_object_past_the_limit_is_an_error_that_says_so(tokenizer: CLIPTokenizer) -> None:
    prompt = "a cat " + "and " * 90 + "a dog"
    scene = scene_from_triples(prompt, [("cat", "left_of", "dog")])
    with pytest.raises(BindingError, match=r"object 'dog' is token 94 .* reads only 77 tokens: shorten"):
        bind(scene, [Encoding(tokenizer)])


@pytest.mark.parametrize(("fillers", "fits"), [(71, True), (72, False)])
def test_the_last_visible_token_is_the_one_before_the_end_token(tokenizer: CLIPTokenizer, fillers: int, fits: bool) -> None:
    prompt = "a cat " + "and " * fillers + "a dog"
    scene = scene_from_triples(prompt, [("cat", "left_of", "dog")])
    if fits:
        position = bind(scene, [Encoding(tokenizer)])[1][0]
        seen = tokenizer(prompt, truncation=True, max_length=77)["input_ids"]
        assert tokenizer.decode([seen[position]]).strip() == "dog"
    else:
        with pytest.raises(BindingError):
            bind(scene, [Encoding(tokenizer)])


def test_two_encoders_share_one_token_axis(tokenizer: CLIPTokenizer) -> None:
    scene = scene_from_triples("a cat above a dog", [("cat", "above", "dog")])
    assert bind(scene, [Encoding(tokenizer), Encoding(tokenizer)]) == ((2,), (5,))


@pytest.mark.slow
@given(before=st.text(max_size=8), between=st.text(max_size=8))
def test_bound_tokens_always_spell_the_object(tokenizer: CLIPTokenizer, before: str, between: str) -> None:
    prompt = f"{before} cat {between} dog"
    start = len(before) + 1
    spans = (Span(start, start + 3), Span(len(prompt) - 3, len(prompt)))
    objects = tuple(SceneObject(text="x", head="x", span=span, phrase=span) for span in spans)
    offsets = token_offsets(tokenizer, prompt)
    for span, positions in zip(spans, bind(Scene(prompt=prompt, objects=objects), [Encoding(tokenizer)]), strict=True):
        assert min(offsets[p].start for p in positions) <= span.start
        assert max(offsets[p].end for p in positions) >= span.end
        assert all(offsets[p].start < span.end and span.start < offsets[p].end for p in positions)


@pytest.mark.parametrize("size", [75, 60])
def test_tokens_of_several_chunks_are_found(tokenizer: CLIPTokenizer, size: int) -> None:
    prompt = "a traffic light " + "and " * 70 + "left of a flamingo"
    scene = scene_from_triples(prompt, [("traffic light", "left_of", "flamingo")])
    own = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = []
    for start in range(0, len(own), size):
        chunk = [tokenizer.bos_token_id, *own[start : start + size], tokenizer.eos_token_id]
        ids += chunk + [tokenizer.pad_token_id] * (77 - len(chunk))
    light, flamingo = bind_ids(scene, tokenizer, ids)
    assert tokenizer.decode([ids[place] for place in light]).strip() == "traffic light"
    assert tokenizer.decode([ids[place] for place in flamingo]).strip() == "flamingo"
    assert min(flamingo) >= 77
    with pytest.raises(BindingError, match="not those of the prompt"):
        bind_ids(scene, tokenizer, ids[:77])


def test_a_thing_that_is_named_twice_is_bound_at_both(tokenizer: CLIPTokenizer) -> None:
    """A second mention that nobody guides draws the thing a second time, somewhere else."""
    prompt = "a cat to the left of a dog, a car below the cat"
    scene = SpatialGuide().parse(prompt)
    assert [item.again for item in scene.objects] == [((44, 47),), (), ()]
    cat, dog, car = bind(scene, [Encoding(tokenizer)])
    words = tokenizer.convert_ids_to_tokens(tokenizer(prompt)["input_ids"])
    assert [words[token] for token in cat] == ["cat</w>", "cat</w>"]
    assert len(dog) == len(car) == 1
    assert from_record(to_record(scene)).objects == scene.objects


def test_a_second_mention_beyond_the_encoders_limit_is_left_out(tokenizer: CLIPTokenizer) -> None:
    scene = SpatialGuide().parse(f"a cat to the left of a dog, {'very ' * 80}near the cat a car")
    cat, *_ = bind(scene.model_copy(update={"objects": scene.objects[:2], "relations": ()}), [Encoding(tokenizer)])
    assert len(cat) == 1
