"""From the prompts of a pipeline's call to what is guided in it: scenes, and where their objects' tokens stand."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spatialguide.errors import BindingError, ObjectWarning, PromptError
from spatialguide.guidance.attention import Binding
from spatialguide.guidance.denoiser import cleans_away
from spatialguide.guidance.tokens import bind, encodings
from spatialguide.scenes.planned import PlannedScene
from spatialguide.scenes.reader import PromptReader
from spatialguide.scenes.scene import Scene


@dataclass(frozen=True)
class Prompts:
    """What one call of the pipeline is to show, one entry per prompt.

    scenes: None for what is left to the plain pipeline. bindings: token positions of each scene's objects.
    texts: what the text encoders are to read. guided: whether any scene is to be corrected, and not only looked at.
    """

    scenes: Sequence[PlannedScene | None]
    bindings: Sequence[Binding]
    texts: Sequence[str]
    guided: bool


class PromptSource:
    """Reads the prompts of a pipeline's calls.

    Args:
        guides: whether there is anything to guide in a scene.
        watch: look at scenes in which there is not, too.
        guided: correct anything at all.
    """

    def __init__(
        self, pipeline: Any, reader: PromptReader, guides: Callable[[PlannedScene], bool], watch: bool, guided: bool = True
    ) -> None:
        self._pipeline, self._reader, self._guides, self._watch, self._guided = pipeline, reader, guides, watch, guided
        self._fixed: Prompts | None = None
        self._given: list[str] = []

    def of(self, scenes: Sequence[PlannedScene], tokens: Sequence[Binding] | None = None) -> Prompts:
        """Bind the objects of scenes to the pipeline's tokens, unless the tokens are given.

        Raises:
            BindingError: an object has no token that the text encoder reads.
        """
        guiding = [self._guides(scene) for scene in scenes]
        looked_at = [
            scene if scene.counts and (self._watch or guides) else None for scene, guides in zip(scenes, guiding, strict=True)
        ]
        if tokens is None:
            stretches = encodings(self._pipeline)
            tokens = [() if scene is None else bind(scene.scene, stretches) for scene in looked_at]
        return Prompts(looked_at, tokens, [scene.scene.prompt for scene in scenes], self._guided and any(guiding))

    def read(self, texts: Sequence[str]) -> Prompts:
        """The prompts of a call.

        Raises:
            PromptError: others were given before. As `PromptReader.scenes`.
        """
        if self._fixed is None:
            return self.of(self._readable(self._reader.scenes(texts, None, self._guides)))
        one = set(texts) if len(self._given) == 1 else None
        if list(texts) in (self._given, list(self._fixed.texts)) or one in ({self._given[0]}, {self._fixed.texts[0]}):
            return self._fixed
        raise PromptError(
            f"the pipeline was called with {list(texts)}, but {self._given} was attached, whose words stand elsewhere: "
            "leave the prompt out of attach(), which then reads it from the call, or call the pipeline with it"
        )

    def fix(
        self, texts: Sequence[str], scenes: Sequence[Scene] | None, tokens: Sequence[Sequence[Sequence[int]]] | None
    ) -> Prompts:
        """Prompts that are known before the pipeline is called; calls with others are refused from now on.

        Raises:
            PromptError, ContradictionError: as `PromptReader.scenes`.
            BindingError: the tokens do not fit the scenes' objects; or as `of`.
        """
        planned = self._reader.scenes(texts, scenes, self._guides)
        bindings = None
        if tokens is None:
            self._readable(planned)
        else:
            if not all(_are_positions(each) for objects in tokens for each in objects):
                raise BindingError("tokens must hold at least one position for each object, counted from 0")
            if [len(each) for each in tokens] != [len(each.counts) for each in planned]:
                described = [each.scene.describe() for each in planned]
                raise BindingError(f"tokens must hold positions for each object of each prompt: {described}")
            bindings = [tuple(tuple(positions) for positions in objects) for objects in tokens]
        self._given, self._fixed = list(texts), self.of(planned, bindings)
        return self._fixed

    def _readable(self, scenes: Sequence[PlannedScene]) -> Sequence[PlannedScene]:
        """The scenes, with a warning for those whose prompts the pipeline does not read as they are."""
        for each in scenes:
            if cleans_away(self._pipeline, each.scene.prompt):
                name = type(self._pipeline).__name__
                fault = f"{name} rewrites '{each.scene.prompt}' before reading it, unless called with clean_caption=False"
                warnings.warn(fault, ObjectWarning, stacklevel=3)
        return scenes


def _are_positions(positions: Sequence[int]) -> bool:
    return len(positions) > 0 and all(type(position) is int and position >= 0 for position in positions)
