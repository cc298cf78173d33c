"""SpatialGuide: the public face. Prompt in, guided images out, or a guided block around a pipeline that the user has."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatialguide.config import GuideConfig, TermConfig, load_config, make_config
from spatialguide.contracts import Backend, Layers
from spatialguide.errors import (
    BindingError,
    InvalidPluginError,
    MissingTermWarning,
    ObjectWarning,
    PromptError,
    SpatialGuideError,
)
from spatialguide.marks import is_marked
from spatialguide.prompts import Parsed, PromptReader
from spatialguide.registry import Registry, default_registry
from spatialguide.scene import Scene
from spatialguide.versions import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from spatialguide.trace import Trace


@dataclass(frozen=True)
class Result:
    """Images of one call, prompt after prompt, with what made them.

    metadata: JSON-ready description (prompts, scenes, seeds, configuration, version), one dict per image.
    """

    images: list[Image]
    scenes: tuple[Scene, ...]
    trace: Trace
    metadata: list[dict[str, Any]]

    @property
    def scene(self) -> Scene:
        """The first prompt's scene."""
        return self.scenes[0]

    def scene_of(self, image: int) -> Scene:
        """The scene of one image."""
        return self.scenes[image * len(self.scenes) // len(self.images)]

    def attention_sheet(self, image: int = 0) -> Image:
        """Every object's attention over the steps, laid over the image: a row for each object (`pictures.attention_sheet`).

        Raises:
            PictureError: the call was not told to watch, or the prompt has no object.
        """
        from spatialguide.pictures import attention_sheet

        return attention_sheet(self.images[image], self.trace, self.scene_of(image), image)

    def attention_frames(self, image: int = 0) -> list[Image]:
        """The same as an animation, a frame for each step, for `pictures.save_gif` (`pictures.attention_frames`).

        Raises:
            PictureError: the call was not told to watch, or the prompt has no object.
        """
        from spatialguide.pictures import attention_frames

        return attention_frames(self.images[image], self.trace, self.scene_of(image), image)

    def figure(self, image: int = 0) -> Figure:
        """Loss terms, strength and centroid paths as a matplotlib figure (`pictures.trace_figure`).

        Raises:
            PictureError: matplotlib is missing, or the image was neither guided nor watched.
        """
        scene = self.scene_of(image)
        return self.trace.figure(image, [scene.name(index) for index in range(len(scene.objects))])

    def save(self, path: str | Path, image: int = 0) -> None:
        """Write an image as a PNG that carries what made it, for `spatialguide replay`.

        Raises:
            OutputError: it cannot be written there, or the name does not end in .png.
        """
        from spatialguide.images import save_png

        save_png(self.images[image], Path(path), self.metadata[image])

    def _repr_png_(self) -> bytes:
        """The images side by side, for notebooks."""
        from spatialguide.images import png_bytes
        from spatialguide.pictures import row

        return png_bytes(row(self.images))


class SpatialGuide:
    """Draws prompts the way round they say.

    Args:
        config: a full configuration; without it, `preset` and keyword overrides make one.
        preset: name of a starting point, see `spatialguide.config.PRESETS`.
        registry: plugins; all installed ones by default.
        overrides: configuration keys, such as backend="tiny", steps=20, guidance={"strength": 2.0}.

    Raises:
        ConfigError: an unknown key or a value out of range.

    >>> guide = SpatialGuide(steps=20)
    >>> guide.parse("a cat to the left of a dog").describe()
    'objects: cat, dog; relations: cat left_of dog'
    """

    def __init__(
        self,
        config: GuideConfig | None = None,
        *,
        preset: str = "balanced",
        registry: Registry | None = None,
        **overrides: Any,
    ) -> None:
        if config is not None and (overrides or preset != "balanced"):
            raise TypeError("give either a whole config, or a preset and overrides")
        self.config = config if config is not None else make_config(preset, **overrides)
        self.registry = registry if registry is not None else default_registry()

    @classmethod
    def from_config(cls, path: str | Path, **overrides: Any) -> SpatialGuide:
        """A guide from a YAML file; keyword overrides win."""
        return cls(load_config(path, **overrides))

    def with_config(self, config: GuideConfig) -> SpatialGuide:
        """A guide with another configuration and the same plugins; it shares this one's model where both draw with the same."""
        other = SpatialGuide(config, registry=self.registry)
        if all(getattr(config, name) == getattr(self.config, name) for name in ("backend", "backend_options")):
            other.backend, other._loaded = self.backend, self._loaded
        return other

    # --- what the prompt says ------------------------------------------------------------------------------------

    @cached_property
    def _reader(self) -> PromptReader:
        return PromptReader(self.registry, self.config.parser, self.config.strict)

    def parse(self, prompt: str) -> Scene:
        """Parse a prompt into a scene, and check that it can hold.

        Marks in the prompt beat the parser: "a cat and a dog {{cat left_of dog}}" (see `spatialguide.marks`). The scene's
        own `prompt` is the text without them.

        Raises:
            PromptError: the prompt is empty or no text, or its marks are wrong.
            UnknownPluginError: all that the prompt says of places is said with phrases that no relation plugin has.
            ContradictionError: its relations cannot hold together.
        """
        return self._reader.parse(prompt)

    def parse_many(self, prompts: Iterable[str]) -> Iterator[Parsed]:
        """Parse many prompts, in order and lazily; a prompt that cannot be parsed or cannot hold does not stop the others.

        A parser with a method `pipe(prompts)` is given the prompts in bulk.
        """
        return self._reader.parse_many(prompts)

    # --- a pipeline of the user's ----------------------------------------------------------------------------------

    @contextmanager
    def attach(
        self,
        pipeline: Any,
        prompt: str | Sequence[str],
        *,
        scene: Scene | Sequence[Scene] | None = None,
        layers: Layers | None = None,
        tokens: Sequence[Sequence[Sequence[int]]] | None = None,
        guidance_scale: float | None = None,
        watch: bool = False,
    ) -> Iterator[Trace]:
        """Guide a diffusers pipeline that the caller runs inside the block.

            with guide.attach(pipe, prompt) as trace:
                image = pipe(prompt).images[0]

        Args:
            pipeline: a diffusers pipeline with a UNet, or PixArt's or Stable Diffusion 3's.
            prompt: the prompt or prompts that the pipeline will be called with, in order.
            scene: scenes made by hand; parsed from the prompts if not given.
            layers: attention layers to observe; by default a UNet decoder's two coarsest levels, or a transformer's middle.
            tokens: positions of each object's tokens, per prompt and object; by the pipeline's tokenizers if not given. For
                prompt_embeds that are not the tokenizer's one-to-one encoding of the prompt, or a prompt_2 that differs.
            guidance_scale: that of your call, for pipelines that do not say what they were called with (PixArt's); by default
                their usual one. Mode "relative", `rescale` and `clip` need it.
            watch: look at every step, and keep the objects' attention maps in the trace, for `spatialguide.pictures`.

        The configuration's scheduler, steps and scale are not used: those are the caller's.

        Yields:
            The trace, filled as the pipeline runs.

        Raises:
            PromptError, ContradictionError, BindingError, UnsupportedPipelineError: before anything is touched.
        """
        from spatialguide.pipelines import cleans_away

        prompts = _prompts(prompt)
        if scene is None and any(isinstance(text, str) and is_marked(text, self.registry.relations()) for text in prompts):
            raise PromptError(
                "attach() guides a call that you make, and the text encoder must not read the marks: "
                "use scene = guide.parse(prompt), then attach(pipeline, scene.prompt, scene=scene) and pipeline(scene.prompt)"
            )
        scenes = self._reader.scenes(prompts, scene, self.guides)
        if tokens is not None and not all(_are_positions(each) for objects in tokens for each in objects):
            raise BindingError("tokens must hold at least one position for each object, counted from 0")
        if tokens is not None and [len(each) for each in tokens] != [len(each.objects) for each in scenes]:
            raise BindingError(f"tokens must hold positions for each object of each prompt: {[s.describe() for s in scenes]}")
        for each in scenes if tokens is None else ():
            if cleans_away(pipeline, each.prompt):
                name = type(pipeline).__name__
                fault = f"{name} rewrites '{each.prompt}' before reading it, unless called with clean_caption=False"
                warnings.warn(fault, ObjectWarning, stacklevel=3)
        with self._attached(pipeline, scenes, layers, tokens, guidance_scale, watch) as trace:
            yield trace

    @contextmanager
    def _attached(
        self,
        pipeline: Any,
        scenes: tuple[Scene, ...],
        layers: Layers | None,
        tokens: Sequence[Sequence[Sequence[int]]] | None = None,
        guidance_scale: float | None = None,
        watch: bool = False,
        guided: bool = True,
    ) -> Iterator[Trace]:
        from spatialguide.binding import bind, encodings
        from spatialguide.guidance import Guidance
        from spatialguide.layers import default_layers, find_layer
        from spatialguide.losses import LossSum, make_terms
        from spatialguide.pipelines import denoiser_of, plain, refuse_unsupported
        from spatialguide.trace import Trace

        refuse_unsupported(pipeline)
        denoiser = plain(denoiser_of(pipeline))
        guiding = [self.guides(scene) for scene in scenes]
        # Where nothing is to be seen the plain pipeline draws.
        looked_at = tuple(
            s if watch or guides else s.model_copy(update={"objects": ()}) for s, guides in zip(scenes, guiding, strict=True)
        )
        stretches = encodings(pipeline)
        settings, terms = self.config.guidance, make_terms(self.losses, self.registry)
        if not (guided and any(guiding)):
            settings = settings.model_copy(update={"strength": 0.0})
        losses = LossSum(terms, self.registry.relations(), settings.map_size, settings.average, watch)
        observed = layers or default_layers(denoiser).first(settings.layers_per_level)
        for _, name in observed:
            find_layer(denoiser, name)
        guidance = Guidance(
            pipeline=pipeline,
            scenes=looked_at,
            bindings=[bind(s, stretches) for s in looked_at] if tokens is None else _positions(tokens),
            layers=observed,
            losses=losses,
            config=settings,
            trace=Trace(),
            guidance_scale=guidance_scale,
            watched=watch,
        )
        with guidance.attached() as trace:
            yield trace

    def guides(self, scene: Scene) -> bool:
        """Whether there is anything to guide in a scene: a relation, or objects that a configured term speaks of.

        Raises:
            UnknownPluginError, ConfigError: as of the configured terms.
        """
        from spatialguide.losses import applying, make_terms

        return bool(scene.relations or applying(make_terms(self.losses, self.registry), scene))

    def _could_guide(self, scene: Scene) -> bool:
        """As `guides`, for an unguided image: that needs no terms, so what is wrong with them does not matter."""
        try:
            return self.guides(scene)
        except SpatialGuideError:
            return bool(scene.relations)

    @cached_property
    def losses(self) -> dict[str, TermConfig]:
        """The configured terms; of those that nobody asked for by name, the ones that are installed, with a warning.

        Raises:
            UnknownPluginError: a term that was asked for is not installed, or none of the default's is.
        """
        installed = self.registry.names("losses")
        known = {name: term for name, term in self.config.losses.items() if name in installed}
        missing = [name for name in self.config.losses if name not in installed]
        if missing and ("losses" in self.config.model_fields_set or not known):
            self.registry.get("losses", missing[0])
        if missing:
            fault = f"of the default's loss terms {', '.join(missing)} are not installed: guiding with {', '.join(known)}"
            warnings.warn(fault, MissingTermWarning, stacklevel=2)
        return known

    # --- the configured backend --------------------------------------------------------------------------------------

    @cached_property
    def backend(self) -> Backend:
        """The configured backend plugin.

        Raises:
            UnknownPluginError: no backend has the name.
            ConfigError: it has no such option.
        """
        backend = self.registry.make("backends", self.config.backend, self.config.backend_options)
        if not isinstance(backend, Backend):
            source = self.registry.origin("backends", self.config.backend).distribution
            raise InvalidPluginError(
                f"backend '{self.config.backend}' of distribution '{source}' made {type(backend).__name__}, not a Backend"
            )
        return backend

    @cached_property
    def _loaded(self) -> Any:
        """The pipeline as the backend made it; guides made by `with_config` share it."""
        return self.registry.call("backends", self.config.backend, self.backend.load)

    @cached_property
    def pipeline(self) -> Any:
        """The backend's pipeline, loaded on first use, with the configured scheduler.

        Raises:
            ConfigError: diffusers has no such scheduler.
        """
        if self.config.scheduler is None:
            return self._loaded
        from spatialguide.schedulers import make_scheduler

        # Another pipeline around the same parts, so that guides that share them may have schedulers of their own.
        pipeline = copy(self._loaded)
        pipeline.scheduler = make_scheduler(self.config.scheduler, pipeline.scheduler, self.config.scheduler_options)
        return pipeline

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        images_per_prompt: int = 1,
        scene: Scene | Sequence[Scene] | None = None,
        guided: bool = True,
        watch: bool = False,
        progress: bool = False,
        on_step: Callable[[int, int], object] | None = None,
    ) -> Result:
        """Generate images.

        Args:
            prompt: one prompt or several.
            seed: image i of the call, counted over prompts and images, starts from seed + i, whatever the batch; with
                `guidance.best_of` N its candidates start from seed + i N to seed + i N + N - 1, one after another. A list has
                a seed for each image, from which its candidates count on.
            images_per_prompt: images for each prompt.
            scene: scenes made by hand instead of parsed ones.
            guided: False draws what the plain pipeline draws from the same seeds.
            watch: look at every step, guided or not, and keep the objects' attention maps in the trace: for the result's
                `attention_sheet` and `attention_frames`. It changes no pixel.
            progress: show the pipeline's progress bar.
            on_step: called with (steps done, steps in all) after every sampling step.

        Raises:
            SpatialGuideError: bad input, with the cause and the remedy.
        """
        from spatialguide.trace import picked

        prompts = _prompts(prompt)
        if images_per_prompt < 1:
            raise PromptError(f"images_per_prompt must be at least 1, not {images_per_prompt}")
        guided = guided and self.config.guidance.strength > 0
        tries = self.config.guidance.best_of if guided else 1
        firsts = _first_seeds(seed, len(prompts) * images_per_prompt, tries)
        scenes = self._reader.scenes(prompts, scene, self.guides if guided else self._could_guide)
        for doubt in dict.fromkeys(doubt for each in scenes for doubt in self.backend.doubts(each)):
            warnings.warn(doubt, ObjectWarning, stacklevel=2)
        pipeline = self.pipeline
        pipeline.set_progress_bar_config(disable=not progress)
        guiding = [guided and self.guides(scene) for scene in scenes for _ in range(images_per_prompt)]
        drawn = []
        # Of what is not guided the first candidate is kept.
        for number in range(tries if any(guiding) else 1):
            seeds = [first + number for first in firsts]
            drawn.append(self._draw(pipeline, scenes, images_per_prompt, seeds, guided, watch, on_step))
        scores = [[trace.satisfaction(i) for _, trace in drawn] for i in range(len(firsts))]
        # Of equals the first, so that the same call gives the same image.
        chosen = [each.index(max(each)) if guides else 0 for each, guides in zip(scores, guiding, strict=True)]
        images = [drawn[n][0][i] for i, n in enumerate(chosen)]
        trace = picked([trace for _, trace in drawn], chosen)
        metadata = [
            self._metadata(scenes[i // images_per_prompt], firsts[i] + n, guiding[i] and _was_seen(trace, i))
            for i, n in enumerate(chosen)
        ]
        return Result(images, scenes, trace, metadata)

    def _draw(
        self,
        pipeline: Any,
        scenes: tuple[Scene, ...],
        images_per_prompt: int,
        seeds: Sequence[int],
        guided: bool,
        watch: bool,
        on_step: Callable[[int, int], object] | None,
    ) -> tuple[list[Image], Trace]:
        import torch

        settings = self._settings()
        arguments = {
            "prompt": [s.prompt for s in scenes],
            "num_images_per_prompt": images_per_prompt,
            **settings,
            **self.backend.generation.call,
            "generator": [torch.Generator().manual_seed(s) for s in seeds],
            **_callback(pipeline, on_step),
        }
        if not (guided or watch):
            from spatialguide.trace import Trace

            return pipeline(**arguments).images, Trace()
        layers = self.backend.layers(pipeline).first(self.config.guidance.layers_per_level)
        scale = settings["guidance_scale"]
        with self._attached(pipeline, scenes, layers, guidance_scale=scale, watch=watch, guided=guided) as trace:
            images = pipeline(**arguments).images
        return images, trace

    def _settings(self) -> dict[str, Any]:
        """The pipeline's arguments, with the backend's usual ones where the configuration leaves them open."""
        usual, config = self.backend.generation, self.config
        return {
            "num_inference_steps": config.steps or usual.steps,
            "guidance_scale": usual.guidance_scale if config.guidance_scale is None else config.guidance_scale,
            "width": config.width or usual.width,
            "height": config.height or usual.height,
        }

    def _metadata(self, scene: Scene, seed: int, guided: bool) -> dict[str, Any]:
        from spatialguide.schedulers import described

        # What was really used, where a default term is not installed.
        config = self.config.model_copy(update={"losses": self.losses}) if guided else self.config
        return {
            "spatialguide": version("spatialguide"),
            "versions": versions(self.distributions(edge.predicate for edge in scene.relations)),
            "prompt": scene.prompt,
            "seed": seed,
            "guided": guided,
            "settings": self._settings(),
            "scheduler": described(self.pipeline.scheduler),
            "scene": scene.model_dump(mode="json"),
            "config": config.model_dump(mode="json"),
        }

    def distributions(self, predicates: Iterable[str]) -> set[str]:
        """Of the plugins that have a part in images of scenes with these relations."""
        used = {("backends", self.config.backend), ("parsers", self.config.parser)}
        used |= {("losses", name) for name in self.config.losses} | {("relations", name) for name in predicates}
        # What is not installed had no part: an unguided image needs no terms.
        return {item.distribution for item in self.registry if (item.kind, item.name) in used}


def _prompts(given: str | Iterable[str]) -> list[str]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable):
        raise PromptError(f"a prompt must be text, or several texts, not {type(given).__name__}")
    prompts = list(given)
    if not prompts:
        raise PromptError("no prompt was given: give a text, or a list of at least one")
    return prompts


def _first_seeds(seed: int | Sequence[int], images: int, tries: int) -> list[int]:
    """The seed of each image's first candidate."""
    if isinstance(seed, Integral):
        firsts = [int(seed) + i * tries for i in range(images)]
    elif isinstance(seed, Sequence) and not isinstance(seed, str):
        firsts = list(seed)
    else:
        raise PromptError(f"seed must be a whole number, or a list with one for each image, not {seed!r}")
    if len(firsts) != images:
        raise PromptError(f"{images} images need as many seeds, not {len(firsts)}: give one for each image, or a single number")
    for first in firsts:
        if not isinstance(first, Integral) or not 0 <= first <= 2**63 - tries:
            raise PromptError(f"seed must be between 0 and 2**63, not {first!r}")
    return [int(first) for first in firsts]


def _callback(pipeline: Any, on_step: Callable[[int, int], object] | None) -> dict[str, Any]:
    """The argument that tells `on_step`, in the form that the pipeline's call takes."""
    if on_step is None:
        return {}

    def done(step: int) -> None:
        on_step(step + 1, len(pipeline.scheduler.timesteps))

    def at_step_end(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        done(step)
        return tensors

    if "callback_on_step_end" in inspect.signature(type(pipeline).__call__).parameters:
        return {"callback_on_step_end": at_step_end}
    # PixArt's pipelines have the older form.
    return {"callback": lambda step, timestep, latents: done(step)}


def _are_positions(positions: Sequence[int]) -> bool:
    return len(positions) > 0 and all(type(position) is int and position >= 0 for position in positions)


def _positions(tokens: Sequence[Sequence[Sequence[int]]]) -> list[tuple[tuple[int, ...], ...]]:
    return [tuple(tuple(positions) for positions in objects) for objects in tokens]


def _was_seen(trace: Trace, image: int) -> bool:
    return any(step.images[image] is not None for step in trace.steps)
