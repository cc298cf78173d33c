"""The tiny backend: loads the pipeline folder that ships with the package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from PIL import ImageColor

from spatialguide.contracts import Backend, Generation
from spatialguide.errors import ConfigError
from spatialguide.scenes.scene import Scene, SceneObject

WEIGHTS = Path(str(files("spatialguide_plugins.tiny"))) / "weights"


@cache
def objects() -> dict[str, Any]:
    """What the training scenes show, and what they hold out (`training/things.py`). names: singular to plural."""
    found: dict[str, Any] = json.loads((WEIGHTS / "objects.json").read_text(encoding="utf-8"))
    return found


def _doubts_of(item: SceneObject) -> Iterator[str]:
    known, name = objects(), item.text.lower()
    names, colours, most = known["names"], known["colours"], known["most"]
    if name not in names:
        nearest = known["near"].get(item.head.lower()) or get_close_matches(name, names, n=2, cutoff=0.75)
        hint = f"nearest: {', '.join(nearest)}" if nearest else f"it draws {', '.join(names)}"
        yield f"'{name}' is not among the {len(names)} things that the bundled model draws; {hint}"
    for word in map(str.lower, item.attributes):
        if word in colours and name in names and name not in known["recoloured"]:
            yield f"the bundled model draws '{name}' in its own colours alone, not in {word}"
        elif word not in colours and word in ImageColor.colormap:
            yield f"'{word}' is not among the colours that the bundled model knows: {', '.join(colours)}"
    if (item.count or 1) > most:
        plural = names.get(name, name)
        yield f"the bundled model has never seen more than {most} of a kind: {item.count} {plural} are too many for it"


@contextmanager
def _loading_quietly() -> Iterator[None]:
    """Silence the libraries while the model loads: bars that last a second, and notes on parts that we chose on purpose."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


class TinyBackend(Backend):
    """A 128x128 latent-diffusion model of emoji scenes (CLIPTextModel, UNet2DConditionModel, AutoencoderTiny).

    Args:
        backdrop: begin with a picture of this colour under the noise, as image-to-image does: backgrounds that training never
            showed, such as "navy". Any name or code that Pillow knows.
        noise: image-to-image's strength, the part of the sampling steps that is run.
    """

    generation: ClassVar[Generation] = Generation(steps=20, guidance_scale=4.0, width=128, height=128)

    def __init__(self, backdrop: str | None = None, noise: float = 0.9) -> None:
        if backdrop is not None:
            try:
                ImageColor.getrgb(backdrop)
            except (ValueError, AttributeError, TypeError) as error:
                raise ConfigError(f"backdrop must be a colour that Pillow knows, such as navy, not '{backdrop}'") from error
        if not isinstance(noise, (int, float)) or not 0 < noise <= 1:
            raise ConfigError(f"noise must be a number above 0 and at most 1, not {noise}")
        self._backdrop, self._noise = backdrop, noise

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the objects in the training scenes."""
        return tuple(objects()["names"])

    def doubts(self, scene: Scene) -> list[str]:
        """Names, colours of things and counts that the model cannot draw, with the nearest names that it can."""
        return list(dict.fromkeys(line for item in scene.objects for line in _doubts_of(item)))

    def load(self) -> Any:
        """The pipeline, in float32 on the CPU."""
        with _loading_quietly():
            import torch
            from diffusers import StableDiffusionPipeline

            kind: Any = StableDiffusionPipeline
            if self._backdrop is not None:
                from spatialguide_plugins.tiny.backdrop import BackdropPipeline

                kind = BackdropPipeline
            pipeline = kind.from_pretrained(WEIGHTS / "pipeline", local_files_only=True, use_safetensors=True)
            if self._backdrop is not None:
                pipeline.backdrop, pipeline.noise = self._backdrop, self._noise
            # A CPU's convolutions are a tenth faster so, and the autoencoder's a third.
            pipeline.unet.to(memory_format=torch.channels_last)
            pipeline.vae.to(memory_format=torch.channels_last)
            return pipeline
