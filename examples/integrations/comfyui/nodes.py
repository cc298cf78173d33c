"""Two nodes: a prompt becomes a scene with a box for each object, and the boxes steer a model's attention."""

from __future__ import annotations

from typing import Any

from spatialguide import SpatialGuide

from .preview import preview
from .steering import Steering, positions

_HELP = "a cat to the left of a dog"


class SpatialScene:
    """Reads a prompt, and shows the boxes that are planned for its objects."""

    CATEGORY = "conditioning/spatial"
    FUNCTION = "read"
    RETURN_TYPES = ("SPATIAL_SCENE", "STRING", "IMAGE")
    RETURN_NAMES = ("scene", "prompt", "preview")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI's name
        """What the node is given."""
        return {"required": {"prompt": ("STRING", {"multiline": True, "default": _HELP})}}

    def read(self, prompt: str) -> tuple[Any, str, Any]:
        """The scene, the prompt without {{marks}} for the text encoder, and a picture of the boxes.

        Raises:
            SpatialGuideError: a prompt that cannot be read, or whose relations cannot hold together.
        """
        planned = SpatialGuide().plan(prompt)
        return planned, planned.scene.prompt, preview(planned)


class SpatialBias:
    """Pulls each object's words into its box: a bias on the model's attention from pixels to words. No gradient."""

    CATEGORY = "model_patches/spatial"
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI's name
        """What the node is given."""
        number = {"min": 0.0, "step": 0.05}
        return {
            "required": {
                "model": ("MODEL",),
                "clip": ("CLIP",),
                "scene": ("SPATIAL_SCENE",),
                "strength": ("FLOAT", {"default": 2.0, "max": 10.0, **number}),
                "stop": ("FLOAT", {"default": 0.4, "max": 1.0, **number, "tooltip": "Part of the steps that is steered."}),
            }
        }

    def patch(self, model: Any, clip: Any, scene: Any, strength: float, stop: float) -> tuple[Any]:
        """A copy of the model that is steered; the model itself where the scene has no relation.

        Raises:
            ValueError: the model's text encoders are not those of Stable Diffusion 1, 2 or XL, or an object has no token.
        """
        if not scene.relations:
            return (model,)
        words, length = positions(clip, scene.scene)
        patched = model.clone()
        options = patched.model_options["transformer_options"] = {**patched.model_options.get("transformer_options", {})}
        options["optimized_attention_override"] = Steering(
            words, scene.boxes, length, strength, stop, options.get("optimized_attention_override")
        )
        return (patched,)
