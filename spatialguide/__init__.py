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
        DirectionalRelation,
        FeatureExtractor,
        Generation,
        Layers,
        LossTerm,
        Parser,
        Relation,
    )
    from spatialguide.errors import SpatialGuideError
    from spatialguide.guide import Result, SpatialGuide
    from spatialguide.records import load_scene, scene_from_triples
    from spatialguide.scene import Scene, SceneObject
    from spatialguide.statistics import ObjectStatistics
    from spatialguide.trace import Trace

_HOMES = {
    "Backend": "contracts",
    "Benchmark": "contracts",
    "Case": "contracts",
    "Detection": "contracts",
    "Detector": "contracts",
    "DirectionalRelation": "contracts",
    "FeatureExtractor": "contracts",
    "Generation": "contracts",
    "GuideConfig": "config",
    "Layers": "contracts",
    "LossTerm": "contracts",
    "ObjectStatistics": "statistics",
    "Parser": "contracts",
    "Relation": "contracts",
    "Result": "guide",
    "Scene": "scene",
    "SceneObject": "scene",
    "SpatialGuide": "guide",
    "SpatialGuideError": "errors",
    "Trace": "trace",
    "load_scene": "records",
    "scene_from_triples": "records",
}

__all__ = [
    "Backend",
    "Benchmark",
    "Case",
    "Detection",
    "Detector",
    "DirectionalRelation",
    "FeatureExtractor",
    "Generation",
    "GuideConfig",
    "Layers",
    "LossTerm",
    "ObjectStatistics",
    "Parser",
    "Relation",
    "Result",
    "Scene",
    "SceneObject",
    "SpatialGuide",
    "SpatialGuideError",
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
