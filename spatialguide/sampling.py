"""The arguments of a call: prompts, seeds, and what is told of its progress."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any

from spatialguide.errors import PromptError


def prompt_list(given: str | Iterable[str]) -> list[str]:
    """The prompts of a call.

    Raises:
        PromptError: none was given, or no text.
    """
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable):
        raise PromptError(f"a prompt must be text, or several texts, not {type(given).__name__}")
    prompts = list(given)
    if not prompts:
        raise PromptError("no prompt was given: give a text, or a list of at least one")
    return prompts


def first_seeds(seed: int | Sequence[int], images: int, tries: int) -> list[int]:
    """The seed of each image's first candidate, see `SpatialGuide.__call__`.

    Raises:
        PromptError: another number of seeds than images, or one out of range.
    """
    if isinstance(seed, Integral):
        firsts = [int(seed) + i * tries for i in range(images)]
    elif isinstance(seed, Sequence) and not isinstance(seed, str):
        firsts = list(seed)
    else:
        raise PromptError(f"seed must be a whole number, or a list with one for each image, not {seed!r}")
    if len(firsts) != images:
        raise PromptError(f"{images} images need as many seeds, not {len(firsts)}: give one for each image, or a single number")
    for first in firsts:
        if not isinstance(first, Integral) or not 0 <= first <= 2**63 - tries:
            raise PromptError(f"seed must be between 0 and 2**63, not {first!r}")
    return [int(first) for first in firsts]


def step_callback(pipeline: Any, on_step: Callable[[int, int], object] | None) -> dict[str, Any]:
    """The argument that tells `on_step`, in the form that the pipeline's call takes."""
    if on_step is None:
        return {}

    def done(step: int) -> None:
        on_step(step + 1, len(pipeline.scheduler.timesteps))

    def at_step_end(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        done(step)
        return tensors

    if "callback_on_step_end" in inspect.signature(type(pipeline).__call__).parameters:
        return {"callback_on_step_end": at_step_end}
    # PixArt's pipelines have the older form.
    return {"callback": lambda step, timestep, latents: done(step)}
