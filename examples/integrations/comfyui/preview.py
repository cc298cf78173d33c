"""A picture of a scene's boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_SIDE = 512
_COLOURS = ("#d94801", "#2171b5", "#238b45", "#6a51a3", "#a50f15", "#525252")


def preview(planned: Any) -> Tensor:
    """The boxes with their objects' names, as ComfyUI's images are: (1, height, width, 3), from 0 to 1."""
    picture = Image.new("RGB", (_SIDE, _SIDE), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(20)
    for index, box in enumerate(planned.boxes):
        colour = _COLOURS[index % len(_COLOURS)]
        left, top, right, bottom = (round(edge * (_SIDE - 1)) for edge in box)
        pen.rectangle((left, top, right, bottom), outline=colour, width=4)
        pen.text(((left + right) / 2, (top + bottom) / 2), planned.scene.name(index), fill=colour, font=font, anchor="mm")
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]
