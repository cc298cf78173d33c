"""Features of the tiny detector, for the fidelity of the tiny model's images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from PIL.Image import Image
from safetensors.torch import load_file
from torch import Tensor

from spatialguide.contracts import FeatureExtractor
from spatialguide_plugins.tiny.backend import WEIGHTS
from spatialguide_plugins.tiny.detector import as_tensor, load_network

REFERENCE = WEIGHTS / "reference.safetensors"


class TinyFeatures(FeatureExtractor):
    """Maps of the detector's stem, coarse blocks and last block; the embedding is the last one's mean over space.

    The reference is held-out synthetic scenes with two objects (`training/held_out.py`). Each of the 128 numbers of an
    embedding is in units of its standard deviation over them.
    """

    def __init__(self) -> None:
        self._network = load_network()

    @cached_property
    def _scenes(self) -> Tensor:
        scenes: Tensor = load_file(REFERENCE)["embeddings"]
        return scenes.double()

    @torch.no_grad()
    def maps(self, images: Sequence[Image]) -> list[Tensor]:
        """(images, width, h, w) each."""
        return self._network.features(as_tensor(images))

    def embed(self, images: Sequence[Image]) -> Tensor:
        """(images, 128)."""
        return super().embed(images).double() / self._scenes.std(dim=0)

    def reference(self) -> Tensor:
        """(scenes, 128)."""
        return self._scenes / self._scenes.std(dim=0)
