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
from spatialguide_plugins.benchmarks.spatial import MultiObject, Visor

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


@pytest.mark.parametrize("name", ["t2i", "geneval"])
def test_files_that_cannot_be_read_are_named(name: str, tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(EvaluationError, match="cannot read"):
        made(registry, name, file=str(tmp_path / "none"))


def test_a_file_that_is_no_metadata_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a cat\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="one JSON object per line"):
        GenEval(str(tmp_path / "x"))
