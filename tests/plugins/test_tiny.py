"""The bundled model and its detector: what ships, that it loads everywhere, and that guidance does its work on it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from spatialguide import SpatialGuide
from spatialguide.config import make_config
from spatialguide.contracts import Case
from spatialguide.errors import ConfigError
from spatialguide.evaluation.prompts import bundled_names, sample_prompts
from spatialguide.evaluation.visor import aggregate
from spatialguide.registry import Registry
from spatialguide_plugins.benchmarks.spatial import Visor
from spatialguide_plugins.tiny.backend import WEIGHTS, TinyBackend, objects
from spatialguide_plugins.tiny.detector import TinyDetector

DATA = Path(__file__).parent.parent / "data"
NAMES = TinyBackend().vocabulary


@pytest.fixture(scope="module")
def detector() -> TinyDetector:
    return TinyDetector()


def test_the_folder_is_an_ordinary_diffusers_pipeline() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS / "pipeline", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert {part.dtype for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder)} == {torch.float32}
    image = pipeline("a cat", num_inference_steps=2).images[0]
    assert image.size == (128, 128)


def test_what_ships_is_safetensors_in_half_precision_and_small() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".txt", ".md"}
    weights = [p for p in files if p.suffix == ".safetensors"]
    assert all(p.stat().st_size < 16 * 2**20 for p in weights)
    assert sum(p.stat().st_size for p in files) <= 60 * 2**20
    from safetensors import safe_open

    for path in weights:
        with safe_open(path, "pt") as shard:
            assert all(shard.get_tensor(name).dtype == torch.float16 for name in shard.keys())  # noqa: SIM118


def test_names_plurals_and_colours_are_one_token_a_word(tokenizer) -> None:
    known = objects()
    assert len(NAMES) == len(known["names"]) >= 80
    assert len(set(bundled_names("coco")) & set(NAMES)) >= 60
    words = [*NAMES, *known["names"].values(), *known["colours"], "two", "three", "four"]
    assert all(len(tokenizer.tokenize(word)) == len(word.split()) for word in words)
    assert set(known["recoloured"]) <= set(NAMES)
    assert all(nearest in NAMES for near in known["near"].values() for nearest in near)
    assert not set(known["near"]) & set(NAMES)


def test_what_ships_of_the_world_is_what_training_shows() -> None:
    from training import things

    known = objects()
    assert tuple(known["names"]) == things.NAMES
    assert {tuple(pair) for pair in known["held_out_colours"]} == things.HELD_OUT_COLOURS
    assert {tuple(pair) for pair in known["held_out_counts"]} == things.HELD_OUT_COUNTS


@pytest.mark.parametrize(
    ("prompt", "doubts"),
    [
        ("a red car to the left of two cats", []),
        ("a lorry above a cat", ["'lorry' is not among the 98 things that the bundled model draws; nearest: truck, car"]),
        ("a cat above a giraff", ["'giraff' is not among the 98 things that the bundled model draws; nearest: giraffe"]),
        ("a purple banana", ["the bundled model draws 'banana' in its own colours alone, not in purple"]),
        ("a turquoise car", ["'turquoise' is not among the colours that the bundled model knows: red, orange"]),
        ("five cats", ["the bundled model has never seen more than 4 of a kind: 5 cats are too many for it"]),
    ],
)
def test_what_the_model_does_not_know_is_named_with_the_nearest(prompt: str, doubts: list[str]) -> None:
    found = TinyBackend().doubts(SpatialGuide().parse(prompt))
    assert len(found) == len(doubts)
    assert all(line.startswith(start) for line, start in zip(found, doubts, strict=True))


def test_rare_pairs_are_those_that_training_never_showed() -> None:
    from training.things import HELD_OUT_PAIRS

    registry = Registry()
    rare, common = (registry.make("benchmarks", name, {}).cases(NAMES, 40, 3) for name in ("rare", "common"))
    guide = SpatialGuide()

    def pairs(cases) -> list[frozenset[str]]:
        return [frozenset(item.text for item in guide.parse(case.prompt).objects) for case in cases]

    assert len(rare) == len(common) == 40
    assert all(pair in HELD_OUT_PAIRS for pair in pairs(rare))
    assert not any(pair in HELD_OUT_PAIRS for pair in pairs(common))


def test_loading_restores_the_libraries_settings() -> None:
    from diffusers.utils import logging

    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    TinyBackend().load()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def held_out_scenes() -> tuple[list[Image.Image], list[list[dict]]]:
    labels = json.loads((DATA / "scenes.json").read_text())
    with Image.open(DATA / "scenes.png") as sheet:
        columns = sheet.width // 128
        corners = [(number % columns * 128, number // columns * 128) for number in range(len(labels))]
        return [sheet.crop((x, y, x + 128, y + 128)) for x, y in corners], labels


@pytest.mark.slow
def test_detector_on_held_out_scenes(detector: TinyDetector) -> None:
    """Precision and recall >= 97%, colours >= 95%; a hit has the right name and its centre within 8 pixels, each thing once."""
    images, labels = held_out_scenes()
    right = found = present = coloured = hues = 0
    for listed, expected in zip(detector(images, NAMES), labels, strict=True):
        left = list(expected)
        found += len(listed)
        present += len(left)
        for detection in listed:
            for item in left:
                x0, y0, x1, y1 = item["box"]
                centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
                if item["name"] == detection.label and np.abs(centre - detection.centroid).max() <= 8:
                    left.remove(item)
                    right += 1
                    if item["colour"]:
                        coloured, hues = coloured + 1, hues + (item["colour"] == detection.colour)
                    break
    assert present > 200
    assert coloured > 30
    assert right / found >= 0.97
    assert right / present >= 0.97
    assert hues / coloured >= 0.95


def test_detector_finds_every_one_of_a_kind(detector: TinyDetector) -> None:
    images, labels = held_out_scenes()
    several = [i for i, items in enumerate(labels) if len(items) > len({item["name"] for item in items})]
    assert len(several) > 10
    counts = [Counter(found.label for found in listed) for listed in detector([images[i] for i in several], NAMES)]
    right = [found == Counter(item["name"] for item in labels[i]) for i, found in zip(several, counts, strict=True)]
    assert np.mean(right) >= 0.9


def test_detector_finds_nothing_where_nothing_is(detector: TinyDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert detector([Image.new("RGB", (128, 128), "#d0e0f0"), Image.fromarray(noise)], NAMES) == [[], []]
    assert detector([], NAMES) == []


def test_detector_knows_only_the_labels_it_was_asked_for(detector: TinyDetector) -> None:
    (image, *_), (labels, *_) = held_out_scenes()
    names = {item["name"] for item in labels}
    (found,) = detector([image], sorted(names))
    assert {d.label for d in found} == names
    assert detector([image], ["walrus"]) == [[]]


@pytest.fixture(scope="module")
def run(detector: TinyDetector, registry: Registry):
    """Eight VISOR prompts, two images each, unguided and guided from the same seeds."""
    guide = SpatialGuide(steps=12, width=128, height=128)
    prompts = sample_prompts(NAMES[:24], 8, seed=5)
    scenes = [guide.parse(prompt) for prompt in prompts]
    scores, results = {}, {}
    for guided in (False, True):
        result = guide(prompts, scene=scenes, images_per_prompt=2, guided=guided)
        rows = [
            Visor().score(Case(prompts[i // 2], ()), scenes[i // 2], boxes, result.images[0].size, registry.relations())
            for i, boxes in enumerate(detector(result.images, NAMES))
        ]
        detected, correct = np.array(rows, dtype=float).T
        scores[guided], results[guided] = aggregate(np.arange(len(rows)) // 2, detected, correct, 2), result
    return scores, results


@pytest.mark.slow
def test_the_model_draws_and_guidance_places(run) -> None:
    scores, _ = run
    assert scores[False].oa >= 50
    assert scores[True].cond >= 80
    assert scores[True].uncond > scores[False].uncond


@pytest.mark.slow
def test_guidance_moves_centroids_the_way_the_loss_asks(run) -> None:
    trace = run[1][True].trace
    first, last = trace.steps[0], trace.steps[-1]
    before = sum(image.terms["alignment"] for image in first.images)
    after = sum(image.terms["alignment"] for image in last.images)
    assert after < before
    assert trace.skipped == 0


def test_strength_zero_is_bit_identical_to_the_plain_pipeline(tiny_pipeline: StableDiffusionPipeline) -> None:
    prompt = "a cat to the left of a dog"
    usual = {"num_inference_steps": 4, "guidance_scale": 3.0, "width": 64, "height": 64}
    plain = tiny_pipeline(prompt, generator=torch.Generator().manual_seed(0), **usual)
    zero = SpatialGuide(steps=4, guidance={"strength": 0}, guidance_scale=3.0)(prompt, seed=0)
    assert np.array_equal(np.asarray(plain.images[0]), np.asarray(zero.images[0]))


@pytest.mark.slow
def test_an_image_does_not_depend_on_its_batch() -> None:
    guide = SpatialGuide(steps=6)
    prompts = ["a cat to the left of a dog", "a bus above a car"]
    together = guide(prompts, seed=3)
    alone = guide(prompts[1], seed=4)
    difference = np.abs(np.asarray(together.images[1]).astype(int) - np.asarray(alone.images[0]).astype(int))
    # Matrix products of other sizes round differently; an 8-bit picture hardly shows it.
    assert np.percentile(difference, 99) <= 2


def test_guides_share_a_model_and_not_a_scheduler() -> None:
    guide = SpatialGuide(steps=3)
    alone = np.asarray(guide("a cat above a dog", guided=False).images[0])
    other = guide.with_config(make_config(steps=3, scheduler="EulerDiscrete"))
    assert other.pipeline.unet is guide.pipeline.unet
    different = np.asarray(other("a cat above a dog", guided=False).images[0])
    assert type(guide.pipeline.scheduler).__name__ == "DDIMScheduler"
    assert type(guide.pipeline.components["scheduler"]).__name__ == "DDIMScheduler"
    assert np.array_equal(alone, np.asarray(guide("a cat above a dog", guided=False).images[0]))
    assert np.array_equal(alone, np.asarray(other.with_config(guide.config)("a cat above a dog", guided=False).images[0]))
    assert not np.array_equal(alone, different)


@pytest.mark.parametrize("scheduler", ["DDIM", "DDPM", "EulerDiscrete", "DPMSolverMultistep", "PNDM"])
def test_schedulers_by_name(scheduler: str) -> None:
    options = {"skip_prk_steps": True} if scheduler == "PNDM" else {}
    result = SpatialGuide(steps=6, scheduler=scheduler, scheduler_options=options)("a cat above a dog")
    assert np.asarray(result.images[0]).std() > 5
    assert result.trace.steps


@pytest.mark.slow
def test_a_backdrop_is_guided_like_any_picture() -> None:
    """The corners keep the colour; the same hooks guide."""
    options = {"backend_options": {"backdrop": "navy", "noise": 0.8}, "width": 160, "height": 128}
    result = SpatialGuide(**options)("a cat to the left of a dog", seed=1)
    (image,) = result.images
    assert image.size == (160, 128)
    red, green, blue = image.getpixel((0, 0))
    assert blue > max(red, green)
    assert max(red, green) < 100
    assert len(result.trace.steps) > 0
    with pytest.raises(ConfigError, match="a colour that Pillow knows"):
        TinyBackend(backdrop="nosuchcolour")
    with pytest.raises(ConfigError, match="noise must be a number above 0"):
        TinyBackend(noise=0)


def test_paper_preset_runs_on_the_tiny_model() -> None:
    result = SpatialGuide(preset="paper", steps=4)("a cat above a dog")
    assert len(result.trace.steps) == 4
    assert set(result.trace.steps[0].images[0].terms) == {"alignment", "presence", "balance"}
