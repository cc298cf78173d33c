"""From the prompts of a pipeline's call to what is guided in it: scenes, and where their objects' tokens stand."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spatialguide.errors import BindingError, ObjectWarning, PromptError, UnsupportedPipelineError
from spatialguide.guidance.attention import Binding
from spatialguide.guidance.denoiser import cleans_away
from spatialguide.guidance.tokens import bind, bind_attributes, reads_as
from spatialguide.scenes.planned import PlannedScene
from spatialguide.scenes.reader import PromptReader
from spatialguide.scenes.scene import Scene

if TYPE_CHECKING:
    from spatialguide.guidance.models import ModelFacts


@dataclass(frozen=True)
class Prompts:
    """What one call of the pipeline is to show, one entry per prompt.

    scenes: None for what is left to the plain pipeline. bindings: token positions of each scene's objects,
        then of its attributes, unless the tokens were given.
    texts: what the text encoders are to read. guided: whether any scene is to be corrected, and not only looked at.
    """

    scenes: Sequence[PlannedScene | None]
    bindings: Sequence[Binding]
    texts: Sequence[str]
    guided: bool


class PromptSource:
    """Reads the prompts of a pipeline's calls.

    Args:
        facts: say how the pipeline's denoiser gets its text.
        guides: whether there is anything to guide in a scene.
        watch: look at scenes in which there is not, too.
        guided: correct anything at all.
    """

    def __init__(
        self,
        pipeline: Any,
        facts: ModelFacts,
        reader: PromptReader,
        guides: Callable[[PlannedScene], bool],
        watch: bool,
        guided: bool = True,
    ) -> None:
        self._pipeline, self._facts, self._reader = pipeline, facts, reader
        self._guides, self._watch, self._guided = guides, watch, guided
        self._fixed: Prompts | None = None
        self._given: list[str] = []
        self._to_bind: Sequence[PlannedScene] | None = None

    def of(
        self, scenes: Sequence[PlannedScene], tokens: Sequence[Binding] | None = None, call: Mapping[str, Any] | None = None
    ) -> Prompts:
        """Bind the objects of scenes to the pipeline's tokens, unless the tokens are given.

        Args:
            call: arguments of the pipeline's text encoding; by default those of a call that leaves them out.

        Raises:
            BindingError: an object has no token that the text encoder reads.
        """
        guiding = [self._guides(scene) for scene in scenes]
        looked_at = [
            scene if scene.counts and (self._watch or guides) else None for scene, guides in zip(scenes, guiding, strict=True)
        ]
        if tokens is None:
            usual = inspect.signature(type(self._pipeline).__call__).parameters if call is None else {}
            stretches = self._facts.reads(self._pipeline, call or {name: each.default for name, each in usual.items()})
            if not stretches:
                raise UnsupportedPipelineError(
                    f"{type(self._pipeline).__name__} has no tokenizer to bind the prompt's objects with: load it with one"
                )
            tokens = [
                () if scene is None else bind(scene.scene, stretches) + bind_attributes(scene.scene, stretches)
                for scene in looked_at
            ]
        return Prompts(looked_at, tokens, [scene.scene.prompt for scene in scenes], self._guided and any(guiding))

    def read(self, texts: Sequence[str], call: Mapping[str, Any]) -> Prompts:
        """The prompts of a call, whose text encoding has these arguments.

        Raises:
            PromptError: others were given before. As `PromptReader.scenes`.
        """
        if self._fixed is None:
            return self.of(self._readable(self._reader.scenes(texts, None, self._guides)), call=call)
        one = set(texts) if len(self._given) == 1 else None
        if list(texts) in (self._given, list(self._fixed.texts)) or one in ({self._given[0]}, {self._fixed.texts[0]}):
            # Where the words stand may depend on the call's other arguments.
            return self._fixed if self._to_bind is None else self.of(self._to_bind, call=call)
        raise PromptError(
            f"the pipeline was called with {list(texts)}, but {self._given} was attached, whose words stand elsewhere: "
            "leave the prompt out of attach(), which then reads it from the call, or call the pipeline with it"
        )

    def check(self, prompts: Prompts, call: Mapping[str, Any], read: Sequence[Sequence[int]]) -> None:
        """Warn where the text encoders were given other tokens than those that the objects were looked for among.

        Args:
            read: rows of tokens, one for each text; none if the encoders were given something else.
        """
        if not read or (self._fixed is not None and self._to_bind is None):
            return
        stretches = self._facts.reads(self._pipeline, call)
        for scene in prompts.scenes:
            if scene is not None and not any(reads_as(scene.scene.prompt, stretch, read) for stretch in stretches):
                name = type(self._pipeline).__name__
                fault = (
                    f"{name} does not read '{scene.scene.prompt}' as it stands, so that its words may be elsewhere: "
                    "name them with attach(tokens=...)"
                )
                warnings.warn(fault, ObjectWarning, stacklevel=4)

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
            self._to_bind = self._readable(planned)
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
