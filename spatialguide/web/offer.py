"""What the page offers: presets, models and limits; and the configuration that a wish makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spatialguide.config import GuideConfig, make_config, presets
from spatialguide.errors import ConfigError, suggestion
from spatialguide.guide import SpatialGuide
from spatialguide.registry import Registry, default_registry
from spatialguide.web.models import Model, state_of
from spatialguide.web.wish import Limits, Wish

#: Pictures may be so many times as wide as the model's usual ones; attention costs the fourth power of that.
_LARGER = 1.5
#: The usual side where a model does not say it.
_USUAL_SIDE = 512


@dataclass
class Offer:
    """What visitors may choose from.

    Args:
        base: a configuration to offer beside the presets, under `base_name`.
        limits: what a wish may ask for.
        registry: plugins; all installed ones by default.
        all_models: offer every backend, whose weights are then downloaded when they are first asked for; else the
            configuration's and the bundled one. One model is loaded at a time.
    """

    base: GuideConfig | None = None
    base_name: str = "file"
    limits: Limits = field(default_factory=Limits)
    registry: Registry = field(default_factory=default_registry)
    all_models: bool = False

    @property
    def backends(self) -> list[str]:
        """Names of the models that a wish may ask for."""
        if self.all_models:
            return list(self.registry.names("backends"))
        return sorted({make_config().backend, *([] if self.base is None else [self.base.backend])})

    @property
    def models(self) -> list[Model]:
        """Every backend that is registered, those of `backends` first: whether it is here, and why it is not offered."""
        names = sorted(self.registry.names("backends"), key=lambda name: name not in self.backends)
        base = self.base
        options = {name: base.backend_options if base is not None and name == base.backend else {} for name in names}
        return [state_of(self.registry, name, options[name], name in self.backends) for name in names]

    @property
    def presets(self) -> list[str]:
        """Names of what a wish may start from, the one that the page starts with first."""
        return [self.base_name, *presets()] if self.base is not None else list(presets())

    def preset(self, name: str) -> GuideConfig:
        """The configuration of this name."""
        return self.base if self.base is not None and name == self.base_name else make_config(name)

    def config(self, wish: Wish) -> GuideConfig:
        """The configuration that a wish asks for.

        Raises:
            ConfigError: a value is out of range or over a limit.
        """
        if wish.backend not in self.backends:
            raise ConfigError(f"this page has no model '{wish.backend}'.{suggestion(wish.backend, self.backends)}")
        start = self.preset(wish.preset)
        changes = self.changes(wish, start)
        config = make_config(**merged(start.model_dump(exclude_unset=True), changes)) if changes else start
        usual = SpatialGuide(config, registry=self.registry).backend.generation
        steps = config.steps or usual.steps or 0
        if steps > self.limits.steps:
            raise ConfigError(f"{steps} steps are over this page's limit of {self.limits.steps}: ask for fewer")
        side = max(config.width or usual.width or 0, config.height or usual.height or 0)
        most = self.limits.side or int(_LARGER * max(usual.width or _USUAL_SIDE, usual.height or _USUAL_SIDE))
        if side > most:
            raise ConfigError(f"{side} pixels are over this page's limit of {most} for this model: ask for fewer")
        return config

    def changes(self, wish: Wish, start: GuideConfig) -> dict[str, Any]:
        """What a wish asks for beyond what it starts from, as keyword arguments."""
        changes: dict[str, Any] = {}
        # The page's own model comes with the options that the page was started with, whatever the preset.
        base = self.base or start
        options = base.backend_options if wish.backend == base.backend else {}
        if (wish.backend, options) != (start.backend, start.backend_options):
            changes |= {"backend": wish.backend, "backend_options": dict(options)}
        if wish.steps and wish.steps != start.steps:
            changes["steps"] = wish.steps
        if wish.side and wish.side != start.width:
            changes |= {"width": wish.side, "height": wish.side}
        asked = {"method": wish.method, "strength": wish.strength}
        usual = start.guidance.model_dump(include=set(asked))
        if guidance := {key: value for key, value in asked.items() if value is not None and value != usual[key]}:
            changes["guidance"] = guidance
        if wish.terms is not None and set(wish.terms) != set(start.losses):
            kept = {name: start.losses[name].model_dump() for name in wish.terms if name in start.losses}
            changes["losses"] = {name: kept.get(name, {"weight": 1.0}) for name in wish.terms}
        return changes


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments with changes; those of `guidance` key by key."""
    guidance = {**base.get("guidance", {}), **changes.get("guidance", {})}
    return {**base, **changes, **({"guidance": guidance} if guidance else {})}
