"""The tiny detector's network: an anchor-free centre-point detector (Zhou et al. 2019, "Objects as Points")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDE = 4
WIDTH = 96


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
    """Per cell of a stride-4 grid: class logits, and the box around an object whose centre is in the cell."""

    def __init__(self, classes: int, blocks: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, WIDTH, 3, stride=2, padding=1)
        )
        self.blocks = nn.Sequential(*(ResidualBlock(WIDTH) for _ in range(blocks)), nn.GroupNorm(8, WIDTH), nn.ReLU())
        self.classes = nn.Conv2d(WIDTH, classes, 1)
        self.box = nn.Conv2d(WIDTH, 4, 1)
        # Nearly every cell is background: start there (Lin et al. 2017, focal loss).
        nn.init.constant_(self.classes.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score images.

        Args:
            images: (images, 3, height, width) in [-1, 1].

        Returns:
            Class logits (images, classes, h, w), and distances from the cell's centre to the box's left, top, right and
            bottom edges in cells, (images, 4, h, w).
        """
        features = self.blocks(self.stem(images))
        return self.classes(features), self.box(features)

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps after the stem, the middle block and all blocks, (images, width, h, w) each."""
        stem = self.stem(images)
        middle = len(self.blocks) // 2
        inner = self.blocks[:middle](stem)
        return [stem, inner, self.blocks[middle:](inner)]


def cell_centres(height: int, width: int) -> Tensor:
    """(x, y) of every cell's centre in pixels, (2, height, width)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y]).float() + 0.5) * STRIDE
