"""Image files, read into memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from spatialguide.errors import EvaluationError

#: Of files that count as images in a folder.
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def opened(paths: Sequence[Path]) -> list[Image.Image]:
    """Images in memory, RGB.

    Raises:
        EvaluationError: a file is no image.
    """
    images = []
    for path in paths:
        try:
            with Image.open(path) as image:
                images.append(image.convert("RGB"))
        except OSError as error:
            raise EvaluationError(f"cannot read the image '{path}': {error}; repair or remove it") from error
    return images
