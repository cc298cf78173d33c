from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spatialguide.errors import SceneError
from spatialguide.guide import SpatialGuide
from spatialguide.scenes.records import from_record, load_scene, to_record

PROMPT = "two red balls left of a blue ball, a moon in the top left corner, a bench between two trees"


def test_a_parsed_scene_survives_the_way_to_a_record_and_back() -> None:
    scene = SpatialGuide().parse(PROMPT)
    record = json.loads(json.dumps(to_record(scene)))
    assert record["relations"] == [
        ["o1", "left_of", "o2"],
        ["o3", "in_region", "top_left"],
        ["o4", "between", "o5", "o5"],
    ]
    again = from_record(record)
    assert again.objects == scene.objects
    assert [(r.subject, r.predicate, r.objects) for r in again.relations] == [
        (r.subject, r.predicate, r.objects) for r in scene.relations
    ]


def test_a_dumped_scene_is_read_too(tmp_path: Path) -> None:
    scene = SpatialGuide().parse(PROMPT)
    path = tmp_path / "scene.json"
    path.write_text(scene.model_dump_json(), encoding="utf-8")
    assert load_scene(path, PROMPT) == scene


def test_yaml_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text(
        """
        objects:
          - {id: a, text: ball, attributes: [blue]}
          - {id: b, text: ball, attributes: [red], count: 2}
        relations:
          - [b, left_of, a]
          - [moon, in_region, top]
          - [a, below, moon]
        """,
        encoding="utf-8",
    )
    scene = load_scene(path, "two red balls, a blue ball and a moon")
    assert [scene.prompt[slice(*o.span)] for o in scene.objects] == ["ball", "balls", "moon"]
    assert scene.objects[0].span.start > scene.objects[1].span.start
    assert scene.describe() == (
        "objects: blue ball, red ball, moon; relations: red ball left_of blue ball, moon in_region top, blue ball below moon"
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "must hold the keys"),
        ({"prompt": "a dog", "relation": []}, "unknown key 'relation'"),
        ({"prompt": "a cat", "relations": []}, "belongs to another prompt"),
        ({"prompt": "a dog", "relations": [["dog", "left_of", "cat"]]}, "'cat' does not occur"),
        ({"prompt": "a dog", "relations": ["dog left_of cat"]}, "scene: 'relations.0'"),
        ({"prompt": "a dog", "relations": [["dog"]]}, "scene: 'relations.0'"),
        ({"prompt": "a dog", "objects": ["dog"]}, "scene: 'objects.0'"),
        ({"prompt": "a dog", "objects": [{"text": "dog", "colour": "red"}]}, "unknown key 'objects.0.colour'"),
        ({"prompt": "a dog", "objects": [{"text": "dog", "count": 0}]}, "scene: 'objects.0.count'"),
        (
            {"prompt": "a dog", "objects": [{"text": "dog", "span": [2, 99]}]},
            r"outside the prompt \(0\.\.5\): count its characters",
        ),
        ({"prompt": "a dog", "relations": [["dog", "above", "dog"]]}, "to itself"),
        ({"prompt": "a dog", "objects": 5}, "scene: 'objects'"),
        ({"prompt": "a dog", "relations": 5}, "scene: 'relations'"),
        ({"prompt": "a dog", "objects": [{"text": "dog", "span": [2]}]}, "scene: 'objects.0.span"),
        ({"prompt": "a dog", "objects": [{"text": "dog", "attributes": "red"}]}, "scene: 'objects.0.attributes'"),
        ({"prompt": "a dog", "objects": [{"id": 1, "text": "dog"}, {"id": 1, "text": "a"}]}, "two objects have the id '1'"),
        ({"prompt": "a dog", "relations": [{"subject": 0}]}, "scene: 'relations.0.predicate'"),
    ],
)
def test_faults_are_named(record: Any, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        from_record(record, "a dog")


def test_a_record_without_a_prompt_needs_one_beside_it() -> None:
    assert from_record({"relations": []}, "a dog").prompt == "a dog"
    with pytest.raises(SceneError, match="no prompt"):
        from_record({"relations": []})


def test_on_is_a_relation_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text("prompt: a cat on a mat\nrelations:\n  - [cat, on, mat]\n", encoding="utf-8")
    assert load_scene(path).describe() == "objects: cat, mat; relations: cat on mat"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="cannot read scene"):
        load_scene(tmp_path / "none.json")
    path = tmp_path / "bad.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(SceneError, match="neither JSON nor YAML"):
        load_scene(path)


@pytest.mark.parametrize(
    ("prompt", "relation", "spans"),
    [
        ("a <cat-toy> beside a dog", ["<cat-toy>", "left_of", "dog"], ["<cat-toy>", "dog"]),
        ("a <Cat-toy> beside a dog", ["dog", "above", "<cat-toy>"], ["dog", "<Cat-toy>"]),
        ("a <cat-toy> beside a dog", ["cat-toy", "left_of", "dog"], ["cat-toy", "dog"]),
        ("two <toy>s beside a dog", ["<toy>", "left_of", "dog"], ["<toy>s", "dog"]),
    ],
)
def test_a_textual_inversion_is_a_name(prompt: str, relation: list[str], spans: list[str]) -> None:
    scene = from_record({"prompt": prompt, "relations": [relation]})
    assert [prompt[slice(*item.span)] for item in scene.objects] == spans


def test_a_name_is_not_looked_up_inside_a_tag() -> None:
    prompt = "<lora:cat:0.8> a <cat-toy> beside a cat"
    scene = from_record({"prompt": prompt, "relations": [["cat", "left_of", "<cat-toy>"]]})
    assert [item.span.start for item in scene.objects] == [prompt.rindex("cat"), prompt.index("<cat-toy>")]
    with pytest.raises(SceneError, match="'pets' does not occur"):
        from_record({"prompt": "<lora:pets:0.8> a cat", "relations": [["pets", "left_of", "cat"]]})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "a dog", "objects": [{"text": " ", "span": [2, 5]}]}, "scene: 'objects.0.text'"),
        ({"prompt": "a dog", "objects": [{"text": "\x1c", "span": [2, 5]}]}, "'objects.0.text': a name must not be blank"),
        ({"prompt": "a dog", "relations": [["", "left_of", "dog"]]}, "a name must not be blank"),
        ({"prompt": "a dog", "objects": [{"text": "dog", "count": 10**9}]}, "scene: 'objects.0.count'"),
        ({"prompt": "a dog", "objects": [{"text": "dog", "count": True}]}, "scene: 'objects.0.count'"),
        ({"prompt": "x" * 120_000, "relations": []}, "scene: 'prompt'"),
        ({"prompt": "x" * 120_000, "relations": [{"subject": 0, "predicate": "left_of"}]}, "scene: 'prompt'"),
    ],
)
def test_scenes_have_bounds(record: Any, message: str) -> None:
    with pytest.raises(SceneError, match=message) as error:
        from_record(record)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["a: &a [*a]", "[" * 3000, "prompt: a dog\nprompt: a cat", "!!python/name:os.system"])
def test_scene_files_are_read_within_limits(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SceneError, match="neither JSON nor YAML"):
        load_scene(path)
    with pytest.raises(SceneError, match="larger than"):
        load_scene("/dev/zero")
