"""The bundled tiny model: a real Stable Diffusion pipeline in miniature, its detector, and that detector's features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations

from spatialguide.contracts import Backend, Benchmark, Detector, FeatureExtractor
from spatialguide.hookspecs import hookimpl
from spatialguide_plugins.tiny.backend import TinyBackend


def _detector() -> Detector:
    # Imported on use: the network needs torch, listing plugins does not.
    from spatialguide_plugins.tiny.detector import TinyDetector

    return TinyDetector()


def _features() -> FeatureExtractor:
    from spatialguide_plugins.tiny.features import TinyFeatures

    return TinyFeatures()


def _visor(held_out: bool) -> Benchmark:
    """VISOR on the pairs that the model's training never showed together, or on all others."""
    from spatialguide_plugins.benchmarks.spatial import Visor
    from spatialguide_plugins.tiny.backend import objects

    known = objects()
    rare = {frozenset(pair) for pair in known["held_out"]}
    return Visor(pairs=[pair for pair in combinations(known["names"], 2) if (frozenset(pair) in rare) == held_out])


def _colours(related: bool = True, held_out: bool = False) -> Benchmark:
    from spatialguide_plugins.tiny.benchmarks import Colours

    return Colours(related, held_out)


def _counts(related: bool = True, held_out: bool = False) -> Benchmark:
    from spatialguide_plugins.tiny.benchmarks import Counts

    return Counts(related, held_out)


@hookimpl
def spatialguide_benchmarks(register: Callable[[str, Callable[..., Benchmark]], None]) -> None:
    """rare, common, colours, counts."""
    register("rare", partial(_visor, held_out=True))
    register("common", partial(_visor, held_out=False))
    register("colours", _colours)
    register("counts", _counts)


@hookimpl
def spatialguide_backends(register: Callable[[str, Callable[..., Backend]], None]) -> None:
    """tiny."""
    register("tiny", TinyBackend)


@hookimpl
def spatialguide_detectors(register: Callable[[str, Callable[[], Detector]], None]) -> None:
    """tiny."""
    register("tiny", _detector)


@hookimpl
def spatialguide_features(register: Callable[[str, Callable[[], FeatureExtractor]], None]) -> None:
    """tiny."""
    register("tiny", _features)
