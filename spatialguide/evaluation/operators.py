"""How many operators guidance adds to a run, and how often the host waits for the device: exact, and the same everywhere.

On a GPU a small operator costs its launch, whatever the number of images, so that the count is the cost of all that is not the
denoiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode

from spatialguide.config import GuideConfig
from spatialguide.guide import SpatialGuide

#: What reads a tensor's value on the host.
_WAITS = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::item", "aten::equal")
STEPS = 2


class OperatorCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that run inside its block, those of a backward pass included."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators, self.waits = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators += 1
        self.waits += func._schema.name in _WAITS
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class AddedOperators:
    """What one guided step of two adds to the run of a batch. plain: operators of the whole plain run.

    waits: how often the host reads a value from the device.
    """

    plain: int
    added: int
    waits: int


def two_steps(config: GuideConfig) -> GuideConfig:
    """The configuration with two sampling steps, of which the first is guided."""
    window = (0.0, 1 / STEPS)
    guidance = config.guidance.model_copy(update={"window": window})
    steerings = {name: each.model_copy(update={"window": window}) for name, each in config.steerings.items()}
    return config.model_copy(update={"steps": STEPS, "guidance": guidance, "steerings": steerings})


def added_operators(guide: SpatialGuide, prompts: Sequence[str], images_per_prompt: int = 1) -> AddedOperators:
    """Count a guided and a plain run of two sampling steps, of which the first is guided.

    Args:
        guide: whose window holds the first step only.
    """

    def run(guided: bool) -> Callable[[], object]:
        return lambda: guide(list(prompts), images_per_prompt=images_per_prompt, guided=guided)

    run(True)()  # what is made once is made now
    counts = []
    for guided in (False, True):
        with OperatorCount() as count:
            run(guided)()
        counts.append(count)
    plain, whole = counts
    return AddedOperators(plain.operators, whole.operators - plain.operators, whole.waits - plain.waits)


def scoring_operators(guide: SpatialGuide, prompt: str) -> int:
    """Operators of one guided step that are not the denoiser's: from its queries and keys to the correction, and back.

    Counted as those of the whole step, less those of a backward through the denoiser from the sum of what was observed.
    """
    pipeline, usual = guide.pipeline, guide.backend.generation
    attachment = guide.attach(pipeline, prompt)
    calls: Any = attachment._calls
    score, corrected, found = calls._score, calls.corrected, [0]

    def counted_score(step: Any, denoiser: Any) -> None:
        observed = [tensor for tensor in step.observer.observed() if tensor.requires_grad]
        with OperatorCount() as backward:
            if observed:
                with torch.enable_grad():
                    sums = [tensor.sum() for tensor in observed]
                    torch.autograd.grad(sums, step.leaves, retain_graph=True)
        with OperatorCount() as whole:
            score(step, denoiser)
        found[0] += whole.operators - backward.operators

    def counted_correction(combined: Any) -> Any:
        with OperatorCount() as whole:
            result = corrected(combined)
        found[0] += whole.operators
        return result

    calls._score, calls.corrected = counted_score, counted_correction
    with attachment:
        pipeline(prompt, num_inference_steps=STEPS, width=usual.width, height=usual.height, output_type="latent")
    return found[0]


#: Batches of other words and of other structures: prompts, and images of each.
_ONE = tuple(
    f"a {one} to the left of a {other}"
    for one, other in zip(["cat", "bus", "cow", "cup"], ["dog", "car", "horse", "book"], strict=True)
)
BATCHES: dict[str, tuple[tuple[str, ...], int]] = {
    "one image": (_ONE[:1], 1),
    "32 images, 8 prompts of one structure": (tuple(f"{style}{prompt}" for style in ("", "a photo of ") for prompt in _ONE), 4),
    "32 images, 8 prompts of four structures": (
        tuple(
            f"{style}{prompt}"
            for style in ("", "a photo of ")
            for prompt in (_ONE[0], "a bus above a car", "a cow below a horse and left of a cup", "a cat, a dog above a book")
        ),
        4,
    ),
}


def operators_table(guide: SpatialGuide) -> Table:
    """For the terminal: what guidance adds to each of the BATCHES, and what scoring takes."""
    table = Table(title="Operators of two sampling steps, one of them guided", title_justify="left", box=SIMPLE_HEAD)
    for column in ("batch", "plain", "added", "ratio", "waits"):
        table.add_column(column, no_wrap=True, justify="left" if column == "batch" else "right")
    for name, (prompts, images) in BATCHES.items():
        found = added_operators(guide, prompts, images)
        table.add_row(name, str(found.plain), str(found.added), f"{found.added / found.plain:.2f}", str(found.waits))
    table.caption = f"Of one guided step, {scoring_operators(guide, _ONE[0])} are not the denoiser's."
    table.caption_justify = "left"
    return table
