"""Draw prompts with a pipeline folder, as one sheet.

python -m training.samples runs/pipeline samples.png
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import typer
from diffusers import StableDiffusionPipeline
from PIL import Image

from training.things import NAMES

COLUMNS = 14
PROMPTS = (
    "a cat to the left of a dog",
    "three apples to the left of a bus",
    "two cats below an airplane",
    "a teddy bear inside a boat",
    "a red car to the left of a blue car",
    "a robot to the left of a tree",
    "a cat to the left of a dog, above a red car",
    "two dogs",
    "four stars",
    "a green book and a purple umbrella",
    "a giraffe above a bus",
    "an elephant and a banana",
    "a yellow car",
    "a rabbit, a fox and a penguin on a dark background",
)


def draw(folder: Path, out: Path, each: int = 3, steps: int = 30, guidance_scale: float = 5.0) -> None:
    """Every prompt of PROMPTS `each` times, a column a prompt, then every thing once."""
    place = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True).to(place, torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    prompts = [prompt for _ in range(each) for prompt in PROMPTS]
    prompts += [f"a {name}" for name in NAMES]
    images: list[np.ndarray] = []
    for start in range(0, len(prompts), 2 * COLUMNS):
        some = prompts[start : start + 2 * COLUMNS]
        noise = [torch.Generator().manual_seed(start + i) for i in range(len(some))]
        made = pipeline(some, num_inference_steps=steps, guidance_scale=guidance_scale, generator=noise, output_type="np")
        images += [(image * 255).round().astype(np.uint8) for image in made.images]
    images += [np.zeros_like(images[0])] * (-len(images) % COLUMNS)
    rows = [np.concatenate(images[i : i + COLUMNS], axis=1) for i in range(0, len(images), COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(out)


if __name__ == "__main__":
    typer.run(draw)
