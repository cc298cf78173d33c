"""spatialguide: spatial guidance for diffusers pipelines, from a free-form prompt.

from spatialguide import SpatialGuide

guide = SpatialGuide()
guide("a cat to the left of a dog", seed=0).images[0].save("out.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spatialguide.hookspecs import hookimpl

if TYPE_CHECKING:
    from spatialguide.config import GuideConfig
    from spatialguide.contracts import (
        Backend,
        Benchmark,
        Case,
        Detection,
        Detector,
        DirectionalPredicate,
        FeatureExtractor,
        Generation,
        Layers,
        LossTerm,
        Parser,
        Predicate,
        Steering,
    )
    from spatialguide.errors import SpatialGuideError
    from spatialguide.guidance.guider import SpatialGuidance, SpatialParseStep
    from spatialguide.guidance.statistics import ObjectStatistics
    from spatialguide.guidance.trace import Trace
    from spatialguide.guide import SpatialGuide
    from spatialguide.result import Result
    from spatialguide.scenes.records import load_scene, scene_from_triples
    from spatialguide.scenes.scene import Scene, SceneObject

_HOMES = {
    "Backend": "contracts",
    "Benchmark": "contracts",
    "Case": "contracts",
    "Detection": "contracts",
    "Detector": "contracts",
    "DirectionalPredicate": "contracts",
    "FeatureExtractor": "contracts",
    "Generation": "contracts",
    "GuideConfig": "config",
    "Layers": "contracts",
    "LossTerm": "contracts",
    "Steering": "contracts",
    "ObjectStatistics": "guidance.statistics",
    "Parser": "contracts",
    "Predicate": "contracts",
    "Result": "result",
    "Scene": "scenes.scene",
    "SceneObject": "scenes.scene",
    "SpatialGuidance": "guidance.guider",
    "SpatialGuide": "guide",
    "SpatialParseStep": "guidance.guider",
    "SpatialGuideError": "errors",
    "Trace": "guidance.trace",
    "load_scene": "scenes.records",
    "scene_from_triples": "scenes.records",
}

__all__ = [
    "Backend",
    "Benchmark",
    "Case",
    "Detection",
    "Detector",
    "DirectionalPredicate",
    "FeatureExtractor",
    "Generation",
    "GuideConfig",
    "Layers",
    "LossTerm",
    "ObjectStatistics",
    "Parser",
    "Predicate",
    "Result",
    "Scene",
    "SceneObject",
    "SpatialGuidance",
    "SpatialGuide",
    "SpatialGuideError",
    "SpatialParseStep",
    "Steering",
    "Trace",
    "hookimpl",
    "load_scene",
    "scene_from_triples",
]


def __getattr__(name: str) -> Any:
    """Load public names on first use, so that importing the package does not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'spatialguide' has no attribute '{name}'")
    return getattr(import_module(f"spatialguide.{_HOMES[name]}"), name)
