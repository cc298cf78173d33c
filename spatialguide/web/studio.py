"""What the web page does: reads prompts, follows the visitor's own relations, and draws unguided and guided.

Plain values in, plain values out; the page itself is `spatialguide.web.page`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pprint import pformat
from typing import Any

import yaml

from spatialguide.config import PRESETS, GuideConfig, make_config
from spatialguide.errors import ConfigError, ContradictionError, PromptError, SpatialGuideError, suggestion
from spatialguide.guide import SpatialGuide
from spatialguide.registry import Registry, default_registry
from spatialguide.result import Result
from spatialguide.scenes.inline import stated
from spatialguide.scenes.planned import plan
from spatialguide.scenes.records import to_record
from spatialguide.scenes.scene import Scene

Say = Callable[[str, int, int], object]
#: Pictures may be so many times as wide as the model's usual ones; attention costs the fourth power of that.
_LARGER = 1.5
#: The usual side where a model does not say it.
_USUAL_SIDE = 512


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for. prompt is in characters; queue counts waiting drawings of all visitors.

    side: in pixels; None is `_LARGER` times the model's usual side.
    seconds: of one drawing, both images together; loading the model does not count.
    """

    steps: int = 100
    side: int | None = None
    prompt: int = 1000
    queue: int = 16
    seconds: float = 600


class StoppedError(SpatialGuideError):
    """A drawing was ended before it was done."""


@dataclass(frozen=True)
class Wish:
    """What the page's controls say. relations: one a line; None takes them from the prompt. side: None is the model's usual."""

    prompt: str
    relations: str | None = None
    preset: str = "balanced"
    backend: str = "tiny"
    terms: tuple[str, ...] | None = None
    strength: float | None = None
    steps: int | None = None
    side: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Reading:
    """What the prompt and the relations beside it mean, see `Studio.follow`.

    said: the prompt's own relations, one a line. shown: the ones that count, `said` or the visitor's.
    own: the visitor's, kept while they do not fit the prompt; None where there are none.
    scene: what `shown` asks for; None where it cannot be drawn, for which `fault` says why.
    aside: why the visitor's relations are not the shown ones.
    """

    prompt: str = ""
    said: str = ""
    shown: str = ""
    own: str | None = None
    scene: Scene | None = None
    fault: str = ""
    aside: str = ""

    def shows(self, relations: str) -> bool:
        """Whether these relations are the shown ones, blanks aside."""
        return _plain(relations) == _plain(self.shown)


@dataclass(frozen=True)
class Drawing:
    """Both images of one wish, watched at every step; and the code and the configuration that make the guided one.

    notes: what was not guided or cannot be drawn, one line each.
    """

    wish: Wish
    unguided: Result
    guided: Result
    code: str
    config: str
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """How many steps were watched; 0 where the prompt names no object."""
        return len(self.guided.trace.seen(0))


