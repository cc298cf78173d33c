"""Drawing with the configured backend: candidates, the best of them, and what their metadata say."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from spatialguide.configured import Configured
from spatialguide.errors import ObjectWarning, PromptError, SpatialGuideError
from spatialguide.result import Result
from spatialguide.sampling import first_seeds, prompt_list, step_callback
from spatialguide.scenes.planned import PlannedScene
from spatialguide.scenes.scene import Scene
from spatialguide.versions import versions

if TYPE_CHECKING:
    from PIL.Image import Image

    from spatialguide.guidance.trace import Trace


def draw(
    guide: Configured,
    prompt: str | Sequence[str],
    seed: int | Sequence[int],
    images_per_prompt: int,
    scene: Scene | Sequence[Scene] | None,
    guided: bool,
    watch: bool,
    progress: bool,
    on_step: Callable[[int, int], object] | None,
) -> Result:
    """Draw with the configured backend; arguments and errors are those of `SpatialGuide.__call__`."""
    from spatialguide.guidance.trace import picked

    config, registry = guide.config, guide.registry
    prompts = prompt_list(prompt)
    if images_per_prompt < 1:
        raise PromptError(f"images_per_prompt must be at least 1, not {images_per_prompt}")
    guided = guided and config.guidance.strength > 0
    tries = config.guidance.best_of if guided else 1
    firsts = first_seeds(seed, len(prompts) * images_per_prompt, tries)
    scenes = guide._reader.scenes(prompts, scene, guide.guides if guided else partial(_could_guide, guide))
    backend = guide.backend
    said = partial(registry.call, "backends", config.backend)
    for doubt in dict.fromkeys(doubt for each in scenes for doubt in said(partial(backend.doubts, each.scene))):
        warnings.warn(doubt, ObjectWarning, stacklevel=3)
    guide.pipeline.set_progress_bar_config(disable=not progress)
    guiding = [guided and guide.guides(each) for each in scenes for _ in range(images_per_prompt)]
    # Of what is not guided the first candidate is kept.
    drawn = [
        _candidate(guide, scenes, images_per_prompt, [first + number for first in firsts], guided, watch, on_step)
        for number in range(tries if any(guiding) else 1)
    ]
    # Of equals the first, so that the same call gives the same image.
    chosen = [
        max(range(len(drawn)), key=lambda number: drawn[number][1].satisfaction(image)) if guides else 0
        for image, guides in enumerate(guiding)
    ]
    trace = picked([trace for _, trace in drawn], chosen)
    trace.warn(guide.terms if guided else ())
    metadata = [
        _metadata(guide, scenes[image // images_per_prompt].scene, firsts[image] + number, trace, image)
        for image, number in enumerate(chosen)
    ]
    images = [drawn[number][0][image] for image, number in enumerate(chosen)]
    return Result(images, tuple(each.scene for each in scenes), trace, metadata)


def _could_guide(guide: Configured, scene: PlannedScene) -> bool:
    """As `guides`, for an unguided image: that needs no terms, so what is wrong with them does not matter."""
    try:
        return guide.guides(scene)
    except SpatialGuideError:
        return bool(scene.relations)


def _candidate(
    guide: Configured,
    scenes: Sequence[PlannedScene],
    images_per_prompt: int,
    seeds: Sequence[int],
    guided: bool,
    watch: bool,
    on_step: Callable[[int, int], object] | None,
) -> tuple[list[Image], Trace]:
    """One image from each seed, and what was seen."""
    import torch

    from spatialguide.guidance.prompts import PromptSource
    from spatialguide.guidance.trace import Trace

    pipeline, usual = guide.pipeline, guide.backend.generation
    arguments = {
        "prompt": [each.scene.prompt for each in scenes],
        "num_images_per_prompt": images_per_prompt,
        **{usual.scale if name == "guidance_scale" else name: value for name, value in _settings(guide).items()},
        # Some pipelines want one of each for a list of prompts.
        **{name: [value] * len(scenes) if name == "negative_prompt" else value for name, value in usual.call.items()},
        "generator": [torch.Generator().manual_seed(s) for s in seeds],
        **step_callback(pipeline, on_step),
    }
    if not (guided or watch):
        return pipeline(**arguments).images, Trace()
    named, backends = guide.config.guidance.layers, partial(guide.backend.layers, pipeline)
    layers = None if named else guide.registry.call("backends", guide.config.backend, backends)
    facts = guide.facts(pipeline)
    prompts = PromptSource(pipeline, facts, guide._reader, guide.guides, watch, guided).of(scenes)
    with guide._attachment(pipeline, facts, layers, watch, prompts=prompts) as trace:
        return pipeline(**arguments).images, trace


def _settings(guide: Configured) -> dict[str, Any]:
    """The pipeline's arguments, with the backend's usual ones where the configuration leaves them open."""
    usual, config = guide.backend.generation, guide.config
    return {
        "num_inference_steps": config.steps or usual.steps,
        "guidance_scale": usual.guidance_scale if config.guidance_scale is None else config.guidance_scale,
        "width": config.width or usual.width,
        "height": config.height or usual.height,
    }


def _metadata(guide: Configured, scene: Scene, seed: int, trace: Trace, image: int) -> dict[str, Any]:
    from spatialguide.models.schedulers import described

    guided, config = trace.guided(image), guide.config
    if guided:  # what was really used, where a default term is not installed, and in place of method "auto"
        method = {"method": trace.method or config.guidance.method}
        config = config.model_copy(update={"losses": guide.losses, "guidance": config.guidance.model_copy(update=method)})
    return {
        "spatialguide": version("spatialguide"),
        "versions": versions(guide.distributions(edge.predicate for edge in scene.relations)),
        "prompt": scene.prompt,
        "seed": seed,
        "guided": guided,
        "method": trace.method if guided else None,
        "reason": trace.reason if guided else None,
        "skipped_steps": trace.skipped_steps(image),
        "settings": _settings(guide),
        "scheduler": described(guide.pipeline.scheduler),
        "scene": scene.model_dump(mode="json"),
        "config": config.model_dump(mode="json"),
    }
