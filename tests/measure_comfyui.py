"""How often the ComfyUI pack's steering places two objects as asked, on the bundled model: left alone, and steered.

python tests/measure_comfyui.py 24
"""

from __future__ import annotations

import importlib.util
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from test_integrations import Clip
from torch import Tensor
from torch.nn import functional

from spatialguide import SpatialGuide
from spatialguide.evaluation.detection import make_detector
from spatialguide.registry import default_registry

FOLDER = Path(__file__).parent.parent / "examples" / "integrations" / "comfyui"
THINGS = ("cat", "dog", "bus", "car", "bird", "tree", "robot", "rocket", "apple", "banana", "house", "giraffe")
PHRASES = ("to the left of", "to the right of", "above", "below")
STEPS = 20


def attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int, mask: Tensor | None = None, **options: Any) -> Tensor:
    """As ComfyUI's, of tensors (images, tokens, channels)."""
    parts = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (queries, keys, values))
    found = functional.scaled_dot_product_attention(*parts, attn_mask=None if mask is None else mask[:, None])
    return found.transpose(1, 2).flatten(2)


class Overridden(AttnProcessor2_0):
    """Attention to words that goes through an override, as in ComfyUI."""

    override: Any = None
    calls = 0

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """One layer."""
        queries, keys = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states)
        values, side = attn.to_v(encoder_hidden_states), round(hidden_states.shape[1] ** 0.5)
        schedule = torch.linspace(14.0, 0.0, STEPS + 1)
        now = schedule[Overridden.calls - 1 : Overridden.calls]
        options = {"activations_shape": [2, 1, side, side], "cond_or_uncond": [1, 0], "sigmas": now, "sample_sigmas": schedule}
        override = Overridden.override or (lambda inner, *args, **kwargs: inner(*args, **kwargs))
        return attn.to_out[0](override(attention, queries, keys, values, attn.heads, transformer_options=options))


def load_pack() -> Any:
    """The node pack, as ComfyUI loads it."""
    spec = importlib.util.spec_from_file_location("pack", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["pack"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    return pack


def is_right(image: Any, planned: Any, detector: Any) -> bool:
    """Whether both are there, and the surest of each stands as asked."""
    (relation,) = planned.relations
    labels = [planned.scene.objects[index].text for index in (relation.subject, *relation.grounds)]
    found = [[box for box in detector([image], labels)[0] if box.label == label] for label in labels]
    if not all(found):
        return False
    boxes = [max(each, key=lambda box: box.score).box for each in found]
    centres = np.array([((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes])
    return bool(relation.predicate.distance(*centres) > 0)


def main(count: int) -> None:
    """Draw and count."""
    warnings.simplefilter("ignore")
    guide, pack = SpatialGuide(), load_pack()
    pipe, detector = guide.pipeline, make_detector(default_registry(), "tiny")
    pipe.set_progress_bar_config(disable=True)
    layers = pipe.unet.attn_processors.items()
    pipe.unet.set_attn_processor({name: Overridden() if "attn2" in name else each for name, each in layers})

    def counted(*_: Any) -> None:
        Overridden.calls += 1

    pipe.unet.register_forward_pre_hook(counted)
    chosen = random.Random(1)
    right = {"left alone": 0, "steered": 0}
    for seed in range(count):
        one, other = chosen.sample(THINGS, 2)
        planned = guide.plan(f"a {one} {PHRASES[seed % 4]} a {other}")
        words, length = pack.steering.positions(Clip(pipe.tokenizer), planned.scene)
        for name, override in (
            ("left alone", None),
            ("steered", pack.steering.Steering(words, planned.boxes, length, 2.0, 0.4)),
        ):
            Overridden.override, Overridden.calls = override, 0
            generator = torch.Generator().manual_seed(seed)
            drawn = pipe(planned.scene.prompt, num_inference_steps=STEPS, guidance_scale=4.0, generator=generator).images[0]
            right[name] += is_right(drawn, planned, detector)
    print(*(f"{name}: {number} of {count}" for name, number in right.items()), sep="\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