@dataclass
class Studio:
    """Reads prompts and draws them, within limits.

    Args:
        base: a configuration to offer beside the presets, under `base_name`.
        limits: what a wish may ask for.
        registry: plugins; all installed ones by default.
        all_models: offer every backend, whose weights are then downloaded when they are first asked for; else the
            configuration's and the bundled one. One model is loaded at a time.
    """

    base: GuideConfig | None = None
    base_name: str = "file"
    limits: Limits = Limits()
    registry: Registry = field(default_factory=default_registry)
    all_models: bool = False
    _loaded: SpatialGuide | None = None
    # A drawing that was stopped may still be in its last step when the next one starts.
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def backends(self) -> list[str]:
        """Names of the models that a wish may ask for."""
        if self.all_models:
            return list(self.registry.names("backends"))
        return sorted({make_config().backend, *([] if self.base is None else [self.base.backend])})

    @property
    def is_loaded(self) -> bool:
        """Whether a model is loaded."""
        return self._loaded is not None

    @property
    def presets(self) -> list[str]:
        """Names of what a wish may start from, the one that the page starts with first."""
        return [self.base_name, *PRESETS] if self.base is not None else list(PRESETS)

    def preset(self, name: str) -> GuideConfig:
        """The configuration of this name."""
        return self.base if self.base is not None and name == self.base_name else make_config(name)

    def read(self, prompt: str) -> tuple[Scene, str]:
        """The prompt's scene, and its relations one a line.

        Raises:
            SpatialGuideError: the prompt is empty, too long, or cannot hold.
        """
        scene = self._reader.parse(self._checked(prompt))
        return scene, relation_lines(scene)

    def scene(self, wish: Wish) -> Scene:
        """The scene that a wish asks for: the prompt's, or the one that its own relations state.

        Raises:
            SpatialGuideError: see `read`; or a line is no relation.
        """
        found, lines = self._found(wish)
        if wish.relations is None or _plain(wish.relations) == _plain(lines):
            return found
        if not wish.relations.strip():
            return found.model_copy(update={"relations": ()})
        if len(wish.relations) > self.limits.prompt:
            raise PromptError(f"the relations have over {self.limits.prompt} characters, this page's limit: say less")
        relations = self.registry.relations()
        scene = stated(found.prompt, wish.relations.splitlines(), relations, known=found)
        plan(scene, relations)
        return scene

    def follow(self, prompt: str, relations: str, before: Reading) -> Reading:
        """What prompt and relations mean after one of them was changed; what cannot be drawn is said in the reading.

        Relations that the visitor changed are kept for a new prompt that has all that they name, and set aside for one that
        has not. An emptied prompt forgets them.

        Args:
            relations: as they are on the page, changed by the visitor where they differ from those that `before` shows.
        """
        changed = not before.shows(relations)
        if prompt == before.prompt and not changed:
            return before
        if not prompt.strip():
            return Reading()
        scene, said, fault = None, "", ""
        try:
            scene, said = self.read(prompt)
        except SpatialGuideError as error:
            fault = str(error)
        own = relations if changed else before.own
        # An emptied box leaves its own prompt unguided; the next prompt fills it again.
        if own is None or _plain(own) == _plain(said) or (prompt != before.prompt and not own.strip()):
            return Reading(prompt, said, said, None, scene, fault)
        try:
            return Reading(prompt, said, own, own, self.scene(Wish(prompt, own)))
        except SpatialGuideError as error:
            if prompt == before.prompt:
                return Reading(prompt, said, own, own, fault=str(error))
            return Reading(prompt, said, said, own, scene, fault, aside=str(error))

    def _found(self, wish: Wish) -> tuple[Scene, str]:
        """As `read`; of a prompt that contradicts itself nothing, where the wish has relations of its own to beat it."""
        try:
            return self.read(wish.prompt)
        except ContradictionError:
            own = _plain(wish.relations or "")
            if not own:
                raise
            return self._reader.parse(_marked(wish.prompt, own)).model_copy(update={"relations": ()}), ""

    def config(self, wish: Wish) -> GuideConfig:
        """The configuration that a wish asks for.

        Raises:
            ConfigError: a value is out of range or over a limit.
        """
        if wish.backend not in self.backends:
            raise ConfigError(f"this page has no model '{wish.backend}'.{suggestion(wish.backend, self.backends)}")
        start = self.preset(wish.preset)
        changes = self._changes(wish, start)
        config = make_config(**_merged(start.model_dump(exclude_unset=True), changes)) if changes else start
        usual = SpatialGuide(config, registry=self.registry).backend.generation
        steps = config.steps or usual.steps or 0
        if steps > self.limits.steps:
            raise ConfigError(f"{steps} steps are over this page's limit of {self.limits.steps}: ask for fewer")
        side = max(config.width or usual.width or 0, config.height or usual.height or 0)
        most = self.limits.side or int(_LARGER * max(usual.width or _USUAL_SIDE, usual.height or _USUAL_SIDE))
        if side > most:
            raise ConfigError(f"{side} pixels are over this page's limit of {most} for this model: ask for fewer")
        return config

    def draw(
        self,
        wish: Wish,
        say: Say = lambda what, done, total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Drawing:
        """Draw a wish unguided and guided, from the same seed; one drawing at a time.

        Args:
            say: told in a few words what is going on, with steps done and steps in all, which is 0 where there are none.
            stopped: asked again and again, within steps too, whether to give up.

        Raises:
            StoppedError: it was stopped, or takes longer than the limit.
            SpatialGuideError: bad input, with the cause and the remedy.
        """
        scene, config = self.scene(wish), self.config(wish)
        with self._turn:
            say("loading the model", 0, 0)
            guide = self._guide(config)
            started = time.monotonic()

            def check() -> None:
                if stopped():
                    raise StoppedError("stopped")
                if time.monotonic() - started > self.limits.seconds:
                    limit = f"{self.limits.seconds:g} seconds, this page's limit"
                    raise StoppedError(f"this takes over {limit}: ask for fewer steps or a smaller side")

            def after_step(what: str, done: int, total: int) -> None:
                check()
                say(what, done, total)

            with _asking_within_steps(guide.pipeline, check):
                unguided, guided = (
                    guide(scene.prompt, seed=wish.seed, scene=scene, guided=on, watch=True, on_step=partial(after_step, what))
                    for on, what in ((False, "drawing unguided"), (True, "drawing guided"))
                )
        return Drawing(wish, unguided, guided, self.code(wish), self.yaml(wish), tuple(_notes(guided.scene, guide)))

    def code(self, wish: Wish) -> str:
        """Python that draws the wish's guided image."""
        start = self.preset(wish.preset)
        head: dict[str, Any] = {} if wish.preset == "balanced" else {"preset": wish.preset}
        if wish.preset not in PRESETS:
            head = start.model_dump(mode="json", exclude_unset=True)
        arguments = [f"{key}={value!r}" for key, value in _merged(head, self._changes(wish, start)).items()]
        found, lines = self._found(wish)
        own = wish.relations is not None and _plain(wish.relations) != _plain(lines)
        none = own and not (wish.relations or "").strip()
        prompt, imports, by_hand = wish.prompt, [], []
        rest = ", guided=False" if none else ""
        if own and not none:
            prompt, scene = _marked(found.prompt, _plain(wish.relations or "")), self.scene(wish)
            if not self._is_read_as(prompt, scene):
                # What marks cannot say: counts, attributes, two objects of one name, objects without a relation.
                imports = ["from spatialguide.scenes.records import from_record"]
                by_hand = [f"scene = from_record(\n{pformat(to_record(scene), sort_dicts=False, width=128)}\n)"]
                prompt, rest = scene.prompt, ", scene=scene"
        return "\n".join(
            [
                "from spatialguide import SpatialGuide",
                *imports,
                "",
                f"guide = SpatialGuide({', '.join(arguments)})",
                *by_hand,
                f"result = guide({prompt!r}, seed={wish.seed}{rest})",
                'result.save("out.png")',
            ]
        )

    def _is_read_as(self, marked: str, scene: Scene) -> bool:
        """Whether a marked prompt is read as this scene."""
        try:
            read = self._reader.parse(marked)
        except SpatialGuideError:
            return False
        objects = [[(o.text, o.span, o.attributes, o.count) for o in each.objects] for each in (read, scene)]
        return objects[0] == objects[1] and relation_lines(read) == relation_lines(scene)

    def yaml(self, wish: Wish) -> str:
        """The wish's configuration as a file for --config."""
        start = self.preset(wish.preset)
        head = {"preset": wish.preset} if wish.preset in PRESETS else start.model_dump(mode="json", exclude_unset=True)
        text: str = yaml.safe_dump(_merged(head, self._changes(wish, start)), sort_keys=False)
        return text

    @cached_property
    def _reader(self) -> SpatialGuide:
        """A guide to parse with; it loads no model."""
        return SpatialGuide(self.base, registry=self.registry)

    def _guide(self, config: GuideConfig) -> SpatialGuide:
        """A guide of this configuration, with the model that is loaded already if there is one."""
        loaded, wanted = self._loaded, (config.backend, config.backend_options)
        if loaded is None or (loaded.config.backend, loaded.config.backend_options) != wanted:
            self._loaded = None  # two models seldom fit beside each other
            loaded = SpatialGuide(config, registry=self.registry)
            loaded.pipeline  # noqa: B018 - loads it once, for all guides that come from this one
            self._loaded = loaded
        return loaded.with_config(config)

    def _changes(self, wish: Wish, start: GuideConfig) -> dict[str, Any]:
        """What a wish asks for beyond what it starts from, as keyword arguments."""
        changes: dict[str, Any] = {}
        # The page's own model comes with the options that the page was started with, whatever the preset.
        base = self.base or start
        options = base.backend_options if wish.backend == base.backend else {}
        if (wish.backend, options) != (start.backend, start.backend_options):
            changes |= {"backend": wish.backend, "backend_options": dict(options)}
        if wish.steps and wish.steps != start.steps:
            changes["steps"] = wish.steps
        if wish.side and wish.side != start.width:
            changes |= {"width": wish.side, "height": wish.side}
        if wish.strength is not None and wish.strength != start.guidance.strength:
            changes["guidance"] = {"strength": wish.strength}
        if wish.terms is not None and set(wish.terms) != set(start.losses):
            kept = {name: start.losses[name].model_dump() for name in wish.terms if name in start.losses}
            changes["losses"] = {name: kept.get(name, {"weight": 1.0}) for name in wish.terms}
        return changes

    def _checked(self, prompt: str) -> str:
        if len(prompt) > self.limits.prompt:
            raise PromptError(
                f"the prompt has {len(prompt)} characters, over this page's limit of {self.limits.prompt}: say less"
            )
        return prompt


@contextmanager
def _asking_within_steps(pipeline: Any, check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each layer of each of the pipeline's models: a step of a large one takes long."""
    from torch.nn import Module

    with ExitStack() as hooks:
        for model in pipeline.components.values():
            for layer in model.modules() if isinstance(model, Module) else ():
                hooks.callback(layer.register_forward_pre_hook(lambda *_: check()).remove)
        yield


def _notes(scene: Scene, guide: SpatialGuide) -> Iterator[str]:
    if not guide.guides(guide.plan(scene)):
        yield "no relation was found, so there is nothing to guide: both images are the same"
    elif not guide.config.guidance.strength or not guide.config.losses:
        yield "strength 0 or no loss terms: guidance is off, and both images are the same"
    yield from (f"not guided: {line}" for line in scene.ignored)
    yield from guide.backend.doubts(scene)


def relation_lines(scene: Scene) -> str:
    """The scene's relations as people write them, one a line."""
    return "\n".join(scene.sentence(edge) for edge in scene.relations)


def _plain(lines: str) -> list[str]:
    return [" ".join(line.split()) for line in lines.splitlines() if line.strip()]


def _marked(prompt: str, relations: Sequence[str]) -> str:
    """A prompt with relations as marks."""
    return f"{prompt} {{{{{'; '.join(relations)}}}}}"


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    guidance = {**base.get("guidance", {}), **changes.get("guidance", {})}
    return {**base, **changes, **({"guidance": guidance} if guidance else {})}
