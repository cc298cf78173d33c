"""SpatialGuide: the public face. Prompt in, guided images out, or guidance on a pipeline that the user has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatialguide.config import DEFAULT_PRESET, GuideConfig, load_config, make_config
from spatialguide.configured import Configured
from spatialguide.contracts import Layers
from spatialguide.drawing import draw
from spatialguide.errors import PromptError
from spatialguide.registry import Registry, default_registry
from spatialguide.result import Result
from spatialguide.sampling import prompt_list
from spatialguide.scenes.planned import PlannedScene
from spatialguide.scenes.reader import Parsed
from spatialguide.scenes.scene import Scene

if TYPE_CHECKING:
    from spatialguide.guidance.attach import Attachment


class SpatialGuide(Configured):
    """Draws prompts the way round they say.

    Args:
        config: a full configuration; without it, `preset` and keyword overrides make one.
        preset: name of a starting point, see `spatialguide.config.presets`.
        registry: plugins; all installed ones by default.
        overrides: configuration keys, such as backend="sdxl", steps=20, guidance={"strength": 2.0}.

    Raises:
        ConfigError: an unknown key or a value out of range, of loss terms too.
        UnknownPluginError: `losses` names a term that is not installed.

    >>> guide = SpatialGuide(steps=20)
    >>> guide.parse("a cat to the left of a dog").describe()
    'objects: cat, dog; relations: cat left_of dog'
    """

    def __init__(
        self,
        config: GuideConfig | None = None,
        *,
        preset: str = DEFAULT_PRESET,
        registry: Registry | None = None,
        **overrides: Any,
    ) -> None:
        if config is not None and (overrides or preset != DEFAULT_PRESET):
            raise TypeError("give either a whole config, or a preset and overrides")
        made = config if config is not None else make_config(preset, registry=registry, **overrides)
        super().__init__(made, registry if registry is not None else default_registry())
        self.check(overrides)

    @classmethod
    def from_config(cls, path: str | Path, **overrides: Any) -> SpatialGuide:
        """A guide from a YAML file; keyword overrides win.

        Raises:
            ConfigError, UnknownPluginError: as of keywords.
        """
        guide = cls(load_config(path, **overrides))
        guide.check(guide.config.model_fields_set)
        return guide

    def with_config(self, config: GuideConfig) -> SpatialGuide:
        """A guide with another configuration and the same plugins; it shares this one's model where both draw with the same."""
        other = SpatialGuide(config, registry=self.registry)
        if all(getattr(config, name) == getattr(self.config, name) for name in ("backend", "backend_options")):
            other.backend, other._loaded = self.backend, self._loaded
        return other

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
        from spatialguide.guidance.denoiser import denoiser_of, plain, refuse_unsupported, resolved
        from spatialguide.guidance.prompts import PromptSource

        refuse_unsupported(pipeline)
        resolved(self.config.guidance, plain(denoiser_of(pipeline)))
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
        return self._attachment(pipeline, facts, layers, watch, prompts=fixed, source=source)

    def detach(self, pipeline: Any) -> None:
        """Take guidance off a pipeline, which is then as it was before `attach`; one that has none stays as it is."""
        from spatialguide.guidance.attach import detach

        detach(pipeline)

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
        return draw(self, prompt, seed, images_per_prompt, scene, guided, watch, progress, on_step)
