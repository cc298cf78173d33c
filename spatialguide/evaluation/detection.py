"""Detectors by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spatialguide.contracts import Detection, Detector
from spatialguide.errors import InvalidPluginError, PluginError, SpatialGuideError
from spatialguide.registry import Registry

if TYPE_CHECKING:
    from PIL.Image import Image


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

    def checked(images: Sequence[Image], labels: Sequence[str]) -> list[list[Detection]]:
        try:
            found = detector(images, labels)
        except Exception as error:
            raise PluginError(f"detector '{name}' of distribution '{source}' raised {type(error).__name__}: {error}") from error
        if not isinstance(found, list) or len(found) != len(images):
            raise InvalidPluginError(f"detector '{name}' of distribution '{source}' must return one list for each image")
        return found

    return checked
