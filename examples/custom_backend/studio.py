"""A backend of one's own: a team's fine-tuned Stable Diffusion under a name, with the settings that suit it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from spatialguide import Backend, Generation, hookimpl
from spatialguide.models.loading import Family, PipelineBackend

#: Pipeline class; its weights, a hub id or a folder (None: `backend_options.model` says); steps, scale, width and height.
STUDIO = Family("StableDiffusionPipeline", None, Generation(20, 4.0, 128, 128))


@hookimpl
def spatialguide_backends(register: Callable[[str, Callable[..., Backend]], None]) -> None:
    """studio; precision, device, offload, LoRAs and more are its backend_options, as for the built-in ones."""
    register("studio", partial(PipelineBackend, STUDIO))
