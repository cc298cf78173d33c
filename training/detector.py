"""Train the bundled detector on synthetic scenes, most of them as the autoencoder returns them.

    python -m training.detector runs/detector --vae runs/vae/vae --minutes 0.7

Blurred things are pasted in without a label, so that a coloured blob does not count as an object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional

from spatialguide_plugins.tiny.network import STRIDE, CentreNet, cell_centres
from training import checkpoint
from training.autoencoder import HELD_OUT_SEED
from training.glyphs import GLYPHS
from training.muon import Trainer, warm_cosine
from training.pace import Pace
from training.paint import load_bank, paint, visible_boxes
from training.plans import make_plans
from training.things import COLOURS, NAMES
from training.world import IMAGE_SIZE, SIZES, SLOTS, Plans

SIDE = IMAGE_SIZE // STRIDE


class Targets:
    """What the network should say of scenes."""

    def __init__(self, bank: Tensor) -> None:
        kept = np.load(GLYPHS)
        self.boxes = visible_boxes(bank)
        self.thing, self.colour = (torch.from_numpy(kept[each]).to(bank.device) for each in ("thing", "colour"))

    def __call__(self, plans: Plans) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(scenes, SLOTS, 4) boxes in pixels, and (scenes, SLOTS) names, colours (-1: its own) and which slots are full."""
        slots = torch.from_numpy(plans.slots.astype(np.int64)).to(self.boxes.device)
        look, size, x, y = slots.unbind(dim=2)
        full, look = look >= 0, look.clamp_min(0)
        boxes = self.boxes[look, size.clamp_min(0)] + torch.stack([x, y, x, y], dim=2)
        return boxes.float(), self.thing[look], self.colour[look], full

    def maps(self, plans: Plans) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Heat (scenes, names, h, w), sides (scenes, 4, h, w) in cells, colours (scenes, h, w) and which cells have a box."""
        boxes, names, colours, full = self(plans)
        centres = cell_centres(SIDE, SIDE).to(boxes.device)
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        distance = (centres - middle[..., None, None]).square().sum(dim=2)
        bump = torch.exp(-distance / (2 * STRIDE**2)) * full[..., None, None]
        cell = (middle / STRIDE).long().clamp(0, SIDE - 1)
        scenes, slots = torch.meshgrid(*(torch.arange(n, device=boxes.device) for n in names.shape), indexing="ij")
        bump[scenes, slots, cell[..., 1], cell[..., 0]] = full.float()
        heat = torch.zeros(len(names), len(NAMES), SIDE, SIDE, device=boxes.device)
        heat.scatter_reduce_(1, names[..., None, None].expand_as(bump), bump, "amax")
        # Each cell belongs to the thing whose centre is nearest.
        distance = distance.masked_fill(~full[..., None, None], torch.inf)
        nearest = distance.argmin(dim=1, keepdim=True)
        near = distance.gather(1, nearest)[:, 0] <= (1.5 * STRIDE) ** 2
        edges = torch.cat([centres - boxes[..., :2, None, None], boxes[..., 2:, None, None] - centres], dim=2) / STRIDE
        sides = edges.gather(1, nearest[:, :, None].expand(-1, -1, 4, -1, -1))[:, 0]
        return heat, sides, colours.gather(1, nearest.flatten(2)[:, 0]).view_as(near), near


def loss_of(network: CentreNet, images: Tensor, heat: Tensor, sides: Tensor, colours: Tensor, near: Tensor) -> Tensor:
    """Penalty-reduced focal loss of "Objects as Points", L1 on boxes and cross-entropy of colours near centres."""
    logits, boxes, tints = (each.float() for each in network(images))
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = heat == 1
    positive = (1 - probability) ** 2 * probability.log() * hit
    negative = (1 - heat) ** 4 * probability**2 * (1 - probability).log() * ~hit
    edges = ((boxes - sides).abs() * near[:, None]).sum() / (4 * near.sum() + 1)
    coloured = near & (colours >= 0)
    tint = functional.cross_entropy(tints, colours.clamp_min(0), reduction="none") * coloured
    return -(positive.sum() + negative.sum()) / hit.sum() + 0.2 * edges + 0.2 * tint.sum() / (coloured.sum() + 1)


def spoiled(plans: Plans, bank: Tensor, vae: nn.Module, generator: torch.Generator) -> Tensor:
    """Scenes as a diffusion model might spoil them: through the autoencoder, blobs beside things, faded, noisy."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(len(plans.slots), *shape, generator=generator, device=bank.device)

    images = paint(plans, bank)
    # A blob is a piece of another scene, blurred, where this one has nothing.
    other = functional.interpolate(functional.avg_pool2d(images.roll(1, 0), 12, 8, 2), images.shape[2:], mode="bicubic")
    empty = torch.ones(len(images), 1, IMAGE_SIZE, IMAGE_SIZE)
    for row, slots in zip(empty, plans.slots, strict=True):
        for look, size, x, y in slots:
            if look >= 0:
                row[:, y : y + SIZES[size], x : x + SIZES[size]] = 0
    soft = functional.avg_pool2d(empty.to(bank.device), 5, 1, 2) * (uniform(1, 1, 1) < 0.3)
    images = torch.lerp(images, other, soft)
    precision = next(vae.parameters()).dtype
    with torch.no_grad():
        latents = vae.encode(images.to(precision, memory_format=torch.channels_last)).latents.float()
        noise = torch.randn(latents.shape, generator=generator, device=bank.device)
        rebuilt = vae.decode((latents + 0.3 * uniform(1, 1, 1) * noise).to(precision)).sample.float()
    images = torch.where(uniform(1, 1, 1) < 0.6, rebuilt, images)
    faded = images * (0.8 + 0.35 * uniform(1, 1, 1)) + 0.24 * (uniform(3, 1, 1) - 0.5)
    images = torch.where(uniform(1, 1, 1) < 0.3, faded, images)
    noise = torch.randn(images.shape, generator=generator, device=bank.device)
    return (images + 0.08 * uniform(1, 1, 1) * (uniform(1, 1, 1) < 0.5) * noise).clamp(-1, 1)


