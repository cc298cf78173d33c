"""Write held-out scenes for the tests, which have no emoji font: one sheet of pictures and their labels.

python -m training.make_test_scenes tests/data
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import typer
from PIL import Image

from training.scenes import IMAGE_SIZE, load_sprites, make_scene

SEED = 2 * 10**9
COLUMNS = 16


def write(folder: Path, count: int = 128) -> None:
    """Scenes of a seed that no training run uses."""
    rng, sprites = np.random.default_rng(SEED), load_sprites()
    scenes = [make_scene(rng, sprites) for _ in range(count)]
    rows = -(-count // COLUMNS)
    sheet = np.zeros((rows * IMAGE_SIZE, COLUMNS * IMAGE_SIZE, 3), dtype=np.uint8)
    for number, scene in enumerate(scenes):
        y, x = (place * IMAGE_SIZE for place in divmod(number, COLUMNS))
        sheet[y : y + IMAGE_SIZE, x : x + IMAGE_SIZE] = scene.image
    Image.fromarray(sheet).save(folder / "scenes.png", optimize=True)
    labels = [[{"name": item.name, "box": item.box} for item in scene.objects] for scene in scenes]
    (folder / "scenes.json").write_text(json.dumps(labels) + "\n")


if __name__ == "__main__":
    typer.run(write)
