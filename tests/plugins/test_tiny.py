"""The bundled model and its detector: what ships, that it loads everywhere, and that guidance does its work on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from spatialguide import SpatialGuide
from spatialguide.config import make_config
from spatialguide.errors import ConfigError
from spatialguide.evaluation.prompts import sample_prompts
from spatialguide.evaluation.visor import score_image, visor_scores
from spatialguide.registry import Registry
from spatialguide_plugins.tiny.backend import WEIGHTS, TinyBackend
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
    assert image.size == (64, 64)


def test_what_ships_is_safetensors_in_half_precision_and_small() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".txt", ".md"}
    weights = [p for p in files if p.suffix == ".safetensors"]
    assert all(p.stat().st_size < 16 * 2**20 for p in weights)
    assert sum(p.stat().st_size for p in files) < 40 * 2**20
    from safetensors import safe_open

    for path in weights:
        with safe_open(path, "pt") as shard:
            assert all(shard.get_tensor(name).dtype == torch.float16 for name in shard.keys())  # noqa: SIM118


def test_at_least_24_names_each_one_token_a_word(tokenizer) -> None:
    assert len(NAMES) >= 24
    assert all(len(tokenizer.tokenize(name)) == len(name.split()) for name in NAMES)


def test_rare_pairs_are_those_that_training_never_showed() -> None:
    from training.scenes import HELD_OUT

    registry = Registry()
    rare, common = (registry.make("benchmarks", name, {}).cases(NAMES, 40, 3) for name in ("rare", "common"))
    held_out = {frozenset(pair) for pair in HELD_OUT}
    guide = SpatialGuide()

    def pairs(cases) -> list[frozenset[str]]:
        return [frozenset(item.text for item in guide.parse(case.prompt).objects) for case in cases]

    assert len(rare) == len(common) == 40
    assert all(pair in held_out for pair in pairs(rare))
    assert not any(pair in held_out for pair in pairs(common))


def test_loading_restores_the_libraries_settings() -> None:
    from diffusers.utils import logging

    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    TinyBackend().load()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_detector_on_held_out_scenes(detector: TinyDetector) -> None:
    """Precision and recall >= 98%; a hit has the right name and its centre within 4 pixels."""
    with Image.open(DATA / "scenes.png") as sheet:
        pixels = np.asarray(sheet)
    labels = json.loads((DATA / "scenes.json").read_text())
    columns = pixels.shape[1] // 64
    images = []
    for number in range(len(labels)):
        y, x = (place * 64 for place in divmod(number, columns))
        images.append(Image.fromarray(pixels[y : y + 64, x : x + 64]))
    right = found = present = 0
    for listed, expected in zip(detector(images, NAMES), labels, strict=True):
        left = list(expected)
        found += len(listed)
        present += len(left)
        for detection in listed:
            for item in left:
                x0, y0, x1, y1 = item["box"]
                centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
                if item["name"] == detection.label and np.abs(centre - detection.centroid).max() <= 4:
                    left.remove(item)
                    right += 1
                    break
    assert present > 200
    assert right / found >= 0.98
    assert right / present >= 0.98


def test_detector_finds_nothing_where_nothing_is(detector: TinyDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert detector([Image.new("RGB", (64, 64), "#d0e0f0"), Image.fromarray(noise)], NAMES) == [[], []]
    assert detector([], NAMES) == []


def test_detector_knows_only_the_labels_it_was_asked_for(detector: TinyDetector) -> None:
    with Image.open(DATA / "scenes.png") as sheet:
        image = sheet.crop((0, 0, 64, 64))
    names = {item["name"] for item in json.loads((DATA / "scenes.json").read_text())[0]}
    (found,) = detector([image], sorted(names))
    assert {d.label for d in found} == names
    assert detector([image], ["walrus"]) == [[]]


@pytest.fixture(scope="module")
def run(detector: TinyDetector, registry: Registry):
    """Twelve VISOR prompts, two images each, unguided and guided from the same seeds."""
    guide = SpatialGuide(steps=15)
    prompts = sample_prompts(NAMES, 12, seed=5)
    scenes = [guide.parse(prompt) for prompt in prompts]
    scores, results = {}, {}
    for guided in (False, True):
        result = guide(prompts, scene=scenes, images_per_prompt=2, guided=guided)
        rows = [
            score_image(i // 2, scenes[i // 2], boxes, registry.relations(), result.images[0].size)
            for i, boxes in enumerate(detector(result.images, NAMES))
        ]
        scores[guided], results[guided] = visor_scores(rows), result
    return scores, results


def test_the_model_draws_and_guidance_places(run) -> None:
    scores, _ = run
    assert scores[False].oa >= 50
    assert scores[True].cond >= 80
    assert scores[True].uncond > scores[False].uncond


def test_guidance_moves_centroids_the_way_the_loss_asks(run) -> None:
    trace = run[1][True].trace
    first, last = trace.steps[0], trace.steps[-1]
    before = sum(image.terms["alignment"] for image in first.images)
    after = sum(image.terms["alignment"] for image in last.images)
    assert after < before
    assert trace.skipped == 0


def test_strength_zero_is_bit_identical_to_the_plain_pipeline(tiny_pipeline: StableDiffusionPipeline) -> None:
    prompt = "a cat to the left of a dog"
    plain = tiny_pipeline(prompt, num_inference_steps=4, guidance_scale=3.0, generator=torch.Generator().manual_seed(0))
    zero = SpatialGuide(steps=4, guidance={"strength": 0}, guidance_scale=3.0)(prompt, seed=0)
    assert np.array_equal(np.asarray(plain.images[0]), np.asarray(zero.images[0]))


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


def test_a_backdrop_is_guided_like_any_picture() -> None:
    """The corners keep the colour, which no training scene has; the same hooks guide."""
    options = {"backend_options": {"backdrop": "navy", "noise": 0.8}, "width": 80}
    result = SpatialGuide(**options)("a cat to the left of a dog", seed=1)
    (image,) = result.images
    assert image.size == (80, 64)
    assert image.getpixel((0, 0))[0] < 0.68 * 255  # the darkest that training has
    assert len(result.trace.steps) > 0
    with pytest.raises(ConfigError, match="a colour that Pillow knows"):
        TinyBackend(backdrop="nosuchcolour")
    with pytest.raises(ConfigError, match="noise must be a number above 0"):
        TinyBackend(noise=0)


def test_paper_preset_runs_on_the_tiny_model() -> None:
    result = SpatialGuide(preset="paper", steps=4)("a cat above a dog")
    assert len(result.trace.steps) == 4
    assert set(result.trace.steps[0].images[0].terms) == {"alignment", "presence", "balance"}
