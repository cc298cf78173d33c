from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spatialguide.contracts import Benchmark, Case, Detection
from spatialguide.errors import EvaluationError
from spatialguide.guide import SpatialGuide
from spatialguide.registry import Registry
from spatialguide_plugins.benchmarks.compbench import CompBench
from spatialguide_plugins.benchmarks.geneval import GenEval
from spatialguide_plugins.benchmarks.geneval2 import GenEval2
from spatialguide_plugins.benchmarks.spatial import MultiObject, Visor
from spatialguide_plugins.tiny.backend import objects

NAMES = ("cat", "dog", "bus", "tree", "car", "elephant", "clock")
SIZE = (64, 64)


def made(registry: Registry, name: str, **options: Any) -> Benchmark:
    benchmark: Benchmark = registry.get("benchmarks", name)(**options)
    return benchmark


def box(label: str, x: float, y: float) -> Detection:
    return Detection(label, 0.9, (x - 4, y - 4, x + 4, y + 4))


@pytest.mark.slow
def test_visor_takes_the_models_names_or_coco(registry: Registry) -> None:
    visor = made(registry, "visor")
    cases = visor.cases(NAMES, 8, seed=0)
    assert len(cases) == 8
    guide = SpatialGuide(registry=registry)
    asked = [visor.labels(case, guide.parse(case.prompt)) for case in cases]
    assert all(len(names) == 2 and set(names) < set(NAMES) for names in asked)
    assert visor.cases(NAMES, 8, seed=0) == cases != visor.cases(NAMES, 8, seed=1)
    coco = {name for case in visor.cases(None, 400, seed=0) for name in visor.labels(case, guide.parse(case.prompt))}
    assert len(coco) == 80
    assert "cat" in Visor(names=["cat", "dog"]).cases(NAMES, 4, seed=0)[0].prompt
    with pytest.raises(EvaluationError, match="names must be a list"):
        Visor(names="cat")


def test_visor_of_given_pairs_only() -> None:
    pairs = [["cat", "pizza"], ["dog", "apple"]]
    cases = Visor(pairs=pairs).cases(NAMES, 100, seed=0)
    assert len(cases) == 16  # two pairs, four relations, both ways round
    assert all(any(all(name in case.prompt for name in pair) for pair in pairs) for case in cases)
    with pytest.raises(EvaluationError, match="pairs must be a list of pairs"):
        Visor(pairs=["cat", "dog"])
    with pytest.raises(EvaluationError, match="pairs must be a list of pairs"):
        Visor(pairs=[["cat", "cat"]])


def test_many_objects_are_read_as_they_were_meant(registry: Registry) -> None:
    cases = made(registry, "multi").cases(NAMES, 60, seed=3)
    guide = SpatialGuide(registry=registry)
    sizes = set()
    for number, case in enumerate(cases):
        scene = guide.parse(case.prompt)  # raises where the relations cannot hold together
        sizes.add((len(scene.objects), len(scene.relations)))
        assert 3 <= len(scene.objects) <= 5
        assert len(scene.relations) == len(scene.objects) - 1 + number % 2, case.prompt
    assert sizes == {(n, r) for n in (3, 4, 5) for r in (n - 1, n)}


@pytest.mark.parametrize("objects", [(1, 3), (4, 3), (3,), 3, ("3", "4")])
def test_many_objects_need_sound_numbers(objects: Any) -> None:
    with pytest.raises(EvaluationError, match="objects must be two numbers"):
        MultiObject(objects)
    with pytest.raises(EvaluationError, match="there are 2 names"):
        MultiObject().cases(("cat", "dog"), 1, seed=0)


def test_visors_rule(registry: Registry) -> None:
    visor, relations = made(registry, "visor"), registry.relations()
    case = Case("a cat to the left of a dog", ())
    scene = SpatialGuide(registry=registry).parse(case.prompt)
    assert visor.labels(case, scene) == ("cat", "dog")
    assert visor.score(case, scene, [box("cat", 10, 9), box("dog", 50, 9)], SIZE, relations) == (True, 1.0)
    assert visor.score(case, scene, [box("cat", 50, 9), box("dog", 10, 9)], SIZE, relations) == (True, 0.0)
    assert visor.score(case, scene, [box("cat", 10, 9)], SIZE, relations) == (False, 0.0)


