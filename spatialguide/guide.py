"""SpatialGuide: the public face. Prompt in, guided images out, or guidance on a pipeline that the user has."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatialguide.config import GuideConfig, TermConfig, load_config, make_config
from spatialguide.contracts import Backend, Layers
from spatialguide.errors import InvalidPluginError, MissingTermWarning, ObjectWarning, PromptError, SpatialGuideError
from spatialguide.registry import Registry, default_registry
from spatialguide.result import Result
from spatialguide.sampling import first_seeds, prompt_list, step_callback
from spatialguide.scenes.planned import PlannedScene
from spatialguide.scenes.reader import Parsed, PromptReader
from spatialguide.scenes.scene import Scene
from spatialguide.versions import versions

if TYPE_CHECKING:
    from PIL.Image import Image

    from spatialguide.guidance.attach import Attachment
    from spatialguide.guidance.losses import Term
    from spatialguide.guidance.models import ModelFacts
    from spatialguide.guidance.trace import Trace


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

        Marks in the prompt beat the parser: "a cat and a dog {{cat left_of dog}}" (see `spatialguide.scenes.inline`). The
        scene's own `prompt` is the text without them.

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

    def plan(self, scene: str | Scene) -> PlannedScene:
        """A prompt or a scene, checked and with its relations bound to their plugins: what loss terms are given.

        Raises:
            As `parse`.
        """
        return self._reader.plan(self.parse(scene) if isinstance(scene, str) else scene)

    # --- a pipeline of the user's ----------------------------------------------------------------------------------

    def attach(
        self,
        pipeline: Any,
        prompt: str | Sequence[str] | None = None,
        *,
        scene: Scene | Sequence[Scene] | None = None,
        layers: Layers | None = None,
        tokens: Sequence[Sequence[Sequence[int]]] | None = None,
        watch: bool = False,
    ) -> Attachment:
        """Guide a diffusers pipeline that the caller runs.

            with guide.attach(pipe):
                image = pipe("a cat to the left of a dog").images[0]

        The prompt is read from the pipeline's own call, whichever and however many there are; marks in it beat the parser
        (see `parse`). Without a block, `detach` takes the guidance off again. Attaching anew replaces what was attached.

        Args:
            pipeline: a diffusers pipeline whose model `spatialguide models` lists, or one like them.
            prompt: the prompt or prompts that the pipeline will be called with, in order. Only for prompt_embeds, in which
                they cannot be read; a call with another prompt is refused.
            scene: scenes made by hand, for calls with their prompts; parsed from the prompts if not given.
            layers: attention layers to observe; by default a UNet decoder's two coarsest levels, or a transformer's middle.
            tokens: positions of each object's tokens, per prompt and object; by the pipeline's tokenizers if not given. For
                prompt_embeds that are not the tokenizer's one-to-one encoding of the prompt, or a prompt_2 that differs.
            watch: look at every step, and keep the objects' attention maps in the trace, for `spatialguide.pictures`.

        The configuration's scheduler, steps and scale are not used: those are the caller's.

        Returns:
            A context manager that detaches at the end of its block and gives the trace, which holds the last generation.

        Raises:
            PromptError, ContradictionError, BindingError, UnsupportedPipelineError: before anything is touched, or, of a prompt
                that is not given here, when the pipeline is called with it.
        """
        from spatialguide.guidance.denoiser import refuse_unsupported
        from spatialguide.guidance.prompts import PromptSource

        refuse_unsupported(pipeline)
        scenes = None if scene is None else [scene] if isinstance(scene, Scene) else list(scene)
        given = None if prompt is None else prompt_list(prompt)
        if given is None and scenes is not None:
            given = [each.prompt for each in scenes]
        if given is None and not (hasattr(pipeline, "encode_prompt") or hasattr(pipeline, "_encode_prompt")):
            raise PromptError(
                f"{type(pipeline).__name__} has no encode_prompt to read the prompt from: name it, attach(pipeline, prompt)"
            )
        facts = self.facts(pipeline)
        source = PromptSource(pipeline, facts, self._reader, self.guides, watch)
        fixed = None if given is None else source.fix(given, scenes, tokens)
        if tokens is not None and fixed is None:
            raise PromptError("tokens belong to a prompt: give attach() the prompt too")
        return self._attached(pipeline, facts, layers, watch, prompts=fixed, source=source)

    def detach(self, pipeline: Any) -> None:
        """Take guidance off a pipeline, which is then as it was before `attach`; one that has none stays as it is."""
        from spatialguide.guidance.attach import detach

        detach(pipeline)

    def facts(self, pipeline: Any) -> ModelFacts:
        """What is known of a pipeline's model.

        Raises:
            UnsupportedPipelineError: nothing, and it has no attention layers of the usual names.
        """
        from spatialguide.guidance.denoiser import denoiser_of, plain
        from spatialguide.guidance.models import facts_of

        return facts_of(plain(denoiser_of(pipeline)), self.registry)

    def _attached(self, pipeline: Any, facts: ModelFacts, layers: Layers | None, watch: bool, **prompts: Any) -> Attachment:
        from spatialguide.guidance.attach import Attachment
        from spatialguide.guidance.attention import find_layer
        from spatialguide.guidance.calls import Settings
        from spatialguide.guidance.denoiser import denoiser_of, plain
        from spatialguide.guidance.layers import default_layers

        denoiser, config = plain(denoiser_of(pipeline)), self.config.guidance
        observed = default_layers(denoiser, facts).first(config.layers_per_level) if layers is None else layers
        for _, name in observed:
            find_layer(denoiser, name)
        return Attachment(pipeline, Settings(self.terms, observed, config, facts, watch), **prompts)

    def guides(self, scene: PlannedScene) -> bool:
        """Whether a configured term has anything to say of a scene.

        Raises:
            UnknownPluginError, ConfigError: as of the configured terms.
        """
        return any(term.applies(scene) for term in self.terms)

    def _could_guide(self, scene: PlannedScene) -> bool:
        """As `guides`, for an unguided image: that needs no terms, so what is wrong with them does not matter."""
        try:
            return self.guides(scene)
        except SpatialGuideError:
            return bool(scene.relations)

    @cached_property
    def terms(self) -> Sequence[Term]:
        """The configured loss terms, built.

        Raises:
            UnknownPluginError: as `losses`. ConfigError: a term does not know an option, or a value is out of range.
        """
        from spatialguide.guidance.losses import make_terms

        return make_terms(self.losses, self.registry)

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
        from spatialguide.models.schedulers import make_scheduler

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
        from spatialguide.guidance.trace import picked

        prompts = prompt_list(prompt)
        if images_per_prompt < 1:
            raise PromptError(f"images_per_prompt must be at least 1, not {images_per_prompt}")
        guided = guided and self.config.guidance.strength > 0
        tries = self.config.guidance.best_of if guided else 1
        firsts = first_seeds(seed, len(prompts) * images_per_prompt, tries)
        scenes = self._reader.scenes(prompts, scene, self.guides if guided else self._could_guide)
        backend = self.backend
        said = partial(self.registry.call, "backends", self.config.backend)
        for doubt in dict.fromkeys(doubt for each in scenes for doubt in said(partial(backend.doubts, each.scene))):
            warnings.warn(doubt, ObjectWarning, stacklevel=2)
        self.pipeline.set_progress_bar_config(disable=not progress)
        guiding = [guided and self.guides(each) for each in scenes for _ in range(images_per_prompt)]
        # Of what is not guided the first candidate is kept.
        drawn = [
            self._draw(scenes, images_per_prompt, [first + number for first in firsts], guided, watch, on_step)
            for number in range(tries if any(guiding) else 1)
        ]
        # Of equals the first, so that the same call gives the same image.
        chosen = [
            max(range(len(drawn)), key=lambda number: drawn[number][1].satisfaction(image)) if guides else 0
            for image, guides in enumerate(guiding)
        ]
        trace = picked([trace for _, trace in drawn], chosen)
        trace.warn(self.terms if guided else ())
        metadata = [
            self._metadata(scenes[image // images_per_prompt].scene, firsts[image] + number, trace, image)
            for image, number in enumerate(chosen)
        ]
        images = [drawn[number][0][image] for image, number in enumerate(chosen)]
        return Result(images, tuple(each.scene for each in scenes), trace, metadata)

    def _draw(
        self,
        scenes: Sequence[PlannedScene],
        images_per_prompt: int,
        seeds: Sequence[int],
        guided: bool,
        watch: bool,
        on_step: Callable[[int, int], object] | None,
    ) -> tuple[list[Image], Trace]:
        import torch

        from spatialguide.guidance.prompts import PromptSource
        from spatialguide.guidance.trace import Trace

        pipeline, settings, usual = self.pipeline, self._settings(), self.backend.generation
        arguments = {
            "prompt": [each.scene.prompt for each in scenes],
            "num_images_per_prompt": images_per_prompt,
            **{usual.scale if name == "guidance_scale" else name: value for name, value in settings.items()},
            # Some pipelines want one of each for a list of prompts.
            **{name: [value] * len(scenes) if name == "negative_prompt" else value for name, value in usual.call.items()},
            "generator": [torch.Generator().manual_seed(s) for s in seeds],
            **step_callback(pipeline, on_step),
        }
        if not (guided or watch):
            return pipeline(**arguments).images, Trace()
        layers = self.registry.call("backends", self.config.backend, partial(self.backend.layers, pipeline))
        facts = self.facts(pipeline)
        prompts = PromptSource(pipeline, facts, self._reader, self.guides, watch, guided).of(scenes)
        with self._attached(pipeline, facts, layers, watch, prompts=prompts) as trace:
            return pipeline(**arguments).images, trace

    def _settings(self) -> dict[str, Any]:
        """The pipeline's arguments, with the backend's usual ones where the configuration leaves them open."""
        usual, config = self.backend.generation, self.config
        return {
            "num_inference_steps": config.steps or usual.steps,
            "guidance_scale": usual.guidance_scale if config.guidance_scale is None else config.guidance_scale,
            "width": config.width or usual.width,
            "height": config.height or usual.height,
        }

    def _metadata(self, scene: Scene, seed: int, trace: Trace, image: int) -> dict[str, Any]:
        from spatialguide.models.schedulers import described

        guided = trace.guided(image)
        # What was really used, where a default term is not installed.
        config = self.config.model_copy(update={"losses": self.losses}) if guided else self.config
        return {
            "spatialguide": version("spatialguide"),
            "versions": versions(self.distributions(edge.predicate for edge in scene.relations)),
            "prompt": scene.prompt,
            "seed": seed,
            "guided": guided,
            "skipped_steps": trace.skipped_steps(image),
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
