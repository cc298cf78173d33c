"""Detectors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spatialguide.contracts import Detection, Detector
from spatialguide.errors import InvalidPluginError
from spatialguide.registry import Registry

if TYPE_CHECKING:
    from PIL.Image import Image


def make_detector(registry: Registry, name: str, options: Mapping[str, Any] | None = None) -> Detector:
    """Build the detector plugin.

    Args:
        options: keyword arguments of its factory.

    Raises:
        UnknownPluginError: there is none of this name.
        ConfigError: it has no such option.
        PluginError: it cannot be built.
    """
    detector: Detector = registry.make("detectors", name, options or {})
    source = registry.origin("detectors", name).distribution
    if not callable(detector):
        raise InvalidPluginError(
            f"detector '{name}' of distribution '{source}' made {type(detector).__name__}, not a callable: "
            "see contracts.Detector"
        )

    def checked(images: Sequence[Image], labels: Sequence[str]) -> list[list[Detection]]:
        found: list[list[Detection]] = registry.call("detectors", name, lambda: detector(images, labels))
        if not isinstance(found, list) or len(found) != len(images):
            raise InvalidPluginError(
                f"detector '{name}' of distribution '{source}' must return one list for each image: see contracts.Detector"
            )
        return found

    return checked
