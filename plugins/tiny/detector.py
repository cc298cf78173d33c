"""The tiny detector: finds the tiny model's objects in 64x64 images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image
from safetensors.torch import load_file
from torch import Tensor

from spatialguide.contracts import Detection
from spatialguide_plugins.tiny.backend import WEIGHTS, objects
from spatialguide_plugins.tiny.network import STRIDE, CentreNet, cell_centres

THRESHOLD = 0.3


def load_network() -> CentreNet:
    """The shipped network."""
    network = CentreNet(len(_names()))
    state = load_file(WEIGHTS / "detector.safetensors")
    network.load_state_dict({name: value.float() for name, value in state.items()})
    return network.eval()


def as_tensor(images: Sequence[Image]) -> Tensor:
    """Images of one size as the network takes them, (images, 3, height, width) in [-1, 1]."""
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def _names() -> list[str]:
    names: list[str] = objects()["names"]
    return names


class TinyDetector:
    """A centre-point detector trained on the tiny model's scenes.

    Args:
        network: trained network; the shipped one if not given.
        names: object names by class index.
    """

    def __init__(self, network: CentreNet | None = None, names: Sequence[str] | None = None) -> None:
        self.names = tuple(names or _names())
        self.network = (network or load_network()).eval()

    @torch.no_grad()
    def __call__(self, images: Sequence[Image], labels: Sequence[str]) -> list[list[Detection]]:
        """Detect the labels it knows; unknown ones are never found."""
        if not images:
            return []
        logits, boxes = self.network(as_tensor(images))
        scores = logits.sigmoid()
        # A cell counts when it is the best of its neighbourhood over all classes.
        best = scores.amax(dim=1, keepdim=True)
        peaks = best == torch.nn.functional.max_pool2d(best, 3, stride=1, padding=1)
        centres = cell_centres(*scores.shape[-2:])
        boxes = boxes.clamp_min(0.1)
        corners = torch.cat([centres - boxes[:, :2] * STRIDE, centres + boxes[:, 2:] * STRIDE], dim=1)
        wanted = set(labels)
        found: list[list[Detection]] = []
        for number in range(len(images)):
            rows = torch.nonzero(peaks[number, 0] & (best[number, 0] > THRESHOLD)).tolist()
            detections = []
            for y, x in rows:
                index = int(scores[number, :, y, x].argmax())
                if self.names[index] in wanted:
                    x0, y0, x1, y1 = corners[number, :, y, x].tolist()
                    box = (max(0.0, x0), max(0.0, y0), min(x1, images[number].width), min(y1, images[number].height))
                    detections.append(Detection(self.names[index], float(scores[number, index, y, x]), box))
            found.append(sorted(detections, key=lambda d: -d.score))
        return found
