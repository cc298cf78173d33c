"""The tiny detector: finds the tiny model's things, and their colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image
from safetensors.torch import load_file
from torch import Tensor

from spatialguide.contracts import Detection
from spatialguide_plugins.tiny.backend import WEIGHTS, objects
from spatialguide_plugins.tiny.network import CentreNet

#: Images that are scored at once.
_AT_ONCE = 32


def load_network() -> CentreNet:
    """The shipped network."""
    network = CentreNet(len(objects()["names"]), len(objects()["colours"]))
    state = load_file(WEIGHTS / "detector.safetensors")
    network.load_state_dict({name: value.float() for name, value in state.items()})
    return network.eval()


def as_tensor(images: Sequence[Image]) -> Tensor:
    """Images of one size as the network takes them, (images, 3, height, width) in [-1, 1]."""
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1)


class TinyDetector:
    """A centre-point detector trained on the tiny model's scenes; it finds every instance, so that counts can be checked."""

    def __init__(self) -> None:
        self._names, self._colours = tuple(objects()["names"]), tuple(objects()["colours"])
        self._recoloured = set(objects()["recoloured"])
        self._network = load_network()

    def __call__(self, images: Sequence[Image], labels: Sequence[str]) -> list[list[Detection]]:
        """Detect the labels it knows; unknown ones are never found. A colour is given for things that come in several."""
        wanted, found = set(labels), []
        for start in range(0, len(images), _AT_ONCE):
            for listed in self._network.detect(as_tensor(images[start : start + _AT_ONCE])):
                named = [(self._names[number], score, tint, box) for number, score, tint, box in listed]
                found.append(
                    [
                        Detection(name, score, box, self._colours[tint] if name in self._recoloured else None)
                        for name, score, tint, box in named
                        if name in wanted
                    ]
                )
        return found
