"""Train the tiny detector on synthetic scenes.

    python -m training.train_detector runs/detector --steps 1500

Blurred sprites are pasted in without a label, so that a coloured blob does not count as an object.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor
from torch.nn import functional

from spatialguide_plugins.tiny.detector import TinyDetector
from spatialguide_plugins.tiny.network import STRIDE, CentreNet, cell_centres
from training import checkpoint
from training.optimizer import MuonAdamW, warm_cosine
from training.scenes import GRID, IMAGE_SIZE, NAMES, SyntheticScene, load_sprites, make_scene

HELD_OUT_SEED = 10**9


def blob(sprite: np.ndarray) -> np.ndarray:
    """The sprite reduced to a coloured blob."""
    size = sprite.shape[0]
    channels = []
    for c in range(4):
        small = Image.fromarray(sprite[..., c]).resize((4, 4), Image.Resampling.BOX)
        channels.append(np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)))
    return np.clip(np.stack(channels, axis=-1), 0, 1)


def spoiled(rng: np.random.Generator, scene: SyntheticScene, sprites: dict) -> np.ndarray:
    """The scene's picture as a diffusion model might spoil it: noise, a faded range, blobs beside the objects."""
    image = scene.image.astype(np.float32) / 255
    if rng.random() < 0.4:
        sprite = blob(sprites[NAMES[rng.integers(len(NAMES))], 24])
        size = sprite.shape[0]
        for _ in range(20):
            x, y = (int(v) * GRID for v in rng.integers(0, (IMAGE_SIZE - size) // GRID + 1, size=2))
            if all(x + size <= b[0] or b[2] <= x or y + size <= b[1] or b[3] <= y for b in (o.box for o in scene.objects)):
                patch = image[y : y + size, x : x + size]
                image[y : y + size, x : x + size] = patch * (1 - sprite[..., 3:]) + sprite[..., :3]
                break
    if rng.random() < 0.5:
        image = (image - 0.5) * rng.uniform(0.8, 1.15) + 0.5 + rng.uniform(-0.06, 0.06, size=3).astype(np.float32)
    image = image + rng.normal(0, rng.choice([0, 0.02, 0.05]), size=image.shape).astype(np.float32)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def targets(scenes: list[SyntheticScene]) -> tuple[Tensor, Tensor, Tensor]:
    """Heat maps (images, classes, h, w), box targets (images, 4, h, w) in cells, and the mask of object cells."""
    side = IMAGE_SIZE // STRIDE
    heat = torch.zeros(len(scenes), len(NAMES), side, side)
    boxes = torch.zeros(len(scenes), 4, side, side)
    mask = torch.zeros(len(scenes), side, side, dtype=torch.bool)
    centres = cell_centres(side, side)
    for number, scene in enumerate(scenes):
        for item in scene.objects:
            x0, y0, x1, y1 = item.box
            middle = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2])
            distance = (centres - middle[:, None, None]).square().sum(dim=0)
            bump = torch.exp(-distance / (2 * STRIDE**2))
            index = NAMES.index(item.name)
            heat[number, index] = torch.maximum(heat[number, index], bump)
            column, row = (min(side - 1, int(v // STRIDE)) for v in middle.tolist())
            heat[number, index, row, column] = 1.0
            near = distance <= (1.5 * STRIDE) ** 2
            edges = torch.stack([centres[0] - x0, centres[1] - y0, x1 - centres[0], y1 - centres[1]]) / STRIDE
            boxes[number, :, near] = edges[:, near]
            mask[number] |= near
    return heat, boxes, mask


def detector_loss(logits: Tensor, boxes: Tensor, heat: Tensor, box_target: Tensor, mask: Tensor) -> Tensor:
    """Penalty-reduced focal loss of "Objects as Points" plus L1 on boxes near centres."""
    probability = logits.float().sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = heat == 1
    positive = ((1 - probability) ** 2 * probability.log())[hit].sum()
    negative = ((1 - heat) ** 4 * probability**2 * (1 - probability).log())[~hit].sum()
    sides = functional.l1_loss(boxes.float().permute(0, 2, 3, 1)[mask], box_target.permute(0, 2, 3, 1)[mask])
    return -(positive + negative) / hit.sum() + 0.2 * sides


def precision_recall(detector: TinyDetector, scenes: list[SyntheticScene]) -> tuple[float, float]:
    """A detection is right when it has the name of an unmatched object and its centre within 4 pixels of that object's."""
    right = found = present = 0
    detections = detector([Image.fromarray(scene.image) for scene in scenes], NAMES)
    for scene, listed in zip(scenes, detections, strict=True):
        left = list(scene.objects)
        present += len(left)
        found += len(listed)
        for detection in listed:
            x, y = detection.centroid
            for item in left:
                ix, iy = (item.box[0] + item.box[2]) / 2, (item.box[1] + item.box[3]) / 2
                if item.name == detection.label and abs(x - ix) <= 4 and abs(y - iy) <= 4:
                    left.remove(item)
                    right += 1
                    break
    return right / max(found, 1), right / max(present, 1)


def train(out: Path, steps: int = 1500, batch: int = 48, peak_lr: float = 2e-3, seed: int = 0) -> None:
    """Train, or go on from the checkpoint in OUT."""
    torch.manual_seed(seed)
    network = CentreNet(len(NAMES))
    outer = ("stem.0.weight", "classes.weight", "box.weight")
    optimizer = MuonAdamW(network.named_parameters(), lambda name: name in outer, peak_lr, peak_lr)
    start = 0
    state = checkpoint.load(out / "checkpoint.pt")
    if state:
        network.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    sprites = load_sprites()
    rng = np.random.default_rng(HELD_OUT_SEED)
    held_out = [make_scene(rng, sprites) for _ in range(500)]
    began = time.time()
    for step in range(start, steps):
        rng = np.random.default_rng((seed, 3, step))
        scenes = [make_scene(rng, sprites) for _ in range(batch)]
        pixels = np.stack([spoiled(rng, scene, sprites) for scene in scenes])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        with torch.autocast("cpu", torch.bfloat16):
            logits, boxes = network(images.to(memory_format=torch.channels_last))
        loss = detector_loss(logits, boxes, *targets(scenes))
        loss.backward()
        optimizer.step(torch.tensor(warm_cosine(step, steps)))
        if (step + 1) % 100 == 0 or step + 1 == steps:
            precision, recall = precision_recall(TinyDetector(network, NAMES), held_out)
            network.train()
            figures = f"loss {loss.item():.3f} precision {precision:.4f} recall {recall:.4f}"
            print(f"step {step + 1} {figures} {time.time() - began:.0f}s", flush=True)
            checkpoint.save(out / "checkpoint.pt", model=network.state_dict(), optimizer=optimizer.state_dict(), step=step + 1)


if __name__ == "__main__":
    typer.run(train)
