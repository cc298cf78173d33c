"""A block for modular diffusers pipelines: reads the prompt, for the guider that draws it the way round it says."""

from spatialguide import SpatialGuidance, SpatialParseStep

__all__ = ["SpatialBlock", "SpatialGuidance"]


class SpatialBlock(SpatialParseStep):
    """Goes first in a pipeline's blocks. Its guider, SpatialGuidance, wraps classifier-free guidance or any other guider."""

    _requirements = {"spatialguide": ">=0.1"}  # noqa: RUF012  diffusers' form
