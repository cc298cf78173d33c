"""The bundled detector's network: an anchor-free centre-point detector (Zhou et al. 2019, "Objects as Points")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4
FINE, COARSE = 64, 160
THRESHOLD = 0.3


class ResidualBlock(nn.Module):
    """Two normalised 3x3 convolutions with a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(images, width, h, w) -> the same."""
        out: Tensor = features + self.body(features)
        return out


class CentreNet(nn.Module):
    """Per cell of a stride-4 grid: class logits, the box around an object whose centre is in the cell, and its colour."""

    def __init__(self, classes: int, colours: int, blocks: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, FINE, 3, stride=2, padding=1),
            ResidualBlock(FINE),
        )
        self.down = nn.Conv2d(FINE, COARSE, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(COARSE) for _ in range(blocks)))
        self.up = nn.Conv2d(COARSE, 2 * FINE, 1)
        self.across = nn.Conv2d(FINE, 2 * FINE, 1)
        self.last = nn.Sequential(ResidualBlock(2 * FINE), nn.GroupNorm(8, 2 * FINE), nn.ReLU())
        self.classes = nn.Conv2d(2 * FINE, classes, 1)
        self.box = nn.Conv2d(2 * FINE, 4, 1)
        self.colours = nn.Conv2d(2 * FINE, colours, 1)
        # Nearly every cell is background: start there (Lin et al. 2017, focal loss).
        nn.init.constant_(self.classes.bias, -4.0)  # type: ignore[arg-type]

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps after the stem, the coarse blocks and all blocks, (images, width, h, w) each."""
        stem = self.stem(images)
        coarse = self.blocks(self.down(stem))
        joined = self.across(stem) + functional.interpolate(self.up(coarse), scale_factor=2.0)
        return [stem, coarse, self.last(joined)]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score images.

        Args:
            images: (images, 3, height, width) in [-1, 1]; sides are multiples of 8.

        Returns:
            Class logits (images, classes, h, w); distances from the cell's centre to the box's left, top, right and bottom
            edges in cells, (images, 4, h, w); colour logits (images, colours, h, w).
        """
        found = self.features(images)[-1]
        return self.classes(found), self.box(found), self.colours(found)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[list[tuple[int, float, int, tuple[float, float, float, float]]]]:
        """Per image, what was found: class, score, colour and box (x0, y0, x1, y1) in pixels; surest first."""
        logits, boxes, tints = self(images)
        scores, names = logits.float().sigmoid().max(dim=1)
        # A cell counts when it is the best of its neighbourhood over all classes.
        peaks = (scores == functional.max_pool2d(scores[:, None], 3, stride=1, padding=1)[:, 0]) & (scores > THRESHOLD)
        sides = boxes.float().clamp_min(0.1) * STRIDE
        centres = cell_centres(*scores.shape[-2:]).to(sides.device)
        corners = torch.cat([centres - sides[:, :2], centres + sides[:, 2:]], dim=1)
        limits = torch.tensor([*images.shape[:1:-1]] * 2, device=sides.device)[:, None, None]
        corners = torch.minimum(corners.clamp_min(0), limits).permute(0, 2, 3, 1)
        found: list[list[tuple[int, float, int, tuple[float, float, float, float]]]] = [[] for _ in images]
        columns = (names[peaks], scores[peaks], tints.argmax(dim=1)[peaks], corners[peaks], peaks.nonzero()[:, 0])
        for name, score, tint, box, number in zip(*(each.tolist() for each in columns), strict=True):
            found[number].append((name, score, tint, tuple(box)))
        return [sorted(each, key=lambda item: -item[1]) for each in found]


def cell_centres(height: int, width: int) -> Tensor:
    """(x, y) of every cell's centre in pixels, (2, height, width)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y]).float() + 0.5) * STRIDE
