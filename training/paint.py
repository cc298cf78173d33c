"""Scenes as pictures, many at once, on any device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.glyphs import GLYPHS, SIDE
from training.world import IMAGE_SIZE, SIZES, SLOTS, TEXTURE, Plans

#: Side of the square that holds a glyph of any size and its outline.
PATCH = SIDE + 4
_LINE = 2
_INK = 0.12


def load_bank(device: torch.device, path: Path = GLYPHS) -> Tensor:
    """Every look at every size, (looks, sizes, 4, PATCH, PATCH) uint8, premultiplied by alpha, _LINE pixels off the corner."""
    pictures = torch.from_numpy(np.load(path)["pictures"]).to(device)
    bank = torch.zeros(len(pictures), len(SIZES), 4, PATCH, PATCH, dtype=torch.uint8, device=device)
    for start in range(0, len(pictures), 256):
        pixels = pictures[start : start + 256].permute(0, 3, 1, 2).float() / 255
        pixels = torch.cat([pixels[:, :3] * pixels[:, 3:], pixels[:, 3:]], dim=1)
        for number, size in enumerate(SIZES):
            small = functional.interpolate(pixels, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
            small[:, :3] = torch.minimum(small[:, :3], small[:, 3:])
            edges = slice(_LINE, _LINE + size)
            bank[start : start + 256, number, :, edges, edges] = (small * 255).round().to(torch.uint8)
    return bank


def visible_boxes(bank: Tensor) -> Tensor:
    """(looks, sizes, 4): x0, y0, x1, y1 of what is visible, in pixels from the corner of a thing's square."""
    seen = bank[:, :, 3] > 50
    across, down = seen.any(dim=2).float(), seen.any(dim=3).float()
    first = [line.argmax(dim=2) for line in (across, down)]
    last = [PATCH - line.flip(2).argmax(dim=2) for line in (across, down)]
    return torch.stack([*first, *last], dim=2) - _LINE


def _backgrounds(numbers: Tensor) -> Tensor:
    """(scenes, 3, IMAGE_SIZE, IMAGE_SIZE)."""
    axis = torch.linspace(-0.5, 0.5, IMAGE_SIZE, device=numbers.device)
    first, second, graded, across, down = (numbers[:, a:b] for a, b in ((0, 3), (3, 6), (6, 7), (7, 8), (8, 9)))
    ramp = (0.5 + across[..., None] * axis[None, None, :] + down[..., None] * axis[None, :, None]).clamp(0, 1) * graded[
        ..., None
    ]
    texture = numbers[:, 9:].reshape(-1, 1, TEXTURE, TEXTURE)
    texture = functional.interpolate(texture, (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", align_corners=True)
    return torch.lerp(first[..., None, None], second[..., None, None], ramp[:, None]) + texture


def paint(plans: Plans, bank: Tensor) -> Tensor:
    """Pictures (scenes, 3, IMAGE_SIZE, IMAGE_SIZE), float32 in [-1, 1]."""
    device = bank.device
    numbers = torch.from_numpy(plans.background).to(device)
    slots = torch.from_numpy(plans.slots.astype(np.int64)).to(device)
    outline = torch.from_numpy(plans.outline).to(device)[:, None, None, None]
    count, wide = len(slots), IMAGE_SIZE + 2 * PATCH
    canvas = functional.pad(_backgrounds(numbers).clamp(0, 1), (PATCH,) * 4).flatten(2)
    within = torch.arange(PATCH, device=device)
    for slot in range(SLOTS):
        look, size, x, y = slots[:, slot].unbind(dim=1)
        patch = bank[look.clamp_min(0), size.clamp_min(0)].float() / 255 * (look >= 0)[:, None, None, None]
        colour, alpha = patch[:, :3], patch[:, 3:]
        around = functional.max_pool2d(alpha, 2 * _LINE + 1, stride=1, padding=_LINE) * outline
        # The glyph over its outline: ink shows where the glyph does not.
        colour = colour + _INK * around * (1 - alpha)
        alpha = alpha + around * (1 - alpha)
        rows = (y + PATCH - _LINE)[:, None] + within
        columns = (x + PATCH - _LINE)[:, None] + within
        places = (rows[:, :, None] * wide + columns[:, None, :]).reshape(count, 1, -1).expand(-1, 3, -1)
        under = canvas.gather(2, places)
        canvas = canvas.scatter(2, places, under * (1 - alpha.flatten(2)) + colour.flatten(2))
    pictures = canvas.reshape(count, 3, wide, wide)[:, :, PATCH:-PATCH, PATCH:-PATCH]
    return pictures.clamp(0, 1) * 2 - 1