def test_compbench_reads_its_file(tmp_path: Path, registry: Registry) -> None:
    file = tmp_path / "spatial_val.txt"
    lines = [
        "a girl on the top of a frog",
        "a frog behind a girl.",
        "",
        "a cup near a box.",
        "an owl on the left of a painting",
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    benchmark = CompBench(str(file))
    girl, cup, owl = benchmark.cases(None, 10, seed=0)
    assert owl.data == ("owl", "painting")
    assert (girl.prompt, cup.prompt) == ("a girl on the top of a frog", "a cup near a box")
    scene = SpatialGuide(registry=registry).parse(girl.prompt)
    assert benchmark.labels(girl, scene) == ("person", "frog")
    boxes = [box("person", 30, 10), box("frog", 30, 50)]
    assert benchmark.score(girl, scene, boxes, SIZE, {}) == (True, pytest.approx(0.5 + 0.25 * 0.9 * 2))
    assert benchmark.score(girl, scene, boxes[:1], SIZE, {}) == (False, 0.0)


def test_geneval_reads_its_metadata(tmp_path: Path, registry: Registry) -> None:
    lines = [
        {"tag": "counting", "include": [{"class": "cup", "count": 2}], "prompt": "a photo of two cups"},
        {
            "tag": "position",
            "include": [{"class": "bed", "count": 1}, {"class": "dog", "count": 1, "position": ["right of", 0]}],
            "prompt": "a photo of a dog right of a bed",
        },
    ]
    file = tmp_path / "evaluation_metadata.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    benchmark = GenEval(str(file))
    (case,) = benchmark.cases(None, 10, seed=0)
    assert case.labels == ("bed", "dog")
    scene = SpatialGuide(registry=registry).parse(case.prompt)
    assert benchmark.score(case, scene, [box("bed", 10, 9), box("dog", 50, 9)], SIZE, {}) == (True, 1.0)
    assert benchmark.score(case, scene, [box("bed", 50, 9), box("dog", 10, 9)], SIZE, {}) == (True, 0.0)
    assert benchmark.score(case, scene, [box("dog", 10, 9)], SIZE, {}) == (False, 0.0)


def test_geneval2_reads_its_file_and_counts_exactly(tmp_path: Path, registry: Registry) -> None:
    lines = [
        {
            "prompt": "two green cars in front of a cow",
            "atom_count": 5,
            "vqa_list": [["How many cars are in the image?", "two"], ["Are the cars in front of the cow?", "Yes"]],
            "skills": ["count", "position"],
        },
        {"prompt": "seven cups", "atom_count": 2, "vqa_list": [["How many cups?", "seven"]], "skills": ["count"]},
    ]
    file = tmp_path / "geneval2_data.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert len(GenEval2(str(file)).cases(None, 10, seed=0)) == 2
    benchmark = GenEval2(str(file), skill="position")
    (case,) = benchmark.cases(None, 10, seed=0)
    scene = SpatialGuide(registry=registry).parse(case.prompt)
    assert benchmark.labels(case, scene) == ("car", "cow")
    cow, cars = box("cow", 32, 20), [box("car", 28, 45), box("car", 38, 45)]
    relations = registry.relations()
    assert benchmark.score(case, scene, [cow, *cars], SIZE, relations) == (True, 1.0)
    assert benchmark.score(case, scene, [cow, *cars[:1]], SIZE, relations) == (True, 0.0)
    assert benchmark.score(case, scene, [box("cow", 32, 60), *cars], SIZE, relations) == (True, 0.0)
    red = [Detection(each.label, each.score, each.box, "red") for each in cars]
    assert benchmark.score(case, scene, [cow, *red], SIZE, relations) == (True, 0.0)
    assert benchmark.score(case, scene, [cow], SIZE, relations) == (False, 0.0)
    file.write_text('{"prompt": "x"}', encoding="utf-8")
    assert len(GenEval2(str(file)).cases(None, 1, seed=0)) == 1
    with pytest.raises(EvaluationError, match=r"is not GenEval 2's geneval2_data.jsonl: a line lacks 'skills'"):
        GenEval2(str(file), skill="position")


def test_geneval2_asks_a_judge_its_own_questions(tmp_path: Path, registry: Registry) -> None:
    line = {
        "prompt": "two cars",
        "atom_count": 2,
        "vqa_list": [["How many cars are in the image?", "two"], ["Are there any cars in the image?", "Yes"]],
        "skills": ["count", "object"],
    }
    file = tmp_path / "geneval2_data.jsonl"
    file.write_text(json.dumps(line), encoding="utf-8")
    benchmark = GenEval2(str(file), judge=True)
    assert not benchmark.boxes
    (case,) = benchmark.cases(None, 10, seed=0)
    scene = SpatialGuide(registry=registry).parse(case.prompt)
    many, there = "How many cars are in the image? two", "Are there any cars in the image? Yes"
    assert benchmark.labels(case, scene) == (many, there)
    whole = (0.0, 0.0, 64.0, 64.0)
    answers = [Detection(there, 0.8, whole), Detection(many, 0.2, whole)]
    assert benchmark.score(case, scene, answers, SIZE, {}) == (True, pytest.approx(0.4))
    unsure = [Detection(there, 0.5, whole), Detection(many, 0.0, whole)]
    assert benchmark.score(case, scene, unsure, SIZE, {}) == (False, pytest.approx((0.5 * 1e-6) ** 0.5))
    file.write_text(json.dumps({**line, "skills": ["count"]}), encoding="utf-8")
    with pytest.raises(EvaluationError, match="is not GenEval 2's"):
        GenEval2(str(file), judge=True)


def test_colours_and_counts_are_of_what_the_bundled_model_knows(registry: Registry) -> None:
    guide = SpatialGuide(registry=registry)
    known = objects()
    for held_out in (False, True):
        for case in made(registry, "colours", held_out=held_out).cases(None, 8, seed=1):
            scene = guide.parse(case.prompt)
            coloured = [(item.attributes[0], item.text) for item in scene.objects]
            assert len(scene.relations) == 1
            assert len({colour for colour, _ in coloured}) == len({name for _, name in coloured}) == 2
            assert {name for _, name in coloured} <= set(known["recoloured"])
            assert any(list(pair) in known["held_out_colours"] for pair in coloured) is held_out
        for case in made(registry, "counts", held_out=held_out).cases(None, 8, seed=1):
            counted, ground = guide.parse(case.prompt).objects
            assert ground.count == 1
            assert ([counted.count, counted.text] in known["held_out_counts"]) is held_out
    alone = made(registry, "counts", related=False, held_out=True).cases(None, 99, seed=0)
    assert len(alone) == len(known["held_out_counts"])
    assert all(not guide.parse(case.prompt).relations for case in alone)
    assert " and " in made(registry, "colours", related=False).cases(None, 1, seed=0)[0].prompt


def test_colours_and_counts_are_judged(registry: Registry) -> None:
    guide, relations = SpatialGuide(registry=registry), registry.relations()
    cup, bowl = Detection("cup", 0.9, (6, 5, 14, 13), "red"), Detection("bowl", 0.9, (46, 5, 54, 13), "blue")
    colours = made(registry, "colours")
    case = Case("a red cup to the left of a blue bowl", ())
    scene = guide.parse(case.prompt)
    assert colours.score(case, scene, [cup, bowl], SIZE, relations) == (True, 1.0)
    assert colours.score(case, scene, [cup, Detection("bowl", 0.9, bowl.box, "red")], SIZE, relations) == (False, 0.0)
    assert colours.score(Case("x", ()), guide.parse("a red cup to the right of a blue bowl"), [cup, bowl], SIZE, relations) == (
        True,
        0.0,
    )
    counts = made(registry, "counts")
    two = guide.parse("two cups to the left of a bowl")
    cups = [box("cup", 10, 9), box("cup", 22, 9)]
    assert counts.score(case, two, [*cups, bowl], SIZE, relations) == (True, 1.0)
    assert counts.score(case, two, [*cups, box("cup", 34, 9), bowl], SIZE, relations) == (False, 0.0)
    assert counts.score(case, two, [box("cup", 10, 9), box("cup", 62, 9), bowl], SIZE, relations) == (True, 0.0)


def test_geneval_finds_the_pictures_of_its_layout(tmp_path: Path) -> None:
    position = {"class": "dog", "count": 1, "position": ["right of", 0]}
    lines = [
        {"tag": "position", "include": [{"class": "bed", "count": 1}, position], "prompt": "a photo of a dog right of a bed"},
        {"tag": "colors", "include": [{"class": "bed", "count": 1, "color": "red"}], "prompt": "a photo of a red bed"},
    ]
    for number, line in enumerate(lines):
        (tmp_path / f"{number:05}" / "samples").mkdir(parents=True)
        (tmp_path / f"{number:05}" / "metadata.jsonl").write_text(json.dumps(line), encoding="utf-8")
        for image in range(2):
            (tmp_path / f"{number:05}" / "samples" / f"{image:04}.png").touch()
    ((case, paths),) = GenEval().pictures(tmp_path)
    assert (case.labels, [path.name for path in paths]) == (("bed", "dog"), ["0000.png", "0001.png"])
    with pytest.raises(EvaluationError, match="is not as GenEval fills it"):
        GenEval().pictures(tmp_path / "00000")
    with pytest.raises(EvaluationError, match="option file=evaluation_metadata"):
        GenEval().cases(None, 1, seed=0)


def test_compbench_finds_the_pictures_of_its_layout(tmp_path: Path) -> None:
    for name in ("a cup near a box_000000.png", "a cup near a box_000001.png", "fog_000002.png", "notes.txt"):
        (tmp_path / name).touch()
    ((case, paths),) = CompBench().pictures(tmp_path)
    assert (case.prompt, case.data, len(paths)) == ("a cup near a box", ("cup", "box"), 2)
    with pytest.raises(EvaluationError, match="holds no images named PROMPT_NUMBER"):
        CompBench().pictures(tmp_path / "none")
    with pytest.raises(EvaluationError, match="option file=spatial_val"):
        CompBench().cases(None, 1, seed=0)


@pytest.mark.parametrize("name", ["t2i", "geneval", "geneval2", "spatialbench"])
def test_files_that_cannot_be_read_are_named(name: str, tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(EvaluationError, match="cannot read"):
        made(registry, name, file=str(tmp_path / "none"))


def test_a_file_that_is_no_metadata_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a cat\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="one JSON object per line"):
        GenEval(str(tmp_path / "x"))
