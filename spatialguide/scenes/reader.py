"""Prompts in, checked scenes out: the parser plugin's work, the marks that beat it, and what is wrong with a prompt."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from spatialguide.errors import (
    ContradictionError,
    InvalidPluginError,
    NoRelationError,
    PluginError,
    PromptError,
    SpatialGuideError,
    UnguidedWarning,
    UnknownPluginError,
)
from spatialguide.registry import Registry
from spatialguide.scenes.conflicts import without_conflicts
from spatialguide.scenes.inline import is_marked, read_marks
from spatialguide.scenes.planned import PlannedScene, plan, without_contradictions
from spatialguide.scenes.scene import MAX_PROMPT, Scene

#: How warnings end that something is not guided.
_TO_GUIDE = "to guide it, say where things are, such as {{cat left_of dog}}"
#: Prompts that `parse_many` hands to a parser at once.
_CHUNK = 256
#: The longest gold prompt of the classes basic, bare and chain has 23 words.
_FEW_WORDS = 25
_SENTENCE = re.compile(r"\w[^.!?;\n]*[.!?;\n]+")


@dataclass(frozen=True)
class Parsed:
    """One prompt of many: its scene, and what is wrong with it. Without a problem the scene can be drawn."""

    prompt: str
    scene: Scene | None
    problem: SpatialGuideError | None


class PromptReader:
    """Reads prompts with one parser plugin.

    Args:
        registry: plugins.
        parser: name of the parser plugin.
        strict: raise where there is nothing to guide, or not all of it can hold, instead of warning.
        options: what the parser is built with.
    """

    def __init__(self, registry: Registry, parser: str, strict: bool, options: Mapping[str, Any] | None = None) -> None:
        self._registry, self._name, self._strict, self._options = registry, parser, strict, options or {}

    @cached_property
    def _parser(self) -> Any:
        return self._registry.make("parsers", self._name, {**self._options, "relations": self._registry.relations()})

    def parse(self, prompt: str) -> Scene:
        """See `SpatialGuide.parse`."""
        return self._checked(self._read(prompt)).scene

    def parse_many(self, prompts: Iterable[str]) -> Iterator[Parsed]:
        """See `SpatialGuide.parse_many`."""
        for chunk in _chunks(prompts, _CHUNK):
            for prompt, scene in zip(chunk, self._read_many(chunk), strict=True):
                if isinstance(scene, SpatialGuideError):
                    yield Parsed(prompt, None, scene)
                    continue
                try:
                    yield Parsed(prompt, self._checked(scene).scene, None)
                except SpatialGuideError as error:
                    yield Parsed(prompt, scene if isinstance(scene, Scene) else None, error)

    def _read_many(self, prompts: Sequence[str]) -> Iterator[Any]:
        """A scene or an error for each prompt; those that the parser plugin is to read go to it in bulk."""
        plain = [prompt for prompt in prompts if _fault(prompt) is None and not is_marked(prompt, self._registry.relations())]
        pipe = getattr(self._parser, "pipe", None)
        scenes: Iterator[Any] | None = None
        if pipe is not None:
            try:
                found = self._call_parser(lambda: list(pipe(plain)))
                scenes = iter(found) if len(found) == len(plain) else None
            except PluginError:
                pass  # one by one below, so that only the guilty prompt fails
        waiting = iter(plain)
        following = next(waiting, None)
        for prompt in prompts:
            try:
                if scenes is not None and prompt is following:
                    following = next(waiting, None)
                    yield self._own(next(scenes), prompt)
                else:
                    yield self._read(prompt)
            except SpatialGuideError as error:
                yield error

    def _call_parser(self, action: Callable[[], Any]) -> Any:
        return self._registry.call("parsers", self._name, action)

    def _read(self, prompt: str) -> Any:
        fault = _fault(prompt)
        if fault is not None:
            raise PromptError(fault)
        if is_marked(prompt, self._registry.relations()):
            return read_marks(prompt, self._registry.relations())
        return self._own(self._call_parser(lambda: self._parser(prompt)), prompt)

    def _own(self, scene: Any, prompt: str) -> Any:
        """What the parser plugin returned for a prompt; not another one's scene."""
        if isinstance(scene, Scene) and scene.prompt != prompt:
            source = self._registry.origin("parsers", self._name).distribution
            where = f"parser '{self._name}' of distribution '{source}'"
            raise InvalidPluginError(
                f"{where} returned the scene of another prompt: '{scene.prompt}'; it must return that of the one it was given"
            )
        lenient = isinstance(scene, Scene) and not self._strict and is_prose(prompt)
        return without_contradictions(scene, self._registry.relations()) if lenient else scene

    def _checked(self, scene: Any) -> PlannedScene:
        if not isinstance(scene, Scene):
            source = self._registry.origin("parsers", self._name).distribution
            raise InvalidPluginError(
                f"parser '{self._name}' of distribution '{source}' returned {type(scene).__name__}, not a Scene: "
                "see contracts.Parser"
            )
        if scene.unknown and not scene.relations:
            known = ", ".join(sorted(self._registry.names("relations")))
            raise UnknownPluginError(
                f"no relation plugin knows '{scene.unknown[0]}' (in '{scene.prompt}'). Known relations: {known}."
            )
        return self.plan(scene)

    def plan(self, scene: Scene) -> PlannedScene:
        """Check a scene, and bind its relations; see `scenes.planned.plan`."""
        return plan(scene, self._registry.relations())

    def scenes(
        self,
        prompts: Sequence[str],
        scenes: Scene | Sequence[Scene] | None,
        guides: Callable[[PlannedScene], bool] = lambda scene: bool(scene.relations),
    ) -> tuple[PlannedScene, ...]:
        """A scene for each prompt of a call: parsed, or those made by hand, checked; with warnings of what is not guided.

        Args:
            guides: whether there is anything to guide in a scene.
        """
        if scenes is None:
            made = tuple(self._checked(self._read(prompt)) for prompt in prompts)
        else:
            given = (scenes,) if isinstance(scenes, Scene) else tuple(scenes)
            if len(given) != len(prompts):
                raise PromptError(f"{len(prompts)} prompts need as many scenes, not {len(given)}: give one for each")
            for scene, prompt in zip(given, prompts, strict=True):
                if scene.prompt != prompt:
                    raise PromptError(
                        f"the scene belongs to another prompt: '{scene.prompt}', not '{prompt}'; give its own, or no scene"
                    )
            made = tuple(self.plan(scene) for scene in given)
        found = tuple(self._feasible(planned) for planned in made)
        for planned in found:
            scene = planned.scene
            if not guides(planned):
                missing = "no loss term or steering applies to" if planned.relations else "no relation found in"
                message = f"{missing} '{scene.prompt}' ({scene.describe()}{_reasons(scene)})"
                if self._strict:
                    raise NoRelationError(f"{message}: name two objects and where one is, or leave out strict")
                warnings.warn(f"{message}: generating without guidance; {_TO_GUIDE}", UnguidedWarning, stacklevel=4)
            elif scene.ignored:
                message = f"not guided in '{scene.prompt}': {'; '.join(scene.ignored)}"
                warnings.warn(f"{message}; {_TO_GUIDE}", UnguidedWarning, stacklevel=4)
        return found

    def _feasible(self, planned: PlannedScene) -> PlannedScene:
        """The scene without what cannot hold together with the rest of it."""
        found = without_conflicts(planned)
        if self._strict and found is not planned:
            scene = found.scene
            raise ContradictionError(f"not all of '{scene.prompt}' can hold: {scene.ignored[-1]}; leave one out")
        return found


def is_prose(prompt: str) -> bool:
    """Whether a prompt tells more than it asks for: several sentences, or many words.

    Nobody weighs each place in prose, so that what contradicts the rest of it is left out there, and refused elsewhere.
    """
    return len(prompt.split()) > _FEW_WORDS or len(_SENTENCE.findall(prompt)) > 1


def _chunks(prompts: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(prompts)
    while chunk := list(islice(rest, size)):
        yield chunk


def _fault(prompt: Any) -> str | None:
    """Why a prompt cannot be read; None where it can."""
    if not isinstance(prompt, str):
        return f"a prompt must be text, not {type(prompt).__name__}"
    if not prompt.strip():
        return 'the prompt is empty: say what to draw, such as "a cat to the left of a dog"'
    if len(prompt) > MAX_PROMPT:
        return f"the prompt has {len(prompt):,} characters, and at most {MAX_PROMPT:,} are read: shorten it"
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"the prompt is no valid text: {error.reason} at character {error.start}; write it as UTF-8"
    return None


def _reasons(scene: Scene) -> str:
    return f"; ignored: {', '.join(scene.ignored)}" if scene.ignored else ""
