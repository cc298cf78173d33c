"""Write what scenes that no training run saw are needed for: fidelity's reference, and the scenes of the tests.

python -m training.held_out
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image
from safetensors.torch import save_file

from spatialguide_plugins.tiny.features import REFERENCE, TinyFeatures
from training.paint import load_bank, paint, visible_boxes
from training.plans import make_plans
from training.things import COLOURS
from training.world import IMAGE_SIZE, Looks, Plans, Scene, make_scene

REFERENCE_SEED, TEST_SEED = 3 * 10**9, 2 * 10**9
_AT_ONCE = 100
_COLUMNS = 12


def _pictures(plans: Plans, bank: torch.Tensor) -> list[Image.Image]:
    pixels = (paint(plans, bank) * 127.5 + 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(each) for each in pixels]


def write_reference(bank: torch.Tensor, path: Path = REFERENCE, count: int = 2000) -> None:
    """Embeddings of scenes with two things: what the model's images are compared with."""
    plans, _ = make_plans(REFERENCE_SEED, 6 * count)
    chosen = np.nonzero((plans.slots[..., 0] >= 0).sum(axis=1) == 2)[0][:count]
    features = TinyFeatures()
    rows = [chosen[start : start + _AT_ONCE] for start in range(0, count, _AT_ONCE)]
    maps = [features.maps(_pictures(plans[each], bank))[-1] for each in rows]
    save_file({"embeddings": torch.cat(maps).mean(dim=(2, 3)).half()}, path)
    path.chmod(0o644)


def _labels(scene: Scene, boxes: torch.Tensor) -> list[dict[str, object]]:
    found = []
    for thing in scene.things:
        x0, y0, x1, y1 = boxes[thing.look, thing.size].tolist()
        box = (thing.x + x0, thing.y + y0, thing.x + x1, thing.y + y1)
        found.append({"name": thing.name, "colour": None if thing.colour < 0 else list(COLOURS)[thing.colour], "box": box})
    return found


def write_test_scenes(bank: torch.Tensor, folder: Path = Path("tests/data"), count: int = 96) -> None:
    """One sheet of pictures and their labels, for tests, which have no glyphs."""
    rng, looks, boxes = np.random.default_rng(TEST_SEED), Looks(), visible_boxes(bank)
    scenes = [make_scene(rng, looks) for _ in range(count)]
    sheet = Image.new("RGB", (_COLUMNS * IMAGE_SIZE, -(-count // _COLUMNS) * IMAGE_SIZE))
    for number, picture in enumerate(_pictures(Plans.of(scenes), bank)):
        y, x = (place * IMAGE_SIZE for place in divmod(number, _COLUMNS))
        sheet.paste(picture, (x, y))
    sheet.save(folder / "scenes.png", optimize=True)
    (folder / "scenes.json").write_text(json.dumps([_labels(scene, boxes) for scene in scenes]) + "\n")


def write() -> None:
    """Write both."""
    bank = load_bank(torch.device("cpu"))
    write_reference(bank)
    write_test_scenes(bank)


if __name__ == "__main__":
    typer.run(write)
