"""Write embeddings of held-out scenes with two objects: what the tiny model's images are compared with.

python -m training.make_reference
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image
from safetensors.torch import save_file

from spatialguide_plugins.tiny.features import REFERENCE, TinyFeatures
from training.scenes import load_sprites, make_scene

SEED = 3 * 10**9
_AT_ONCE = 100


def write(path: Path = REFERENCE, count: int = 2000) -> None:
    """Scenes of a seed that no training run and no test uses."""
    rng, sprites, features = np.random.default_rng(SEED), load_sprites(), TinyFeatures()
    images: list[Image.Image] = []
    while len(images) < count:
        scene = make_scene(rng, sprites)
        if len(scene.objects) == 2:
            images.append(Image.fromarray(scene.image))
    maps = [features.maps(images[start : start + _AT_ONCE])[-1] for start in range(0, count, _AT_ONCE)]
    save_file({"embeddings": torch.cat(maps).mean(dim=(2, 3)).half()}, path)


if __name__ == "__main__":
    typer.run(write)
