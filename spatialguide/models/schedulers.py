"""Schedulers by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from pydantic_core import to_jsonable_python

from spatialguide.errors import ConfigError, suggestion

#: Takes no generator, so that the same request would give another image each time.
_SEEDLESS = "DPMSolverSDEScheduler"


def make_scheduler(name: str, current: Any, options: dict[str, Any]) -> Any:
    """A diffusers scheduler with the current one's noise schedule.

    Args:
        name: class name, such as "DDIMScheduler" or "DDIM".
        current: the pipeline's scheduler.
        options: keywords that override its configuration.

    Raises:
        ConfigError: no such scheduler, or it does not take an option.
    """
    kind = scheduler_class(name, options)
    try:
        return kind.from_config(current.config, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{kind.__name__} cannot be built with these options: {error}; change or leave out scheduler_options"
        ) from error


def scheduler_class(name: str, options: Iterable[str]) -> Any:
    """The diffusers class of this name, which knows these options.

    Raises:
        ConfigError: there is none, it does not, or its noise does not follow from the seed.
    """
    import diffusers
    from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

    known = [each.name for each in KarrasDiffusionSchedulers if each.name != _SEEDLESS]
    known += ["LCMScheduler", "DDIMInverseScheduler"]
    full = name if name.endswith("Scheduler") else f"{name}Scheduler"
    if full == _SEEDLESS:
        raise ConfigError(f"{full} draws its noise without the seed: take DPMSolverMultistepScheduler with sde-dpmsolver++")
    if full not in known or not hasattr(diffusers, full):
        raise ConfigError(f"diffusers has no scheduler '{name}'.{suggestion(full, known)}")
    kind = getattr(diffusers, full)
    keys = set(inspect.signature(kind.__init__).parameters) - {"self"}
    for key in options:
        if key not in keys:
            raise ConfigError(f"{full} has no option '{key}'.{suggestion(key, keys)}")
    return kind


def described(scheduler: Any) -> dict[str, Any]:
    """A scheduler as JSON: its class, and all of its settings, those of the model's own included."""
    settings = {key: value for key, value in sorted(scheduler.config.items()) if not key.startswith("_")}
    plain: dict[str, Any] = to_jsonable_python({"class": type(scheduler).__name__, **settings}, fallback=str)
    return plain
