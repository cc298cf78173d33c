"""Attached often, and from several threads at once: nothing stays behind, nothing mixes."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest
import torch
from conftest import make_pipeline
from torch import nn
from transformers import CLIPTokenizer

from spatialguide import SpatialGuide
from spatialguide.scenes.records import scene_from_triples

PROMPTS = ("a cat to the left of a dog", "a bus above a bird")
SCENES = (
    scene_from_triples(PROMPTS[0], [("cat", "left_of", "dog")]),
    scene_from_triples(PROMPTS[1], [("bus", "above", "bird")]),
)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def draw(pipeline: Any, prompt: str, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return pipeline(prompt, num_inference_steps=4, generator=generator, output_type="latent").images


@pytest.mark.slow
def test_attaching_and_detaching_leaves_nothing_behind(random_pipeline: Any) -> None:
    """`python tests/guidance/soak_attach.py` does it ten thousand times."""
    guide = SpatialGuide(guidance={"window": (0.0, 1.0)})
    before = hooks_of(random_pipeline.unet)

    def cycles(count: int) -> int:
        for _ in range(count):
            with guide.attach(random_pipeline, PROMPTS[0], scene=SCENES[0]):
                pass
        gc.collect()
        return len(gc.get_objects())

    cycles(5)
    first, later = cycles(20), cycles(100)
    assert hooks_of(random_pipeline.unet) == before
    assert not any(name.startswith("_spatialguide") for name in vars(random_pipeline.unet))
    assert later <= first + 20


def test_two_threads_with_a_pipeline_each_do_not_mix(tokenizer: CLIPTokenizer) -> None:
    """Each image is the one that its pipeline draws alone, though one guide serves both; tokenizers are not thread-safe."""
    pipelines = [make_pipeline(deepcopy(tokenizer), seed=seed) for seed in (0, 1)]
    assert pipelines[0].tokenizer._tokenizer is not pipelines[1].tokenizer._tokenizer
    guide = SpatialGuide(guidance={"window": (0.0, 1.0)})

    def guided(which: int) -> tuple[torch.Tensor, int]:
        with guide.attach(pipelines[which], PROMPTS[which], scene=SCENES[which]) as trace:
            latents = draw(pipelines[which], PROMPTS[which], seed=which)
        return latents, len(trace.steps)

    alone = [guided(which) for which in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            together = list(pool.map(guided, (0, 1)))
            for (expected, steps), (found, found_steps) in zip(alone, together, strict=True):
                assert torch.allclose(found, expected, atol=1e-4)
                assert steps == found_steps == 4
        assert list(pool.map(lambda _: torch.is_grad_enabled(), range(4))) == [True] * 4
    assert all(hooks_of(pipeline.unet) == 0 for pipeline in pipelines)
