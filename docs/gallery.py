"""Draws docs/images/gallery/ from the commands that docs/gallery.md states, smaller and in fewer colours.

python docs/gallery.py
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from PIL import Image

from spatialguide.commands.generate import render
from spatialguide.config import make_config

HERE = Path(__file__).parent
FOLDER = HERE / "images" / "gallery"
WIDTH = 560


def commands() -> list[tuple[str, int, str]]:
    """Prompt, seed and file of every `spatialguide generate` on the page."""
    found = re.findall(r"^spatialguide generate (.+)$", (HERE / "gallery.md").read_text(), flags=re.MULTILINE)
    words = [shlex.split(line) for line in found]
    return [(line[0], int(line[line.index("--seed") + 1]), line[line.index("-o") + 1]) for line in words]


def main() -> None:
    """Draw every picture of the page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for prompt, seed, name in commands():
        path = FOLDER / name
        render(prompt, make_config(), path, seed=seed, compare=True)
        picture = Image.open(path).convert("RGB")
        smaller = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        smaller.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
