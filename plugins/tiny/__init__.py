"""The bundled tiny model: a real Stable Diffusion pipeline in miniature, its detector, and that detector's features."""

from __future__ import annotations

from collections.abc import Callable

from spatialguide.contracts import Backend, Detector, FeatureExtractor
from spatialguide.hookspecs import hookimpl
from spatialguide_plugins.tiny.backend import TinyBackend


def _detector() -> Detector:
    # Imported on use: the network needs torch, listing plugins does not.
    from spatialguide_plugins.tiny.detector import TinyDetector

    return TinyDetector()


def _features() -> FeatureExtractor:
    from spatialguide_plugins.tiny.features import TinyFeatures

    return TinyFeatures()


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
