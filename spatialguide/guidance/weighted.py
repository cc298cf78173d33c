"""What loss terms and steerings have in common: a plugin that a configuration names, with a weight and options of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from spatialguide.config import TermConfig, explain
from spatialguide.errors import ConfigError, PluginError, SpatialGuideError
from spatialguide.registry import SINGULAR, Registry
from spatialguide.scenes.planned import PlannedScene, Structure

W = TypeVar("W", bound="Weighted")


@dataclass(frozen=True)
class Weighted:
    """A plugin, its weight, and where it came from."""

    kind: str
    name: str
    plugin: Any
    weight: float
    distribution: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{SINGULAR[self.kind]} '{self.name}' of distribution '{self.distribution}'"

    def seen(self, scene: PlannedScene) -> Structure:
        """What the plugin is shown of a scene."""
        return scene if self.plugin.reads_words else scene.structure

    def raised(self, error: BaseException, advice: str | None = None) -> SpatialGuideError:
        """An error of the plugin's own code, which names it."""
        if isinstance(error, SpatialGuideError):
            return error
        advice = advice or f"repair it, or leave the {'term' if self.kind == 'losses' else SINGULAR[self.kind]} out"
        return PluginError(f"{self.where} raised {type(error).__name__}: {error}; {advice}")


def make(made: type[W], kind: str, chosen: Mapping[str, TermConfig], registry: Registry) -> tuple[W, ...]:
    """Build what a configuration names of a kind.

    Raises:
        UnknownPluginError: no such plugin.
        ConfigError: it does not know an option, or a value is out of range.
        PluginError: it cannot be built.
    """
    found = []
    for name, config in chosen.items():
        built = registry.call(kind, name, partial(_built, f"{kind}.{name}", registry.get(kind, name), config.options))
        found.append(made(kind, name, built, config.weight, registry.origin(kind, name).distribution))
    return tuple(found)


def _built(where: str, kind: type[BaseModel], options: Mapping[str, Any]) -> BaseModel:
    try:
        return kind(**options)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, kind)}") from error
