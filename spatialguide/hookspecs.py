"""Hook specifications: how a plugin adds losses, steerings, relations, parsers, backends, models, detectors, and more.

A plugin is a module (or object) named by an entry point in the group "spatialguide". It implements any of these:

    import spatialguide

    @spatialguide.hookimpl
    def spatialguide_losses(register):
        register("my_term", MyTerm)

Contracts of the registered things are in `spatialguide.contracts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pluggy

from spatialguide.contracts import Backend, Benchmark, Detector, FeatureExtractor, LossTerm, Parser, Predicate, Steering

if TYPE_CHECKING:
    from spatialguide.guidance.models import ModelFacts

GROUP = "spatialguide"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def spatialguide_losses(register: Callable[[str, type[LossTerm]], None]) -> None:
    """Register loss terms: register(name, subclass of LossTerm)."""


@hookspec
def spatialguide_steerings(register: Callable[[str, type[Steering]], None]) -> None:
    """Register steerings of attention: register(name, subclass of Steering)."""


@hookspec
def spatialguide_relations(register: Callable[[str, Predicate], None]) -> None:
    """Register relations: register(name, Predicate); the relation's own name must be the same."""


@hookspec
def spatialguide_parsers(register: Callable[[str, Callable[..., Parser]], None]) -> None:
    """Register parsers: register(name, factory); it gets relations={name: Predicate} and `parser_options`."""


@hookspec
def spatialguide_backends(register: Callable[[str, Callable[..., Backend]], None]) -> None:
    """Register backends: register(name, factory); it is called with `backend_options` of the configuration."""


@hookspec
def spatialguide_models(register: Callable[[str, ModelFacts], None]) -> None:
    """Register what a kind of denoiser is like: register(name of its class, spatialguide.guidance.models.ModelFacts)."""


@hookspec
def spatialguide_detectors(register: Callable[[str, Callable[..., Detector]], None]) -> None:
    """Register detectors: register(name, factory); it is called with `detector_options` of the configuration."""


@hookspec
def spatialguide_benchmarks(register: Callable[[str, Callable[..., Benchmark]], None]) -> None:
    """Register benchmarks: register(name, factory); its options are the factory's keyword arguments."""


@hookspec
def spatialguide_features(register: Callable[[str, Callable[..., FeatureExtractor]], None]) -> None:
    """Register feature extractors: register(name, factory); one with a backend's name is that backend's own."""


@hookspec
def spatialguide_presets(register: Callable[[str, dict[str, Any]], None]) -> None:
    """Register presets: register(name, what it changes in the configuration); the one called "balanced" holds the defaults."""


@hookspec
def spatialguide_modules(kind: str) -> Iterable[str]:
    """Name further modules (dotted names) of this distribution that register things of a kind, such as "losses"."""
    return ()
