"""What a guided step costs: seconds and peak memory on full-size architectures, alternating with plain steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from spatialguide.config import GuideConfig
from spatialguide.evaluation.architectures import ARCHITECTURES, Architecture, conditions, make_unet
from spatialguide.evaluation.memory import PeakMemory
from spatialguide.guidance.attach import Attachment
from spatialguide.guidance.calls import Settings
from spatialguide.guidance.layers import default_layers, steered_layers
from spatialguide.guidance.losses import make_terms
from spatialguide.guidance.models import facts_of
from spatialguide.guidance.prompts import Prompts
from spatialguide.guidance.steering import make_steers
from spatialguide.registry import Registry
from spatialguide.scenes.planned import plan
from spatialguide.scenes.records import scene_from_triples

PROMPT = "a cat to the left of a dog"
#: Where those words stand among CLIP's tokens.
BINDING = ((2,), (8,))
#: The whole of a guided step, whatever the maps of random weights say.
_WHOLE = {"window": (0.0, 1.0), "settle": False, "patience": None}


@dataclass(frozen=True)
class StepCost:
    """Median seconds and peak bytes above the loaded weights of one step."""

    seconds: float
    memory: int | None


@dataclass(frozen=True)
class ArchitectureCost:
    """One architecture's steps. variants: by name."""

    name: str
    plain: StepCost
    variants: dict[str, StepCost]


def measure(
    name: str,
    config: GuideConfig,
    registry: Registry,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    rounds: int = 3,
    images: int = 1,
    say: Callable[[str], object] = lambda kind: None,
) -> ArchitectureCost:
    """Time plain and guided steps of an architecture in turn, after one of each that is not counted.

    Args:
        name: of one of ARCHITECTURES.
        config: its guidance and losses are used.
        rounds: steps of each kind; medians are reported.
        images: of one scene, denoised together; classifier-free guidance doubles them.
        say: told what is measured next.
    """
    place = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = _Bench(ARCHITECTURES[name], config, registry, dtype, place, images)
    kinds: dict[str, Callable[[], Any]] = {
        "plain": nullcontext,
        "strength 0": lambda: bench.guided(strength=0.0),
        "guided": bench.guided,
        "guided, all layers": lambda: bench.guided(layers_per_level=None),
        "bias": lambda: bench.guided(method="bias"),
        "bias and gradient": lambda: bench.guided(method="both", every=1),
        "guided, checkpointing": lambda: bench.guided(checkpointing=True),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind, around in kinds.items():
            say(kind)
            with around():
                taken = bench.run()
            if number:
                seconds[kind].append(taken)
    medians = {}
    # In steps of their own: measuring memory gives back what the allocator kept, which slows the step that follows.
    for kind, around in kinds.items():
        say(f"memory of {kind}")
        with PeakMemory(place) as memory, around():
            bench.run()
        medians[kind] = StepCost(statistics.median(seconds[kind]), memory.used)
    return ArchitectureCost(name, medians.pop("plain"), medians)


class _Bench:
    """One architecture, ready to be called as a pipeline calls it at one step of classifier-free guidance."""

    def __init__(
        self,
        architecture: Architecture,
        config: GuideConfig,
        registry: Registry,
        dtype: torch.dtype,
        device: torch.device,
        images: int,
    ) -> None:
        self._config, self._device, self._images = config, device, images
        self._unet = make_unet(architecture, dtype, device)
        self._call = conditions(architecture, 2 * images, dtype, device)
        shape = (images, self._unet.config.in_channels, architecture.side, architecture.side)
        noise = torch.randn(shape, generator=torch.Generator(device).manual_seed(2), dtype=dtype, device=device)
        self._sample, self._timestep = noise.repeat(2, 1, 1, 1), torch.tensor(500.0, device=device)
        scene = plan(scene_from_triples(PROMPT, [("cat", "left_of", "dog")]), registry.relations())
        self._terms, self._steers = make_terms(config.losses, registry), make_steers(config.steerings, registry)
        self._prompts = Prompts([scene] * images, [BINDING] * images, [PROMPT] * images, guided=True)
        scheduler = SimpleNamespace(
            timesteps=self._timestep[None].cpu(),
            config={"prediction_type": architecture.prediction},
            alphas_cumprod=torch.full((1000,), 0.5),
            step=lambda prediction: prediction,
        )
        self._pipeline = SimpleNamespace(unet=self._unet, scheduler=scheduler, do_classifier_free_guidance=True)

    def guided(self, **changes: Any) -> Attachment:
        config = self._config.guidance.model_copy(update={**_WHOLE, **changes})
        facts = facts_of(self._unet)
        layers = default_layers(self._unet, facts).first(config.layers_per_level)
        steers, steered = (self._steers, steered_layers(self._unet, facts)) if config.method != "gradient" else ((), ())
        settings = Settings(self._terms, layers, config, facts, steers=steers, steered=steered)
        return Attachment(self._pipeline, settings, prompts=self._prompts)

    def run(self) -> float:
        """Seconds of one step."""
        began = time.perf_counter()
        with torch.no_grad():
            without, given = self._unet(self._sample, self._timestep, **self._call, return_dict=False)[0].chunk(2)
            self._pipeline.scheduler.step(torch.lerp(without, given, 7.5))
        _wait(self._device)
        return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cost_table(costs: Sequence[ArchitectureCost], title: str) -> Table:
    """For the terminal."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, caption_justify="left")
    for column in ("model", "step", "s", "ratio", "peak GB", "extra GB"):
        table.add_column(column, no_wrap=True, justify="left" if column in ("model", "step") else "right")
    for cost in costs:
        table.add_row(cost.name, "plain", _seconds(cost.plain.seconds), "", _gigabytes(cost.plain.memory), "")
        for name, step in cost.variants.items():
            extra = None if step.memory is None or cost.plain.memory is None else step.memory - cost.plain.memory
            ratio = f"{step.seconds / cost.plain.seconds:.2f}"
            table.add_row("", name, _seconds(step.seconds), ratio, _gigabytes(step.memory), _gigabytes(extra))
        table.add_section()
    table.caption = "Peak memory is above the loaded weights."
    return table


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def _gigabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e9:.2f}"
