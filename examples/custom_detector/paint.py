"""A detector of one's own: finds "a red car" by looking for red."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageColor

from spatialguide import Detection, Detector, hookimpl


class PaintDetector:
    """The box of the pixels near the colour that a label names.

    `detector_options` of the configuration are its arguments. reach: how far a pixel may be from the colour, 0 to 1 of the way
    from black to white; least: share of the picture that must have the colour.
    """

    def __init__(self, reach: float = 0.25, least: float = 0.01) -> None:
        self.reach, self.least = reach, least

    def __call__(self, images: Sequence[Image.Image], labels: Sequence[str]) -> list[list[Detection]]:
        """One list per image, best score first; boxes are (x0, y0, x1, y1) in pixels. Labels without a colour are not found."""
        colours = {label: colour for label in labels if (colour := _colour(label)) is not None}
        found = []
        for image in images:
            pixels = np.asarray(image.convert("RGB"), dtype=float)
            each = [self._find(label, pixels, colour) for label, colour in colours.items()]
            found.append(sorted((one for one in each if one), key=lambda one: -one.score))
        return found

    def _find(self, label: str, pixels: np.ndarray, colour: tuple[int, ...]) -> Detection | None:
        near = np.linalg.norm(pixels - colour, axis=-1) < self.reach * 255 * 3**0.5
        if near.mean() < self.least:
            return None
        rows, columns = np.nonzero(near)
        box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
        return Detection(label, float(near.mean()), box)


def _colour(label: str) -> tuple[int, ...] | None:
    for word in label.split():
        if word in ImageColor.colormap:
            return ImageColor.getrgb(word)[:3]
    return None


@hookimpl
def spatialguide_detectors(register: Callable[[str, Callable[..., Detector]], None]) -> None:
    """paint."""
    register("paint", PaintDetector)
