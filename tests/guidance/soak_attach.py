"""Attach and detach ten thousand times, drawing now and then; prints hooks, objects and resident memory as it goes.

    python tests/guidance/soak_attach.py [--cycles 10000]

Ends with exit code 1 if a hook stays behind or memory grows.
"""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import torch
import typer

from spatialguide import SpatialGuide
from spatialguide.scenes.records import scene_from_triples

PROMPT = "a cat to the left of a dog"
#: Freed memory comes back from the allocator a little at a time.
_SLACK = 8 * 2**20


def resident() -> int:
    """Bytes of the process in memory (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def soak(cycles: Annotated[int, typer.Option(min=10, help="attach blocks; one in a hundred draws two steps")] = 10_000) -> None:
    """Run the cycles."""
    guide = SpatialGuide(guidance={"window": (0.0, 1.0)})
    pipeline = guide.pipeline
    pipeline.set_progress_bar_config(disable=True)
    scene = scene_from_triples(PROMPT, [("cat", "left_of", "dog")])
    readings = []
    for number in range(1, cycles + 1):
        with guide.attach(pipeline, PROMPT, scene=scene):
            if number % 100 == 0:
                seeded = torch.Generator().manual_seed(0)
                pipeline(PROMPT, num_inference_steps=2, width=64, height=64, generator=seeded, output_type="latent")
        if number % (cycles // 10) == 0:
            gc.collect()
            hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipeline.unet.modules())
            readings.append((hooks, len(gc.get_objects()), resident()))
            print(f"{number} cycles: {hooks} hooks, {readings[-1][1]} objects, {readings[-1][2] / 2**20:.1f} MiB", flush=True)
    # The first reading is after the caches have filled.
    (_, objects, memory), (hooks, last_objects, last_memory) = readings[0], readings[-1]
    if hooks or last_objects > objects + 100 or last_memory > memory + _SLACK:
        sys.exit("something stays behind")


if __name__ == "__main__":
    typer.run(soak)
