"""Schedulers by name."""

from __future__ import annotations

from typing import Any

from spatialguide.errors import ConfigError, suggestion


def make_scheduler(name: str, current: Any, options: dict[str, Any]) -> Any:
    """A diffusers scheduler with the current one's noise schedule.

    Args:
        name: class name, such as "DDIMScheduler" or "DDIM".
        current: the pipeline's scheduler.
        options: keywords that override its configuration.

    Raises:
        ConfigError: no such scheduler.
    """
    import diffusers
    from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

    known = [scheduler.name for scheduler in KarrasDiffusionSchedulers] + ["LCMScheduler", "DDIMInverseScheduler"]
    full = name if name.endswith("Scheduler") else f"{name}Scheduler"
    if full not in known or not hasattr(diffusers, full):
        raise ConfigError(f"diffusers has no scheduler '{name}'.{suggestion(full, known)}")
    return getattr(diffusers, full).from_config(current.config, **options)
