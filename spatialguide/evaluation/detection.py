"""Detectors by name."""

from __future__ import annotations

from spatialguide.contracts import Detector
from spatialguide.errors import InvalidPluginError, PluginError, SpatialGuideError
from spatialguide.registry import Registry


def make_detector(registry: Registry, name: str) -> Detector:
    """Build the detector plugin.

    Raises:
        UnknownPluginError: there is none of this name.
        PluginError: it cannot be built.
    """
    factory = registry.get("detectors", name)
    source = registry.origin("detectors", name).distribution
    try:
        detector: Detector = factory()
    except SpatialGuideError:
        raise
    except Exception as error:
        raise PluginError(f"detector '{name}' of distribution '{source}' raised {type(error).__name__}: {error}") from error
    if not callable(detector):
        raise InvalidPluginError(f"detector '{name}' of distribution '{source}' made {type(detector).__name__}, not a callable")
    return detector