@torch.no_grad()
def figures(network: CentreNet, images: Tensor, truth: tuple[Tensor, Tensor, Tensor, Tensor]) -> str:
    """Precision, recall (name right, centre within 8 pixels, each thing once) and the share of right colours."""
    boxes, names, colours, full = (each.tolist() for each in truth)
    right = found = present = coloured = hues = 0
    for number, detections in enumerate(network.detect(images)):
        left = [i for i in range(SLOTS) if full[number][i]]
        present, found = present + len(left), found + len(detections)
        for name, _, tint, (x0, y0, x1, y1) in detections:
            for i in left:
                a, b, c, d = boxes[number][i]
                if names[number][i] == name and abs(a + c - x0 - x1) <= 16 and abs(b + d - y0 - y1) <= 16:
                    left.remove(i)
                    right += 1
                    if colours[number][i] >= 0:
                        coloured, hues = coloured + 1, hues + (colours[number][i] == tint)
                    break
    return f"precision {right / max(found, 1):.4f} recall {right / max(present, 1):.4f} colours {hues / max(coloured, 1):.4f}"


def train(
    out: Path,
    vae: Annotated[Path, typer.Option(help="folder of the autoencoder")],
    steps: int = 3000,
    batch: int = 128,
    scenes: int = 100000,
    peak_lr: float = 2e-3,
    seed: int = 5,
    minutes: Annotated[float | None, typer.Option(help="plan as many steps as this time allows")] = None,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Train, or go on from the checkpoint in OUT."""
    torch.manual_seed(seed)
    place = torch.device(device)
    plans, _ = make_plans(seed, scenes)
    bank = load_bank(place)
    targets = Targets(bank)
    held_out, _ = make_plans(HELD_OUT_SEED, 500)
    clean, truth = paint(held_out, bank), targets(held_out)
    network = CentreNet(len(NAMES), len(COLOURS)).to(place, memory_format=torch.channels_last)
    outer = ("stem.0.weight", "classes.weight", "box.weight", "colours.weight")
    trainer = Trainer(network, loss_of, lambda name: name in outer, peak_lr, peak_lr)
    precision = next(trainer.copy.parameters()).dtype
    coder = AutoencoderTiny.from_pretrained(vae).to(place, precision, memory_format=torch.channels_last)
    pace = Pace(0, steps, minutes)
    if state := checkpoint.load(out / "checkpoint.pt"):
        trainer.load_state_dict(state)
        pace = Pace(state["step"], state["steps"], None)
    for step in pace:
        first = step * batch % (scenes - batch)
        some = plans[first : first + batch]
        generator = torch.Generator(place).manual_seed(seed * 10**7 + step)
        images = spoiled(some, bank, coder, generator).to(precision, memory_format=torch.channels_last)
        loss = trainer.step(warm_cosine(step, pace.steps), images, *targets.maps(some))
        if pace.ends(step) or (step + 1) % 500 == 0:
            text = figures(network, clean, truth)
            print(f"step {step + 1}/{pace.steps} loss {loss.item():.3f} {text} {pace.seconds:.0f}s", flush=True)
            checkpoint.save(out / "checkpoint.pt", **trainer.state_dict(), step=step + 1, steps=pace.steps)


if __name__ == "__main__":
    typer.run(train)
