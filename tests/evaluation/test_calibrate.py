"""Calibration: what it tries, how it chooses, and that it goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import layers_of
from families import FAMILIES, make_family
from PIL import Image
from transformers import CLIPTokenizer
from typer.testing import CliRunner

from spatialguide import SpatialGuide
from spatialguide.commands.main import app
from spatialguide.config import load_config, make_config
from spatialguide.contracts import Backend, Detection, Generation
from spatialguide.errors import EvaluationError, UnsupportedPipelineError
from spatialguide.evaluation.calibrate import Calibrator
from spatialguide.evaluation.candidates import CONFIGURED, candidates, default_prompts
from spatialguide.evaluation.layer_ranking import RankedLayer, layer_sets, rank_layers
from spatialguide.evaluation.runs import Run
from spatialguide.hookspecs import hookimpl
from spatialguide.registry import Registry

PROMPTS = [
    f"a {first} {where} a {second}" for first, second in (("cat", "dog"), ("car", "bus")) for where in ("above", "below")
]
CENTRES = [(0.1, 0.8), (0.9, 0.2), (0.5, 0.4), (0.2, 0.1)]


def nothing(images: Sequence[Image.Image], labels: Sequence[str]) -> list[list[Detection]]:
    """A detector that finds nothing."""
    return [[] for _ in images]


def test_the_layer_that_says_where_things_will_be_comes_first() -> None:
    near = [(0.5 + (x - 0.5) / 9, 0.5 + (y - 0.5) / 9) for x, y in CENTRES]  # a flat map's centroids, yet in the right order
    places = {"still": [(0.5, 0.5)] * 4, "near": near, "wrong": [(1 - x, 1 - y) for x, y in CENTRES]}
    ranked = rank_layers(places, dict.fromkeys(places, 16), CENTRES)
    assert [(layer.name, round(layer.agreement, 6)) for layer in ranked] == [("near", 1), ("still", 0), ("wrong", -1)]


def test_without_a_detector_layers_that_agree_come_first() -> None:
    places = {"one": CENTRES, "other": [(x / 2, y / 2) for x, y in CENTRES], "odd": [(y, x) for x, y in CENTRES]}
    ranked = rank_layers(places, dict.fromkeys(places, 16), [None] * 4)
    assert ranked[-1].name == "odd"


def test_the_coarser_of_the_best_two_layers_is_coarse() -> None:
    ranked = [RankedLayer("fine", 64, 0.9), RankedLayer("coarse", 16, 0.8), RankedLayer("bad", 16, 0.1)]
    best = {"coarse": ["fine"], "mid": ["fine"]}
    assert layer_sets(ranked) == {"best": best, "best two": {"coarse": ["coarse"], "mid": ["fine"]}}
    assert layer_sets(ranked[1:])["best two"] == {"coarse": ["coarse", "bad"], "mid": ["coarse", "bad"]}


def test_candidates_take_methods_by_turns() -> None:
    config, sets = make_config(), {"best": {"coarse": ["a"], "mid": ["a"]}, "usual": None}
    tried = candidates(config, sets, ["gradient", "bias"], seed=0)
    assert len(tried) == 1 + 2 * 2 * 9
    assert next(iter(tried.values())) is config
    assert [each.guidance.method for each in tried.values()][1:5] == ["gradient", "bias"] * 2
    bias = next(each for name, each in tried.items() if name.startswith("bias 4, to 0.2, layers: best"))
    options = {"inside": 4.0, "outside": 4.0, "window": [0.0, 0.2]}
    assert (bias.steerings["boxes"].options, bias.guidance.layers) == (options, sets["best"])


def test_prompts_are_made_of_what_there_is() -> None:
    made = default_prompts(SpatialGuide(), ["cat", "dog"], 4, seed=0)
    assert len(made) == 4
    assert all("cat" in prompt and "dog" in prompt for prompt in made)


def test_the_configuration_names_layers(tiny_pipeline: Any) -> None:
    unet, named = tiny_pipeline.unet, "mid_block.attentions.0.transformer_blocks.0.attn2"
    guide = SpatialGuide(guidance={"layers": {"coarse": [named], "mid": [named]}})
    facts = guide.facts(tiny_pipeline)
    assert list(guide.settings(unet, facts).layers) == [("coarse", named), ("mid", named)]
    # The caller's own come first.
    assert guide.settings(unet, facts, layers_of(unet)).layers == layers_of(unet)
    with pytest.raises(UnsupportedPipelineError, match="no layer 'nowhere'"):
        SpatialGuide(guidance={"layers": {"coarse": ["nowhere"]}}).settings(unet, facts)


class Stub(Calibrator):
    """Draws nothing: bias is right, all else mostly wrong, and the configured one on four images that come late."""

    def _watched(self) -> list[dict[str, Any]]:
        spots = {name: [list(spot) for spot in CENTRES[:2]] for name in ("one", "other")}
        row = {
            "seconds": 1.0,
            "score": 0.0,
            "detections": [["cat", 0.1, 0.2]],
            "places": spots,
            "cells": dict.fromkeys(spots, 16),
        }
        return [row] * len(self.prompts)

    def _draw(self, numbers: Any, method: str, share: float) -> bool:
        if not self._fits(0.0, share):
            return False
        bias = self._study.methods[method].config.guidance.method == "bias"
        for number in self._missing(numbers, method):
            score = float(bias) or (float(4 <= number < 8) if method == CONFIGURED else 0.2)
            row = {"method": method, "seconds": 1.0, "score": score, "part": score}
            self.run.add(self._study.keys(number, method)[0], Image.new("RGB", (8, 8)), row)
        return True


def test_the_better_half_goes_on(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    with run.writing():
        found = Stub(SpatialGuide(), run, PROMPTS * 4, nothing, count=8).calibrate()
        # What a start has drawn changes nothing for the next.
        assert Stub(SpatialGuide(), run, PROMPTS * 4, nothing, count=8).calibrate() == found
    assert found.found.startswith("bias")
    assert found.config.guidance.method == "bias"
    images = {choice.name: choice.images for choice in found.choices}
    # The configured one is drawn to the end, whatever it is worth.
    assert next(iter(images)) == found.found
    assert images.pop(CONFIGURED) == 16
    assert sorted(images.values()) == [4, 4, 4, 8, 8, 16, 16]
    assert (found.check[found.found], found.check[CONFIGURED], found.checked) == (1.0, 0.25, 16)
    assert found.p is not None
    assert found.p < 0.01
    assert not found.stopped


def test_a_budget_that_is_spent_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    with run.writing(), pytest.raises(EvaluationError, match="budget is too small"):
        Stub(SpatialGuide(), run, PROMPTS, nothing, budget=0.0).calibrate()
    with pytest.raises(EvaluationError, match="say where things are"):
        Stub(SpatialGuide(), run, ["a cat"], None)


@pytest.mark.slow
def test_the_command_writes_a_configuration_and_goes_on(tmp_path: Path) -> None:
    texts = tmp_path / "prompts.txt"
    texts.write_text("\n".join(PROMPTS), encoding="utf-8")
    command = [
        "calibrate",
        "--out",
        str(tmp_path / "run"),
        "--prompts",
        str(texts),
        "--candidates",
        "2",
        "--steps",
        "3",
        "--json",
    ]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    rows = (tmp_path / "run" / "rows.jsonl").read_bytes()
    config = load_config(tmp_path / "run" / "guide.yaml")
    assert config.model_dump(mode="json", exclude_unset=True) == found["config"]
    assert (config.steps, len(found["layers"]), len(found["choices"])) == (3, 6, 2)
    comment = (tmp_path / "run" / "guide.yaml").read_text(encoding="utf-8").split("\n")[0]
    assert comment.startswith("# Found by `spatialguide")
    assert (tmp_path / "run" / "sheet.png").exists()
    again = CliRunner().invoke(app, command)
    assert json.loads(again.stdout) == found
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == rows
    assert "not '5 minutes'" in " ".join(CliRunner().invoke(app, ["calibrate", "--budget", "5 minutes"]).output.split())


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
def test_it_runs_on_other_models_without_a_detector(name: str, tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    call = {"width": None, "height": None, "guidance_scale": 5.0, **FAMILIES[name][1]}
    size = call.pop("guidance_scale"), call.pop("width"), call.pop("height")

    class Model(Backend):
        generation = Generation(3, *size, call=call)

        def load(self) -> Any:
            return make_family(name, tokenizer)

    class Plugin:
        @hookimpl
        def spatialguide_backends(self, register: Any) -> None:
            register("model", Model)

    registry = Registry()
    registry.add(Plugin())
    run = Run(tmp_path, {})
    with run.writing():
        # The bundled detector knows none of these words, and is set aside.
        guide = SpatialGuide(registry=registry, backend="model")
        found = Calibrator(guide, run, PROMPTS, nothing, count=3, say=lambda text: None).calibrate()
    assert found.by_maps
    assert len(found.layers) > 2
    assert {choice.name for choice in found.choices} >= {CONFIGURED}
    assert found.config.guidance.layers == layer_sets(found.layers)["best"]
    assert all(-2 <= choice.score <= 1 for choice in found.choices)
    assert found.choices[0].score != found.choices[0].plain
