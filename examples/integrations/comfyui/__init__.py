"""spatialguide's nodes for ComfyUI. Clone or copy this folder into ComfyUI/custom_nodes."""

from .nodes import SpatialBias, SpatialScene

NODE_CLASS_MAPPINGS = {"SpatialScene": SpatialScene, "SpatialBias": SpatialBias}
NODE_DISPLAY_NAME_MAPPINGS = {"SpatialScene": "Spatial Scene", "SpatialBias": "Spatial Bias"}
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
