"""What a configuration names, built from plugins when it is first needed: parser, loss terms, backend, pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterable, Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spatialguide.config import SETS, GuideConfig, TermConfig
from spatialguide.contracts import Backend, Layers
from spatialguide.errors import InvalidPluginError, MissingTermWarning
from spatialguide.registry import Registry
from spatialguide.scenes.planned import PlannedScene
from spatialguide.scenes.reader import PromptReader

if TYPE_CHECKING:
    from spatialguide.guidance.attach import Attachment
    from spatialguide.guidance.calls import Settings
    from spatialguide.guidance.losses import Term
    from spatialguide.guidance.models import ModelFacts
    from spatialguide.guidance.steering import Steer


class Configured:
    """A configuration and the plugins that it names."""

    def __init__(self, config: GuideConfig, registry: Registry) -> None:
        self.config, self.registry = config, registry

    @cached_property
    def _reader(self) -> PromptReader:
        return PromptReader(self.registry, self.config.parser, self.config.strict, self.config.parser_options)

    def guides(self, scene: PlannedScene) -> bool:
        """Whether a configured term, or steering, has anything to say of a scene.

        Raises:
            UnknownPluginError, ConfigError: as of the configured terms.
        """
        method = self.config.guidance.method
        return (method != "bias" and any(term.applies(scene) for term in self.terms)) or (
            method != "gradient" and any(steer.applies(scene) for steer in self.steers)
        )

    def check(self, keys: Container[str] = SETS) -> None:
        """Build the terms and the steerings now, those of the given keys, so that what is wrong with them is said.

        Raises:
            UnknownPluginError, ConfigError: as of them.
        """
        if "losses" in keys:
            self.terms  # noqa: B018
        if "steerings" in keys:
            self.steers  # noqa: B018

    @cached_property
    def steers(self) -> Sequence[Steer]:
        """The configured steerings, built.

        Raises:
            UnknownPluginError, ConfigError: as of the terms.
        """
        from spatialguide.guidance.steering import make_steers

        return make_steers(self.config.steerings, self.registry)

    @cached_property
    def terms(self) -> Sequence[Term]:
        """The configured loss terms, built.

        Raises:
            UnknownPluginError: as `losses`. ConfigError: a term does not know an option, or a value is out of range.
        """
        from spatialguide.guidance.losses import make_terms

        return make_terms(self.losses, self.registry)

    @cached_property
    def losses(self) -> dict[str, TermConfig]:
        """The configured terms; of those that nobody asked for by name, the ones that are installed, with a warning.

        Raises:
            UnknownPluginError: a term that was asked for is not installed, or none of the default's is.
        """
        installed = self.registry.names("losses")
        known = {name: term for name, term in self.config.losses.items() if name in installed}
        missing = [name for name in self.config.losses if name not in installed]
        if missing and ("losses" in self.config.model_fields_set or not known):
            self.registry.get("losses", missing[0])
        if missing:
            fault = f"of the default's loss terms {', '.join(missing)} are not installed: guiding with {', '.join(known)}"
            warnings.warn(fault, MissingTermWarning, stacklevel=2)
        return known

    @cached_property
    def backend(self) -> Backend:
        """The configured backend plugin.

        Raises:
            UnknownPluginError: no backend has the name.
            ConfigError: it has no such option.
        """
        backend = self.registry.make("backends", self.config.backend, self.config.backend_options)
        if not isinstance(backend, Backend):
            source = self.registry.origin("backends", self.config.backend).distribution
            raise InvalidPluginError(
                f"backend '{self.config.backend}' of distribution '{source}' made {type(backend).__name__}, not a Backend"
            )
        return backend

    @cached_property
    def _loaded(self) -> Any:
        """The pipeline as the backend made it; guides made by `with_config` share it."""
        return self.registry.call("backends", self.config.backend, self.backend.load)

    @cached_property
    def pipeline(self) -> Any:
        """The backend's pipeline, loaded on first use, with the configured scheduler.

        Raises:
            ConfigError: diffusers has no such scheduler.
        """
        if self.config.scheduler is None:
            return self._loaded
        from spatialguide.models.schedulers import make_scheduler

        # Another pipeline around the same parts, so that guides that share them may have schedulers of their own.
        pipeline = copy(self._loaded)
        pipeline.scheduler = make_scheduler(self.config.scheduler, pipeline.scheduler, self.config.scheduler_options)
        return pipeline

    def facts(self, pipeline: Any) -> ModelFacts:
        """What is known of a pipeline's model.

        Raises:
            UnsupportedPipelineError: nothing, and it has no attention layers of the usual names.
        """
        from spatialguide.guidance.denoiser import denoiser_of, plain
        from spatialguide.guidance.models import facts_of

        return facts_of(plain(denoiser_of(pipeline)), self.registry)

    def _attachment(self, pipeline: Any, facts: ModelFacts, layers: Layers | None, watch: bool, **prompts: Any) -> Attachment:
        from spatialguide.guidance.attach import Attachment
        from spatialguide.guidance.denoiser import denoiser_of, plain

        return Attachment(pipeline, self.settings(plain(denoiser_of(pipeline)), facts, layers, watch), **prompts)

    def settings(self, denoiser: Any, facts: ModelFacts, layers: Layers | None = None, watch: bool = False) -> Settings:
        """How a denoiser is guided.

        Args:
            layers, watch: as of `SpatialGuide.attach`.

        Raises:
            UnsupportedPipelineError: it has no such layers.
        """
        from spatialguide.guidance.attention import find_layer
        from spatialguide.guidance.calls import Settings
        from spatialguide.guidance.layers import default_layers, steered_layers

        config = self.config.guidance
        named = config.layers and Layers({level: tuple(names) for level, names in config.layers.items()})
        observed = layers or named or default_layers(denoiser, facts).first(config.layers_per_level)
        for _, name in observed:
            find_layer(denoiser, name)
        steers, steered = (self.steers, steered_layers(denoiser, facts)) if config.method != "gradient" else ((), ())
        return Settings(self.terms, observed, config, facts, watch, steers, steered)

    def distributions(self, predicates: Iterable[str]) -> set[str]:
        """Of the plugins that have a part in images of scenes with these relations."""
        used = {("backends", self.config.backend), ("parsers", self.config.parser)}
        used |= {(kind, name) for kind in ("losses", "steerings") for name in getattr(self.config, kind)}
        used |= {("relations", name) for name in predicates}
        # What is not installed had no part: an unguided image needs no terms.
        return {item.distribution for item in self.registry if (item.kind, item.name) in used}
