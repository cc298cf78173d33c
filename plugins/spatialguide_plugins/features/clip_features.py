"""CLIP's features: a Frechet distance for real pictures, and the CLIP score (Hessel et al., arXiv 2104.08718)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spatialguide.contracts import FeatureExtractor
from spatialguide.hookspecs import hookimpl

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

#: Parts of the vision tower's depth at which maps are taken.
_DEPTHS = (0.25, 0.5, 0.75, 1.0)


class ClipFeatures(FeatureExtractor):
    """A CLIP model of transformers.

    Args:
        model: hub id or local folder of the checkpoint.
        device: torch device; by default the first GPU if there is one.
        batch_size: images per forward pass.
        local_files_only: never look on the hub.
    """

    def __init__(
        self,
        model: str = "openai/clip-vit-base-patch16",
        device: str | None = None,
        batch_size: int = 32,
        local_files_only: bool = False,
    ) -> None:
        self._checkpoint = model
        self._device = device
        self._batch_size = batch_size
        self._local = local_files_only

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import CLIPModel, CLIPProcessor

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        processor = CLIPProcessor.from_pretrained(self._checkpoint, local_files_only=self._local)
        model = CLIPModel.from_pretrained(self._checkpoint, local_files_only=self._local)
        return model.to(device).eval(), processor

    @cached_property
    def _score(self) -> Any:
        from torchmetrics.multimodal import CLIPScore

        model, processor = self._loaded
        return CLIPScore(lambda: (_tensors_out(model), processor)).to(model.device)

    def maps(self, images: Sequence[Image]) -> list[Tensor]:
        """Patch tokens at a quarter, half, three quarters and all of the vision tower's depth."""
        import torch

        parts = [[_grid(state) for state in self._states(batch)] for batch in self._batches(images)]
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]

    def embed(self, images: Sequence[Image]) -> Tensor:
        """CLIP's image embedding, not normalised, (images, dimensions)."""
        import torch

        model, _ = self._loaded
        with torch.inference_mode():
            parts = [_tensor(model.get_image_features(batch)) for batch in self._batches(images)]
        return torch.cat(parts).double().cpu()

    def similarity(self, images: Sequence[Image], prompt: str) -> float:
        """Mean CLIP score of the images: 100 times the cosine of image and prompt, not below 0."""
        import numpy as np
        import torch

        model, _ = self._loaded
        pixels = [torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).to(model.device) for image in images]
        with torch.inference_mode():
            return float(self._score(pixels, [prompt] * len(pixels)))

    def _batches(self, images: Sequence[Image]) -> list[Tensor]:
        model, processor = self._loaded
        starts = range(0, len(images), self._batch_size)
        batches = [[image.convert("RGB") for image in images[start : start + self._batch_size]] for start in starts]
        return [processor(images=batch, return_tensors="pt")["pixel_values"].to(model.device) for batch in batches]

    def _states(self, pixels: Tensor) -> list[Tensor]:
        import torch

        model, _ = self._loaded
        with torch.inference_mode():
            states = model.vision_model(pixels, output_hidden_states=True).hidden_states
        last = len(states) - 1
        return [states[max(1, round(depth * last))] for depth in _DEPTHS]


def _grid(tokens: Tensor) -> Tensor:
    """(images, 1 + side * side, channels), the first one being the class token, to (images, channels, side, side)."""
    images, count, channels = tokens.shape
    side = round((count - 1) ** 0.5)
    return tokens[:, 1:].float().cpu().transpose(1, 2).reshape(images, channels, side, side)


def _tensor(output: Any) -> Any:
    """transformers 5 wraps the projected features in an output object."""
    return getattr(output, "pooler_output", output)


def _tensors_out(model: Any) -> Any:
    """The model with plain tensors as features, which torchmetrics expects."""
    from torch import nn

    class Tensors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.config = model, model.config

        def get_image_features(self, *inputs: Any) -> Any:
            return _tensor(model.get_image_features(*inputs))

        def get_text_features(self, *inputs: Any) -> Any:
            return _tensor(model.get_text_features(*inputs))

    return Tensors()


@hookimpl
def spatialguide_features(register: Callable[[str, Callable[..., FeatureExtractor]], None]) -> None:
    """clip."""
    register("clip", ClipFeatures)
