"""What the web page does: reads prompts, follows the visitor's own relations, and draws unguided and guided.

Plain values in, plain values out; what is where on the page is `spatialguide.web.page`, what happens when, `wiring`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import isfinite
from typing import Any

from spatialguide.config import GuideConfig
from spatialguide.errors import ContradictionError, PromptError, SpatialGuideError
from spatialguide.guide import SpatialGuide
from spatialguide.result import Result
from spatialguide.scenes.inline import stated
from spatialguide.scenes.layout import Box
from spatialguide.scenes.planned import plan
from spatialguide.scenes.scene import Scene
from spatialguide.web import script
from spatialguide.web.editing import moved
from spatialguide.web.offer import Offer
from spatialguide.web.wish import Drawing as Drawing
from spatialguide.web.wish import Limits as Limits
from spatialguide.web.wish import Reading as Reading
from spatialguide.web.wish import StoppedError as StoppedError
from spatialguide.web.wish import Wish as Wish
from spatialguide.web.wish import marked, plain, relation_lines

Say = Callable[[str, int, int], object]


@dataclass
class Studio(Offer):
    """Reads prompts and draws them, within limits; see `Offer` for its arguments."""

    _loaded: SpatialGuide | None = None
    # A drawing that was stopped may still be in its last step when the next one starts.
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def is_loaded(self) -> bool:
        """Whether a model is loaded."""
        return self._loaded is not None

    def read(self, prompt: str) -> tuple[Scene, str]:
        """The prompt's scene, and its relations one a line.

        Raises:
            SpatialGuideError: the prompt is empty, too long, or cannot hold.
        """
        scene = self.reader.parse(self._checked(prompt))
        return scene, relation_lines(scene)

    def scene(self, wish: Wish) -> Scene:
        """The scene that a wish asks for: the prompt's, or the one that its own relations state.

        Raises:
            SpatialGuideError: see `read`; or a line is no relation.
        """
        found, lines = self.found(wish)
        if wish.relations is None or plain(wish.relations) == plain(lines):
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
        if own is None or plain(own) == plain(said) or (prompt != before.prompt and not own.strip()):
            return Reading(prompt, said, said, None, scene, fault)
        try:
            return Reading(prompt, said, own, own, self.scene(Wish(prompt, own)))
        except SpatialGuideError as error:
            if prompt == before.prompt:
                return Reading(prompt, said, own, own, fault=str(error))
            return Reading(prompt, said, said, own, scene, fault, aside=str(error))

    def found(self, wish: Wish) -> tuple[Scene, str]:
        """As `read`; of a prompt that contradicts itself nothing, where the wish has relations of its own to beat it."""
        try:
            return self.read(wish.prompt)
        except ContradictionError:
            own = plain(wish.relations or "")
            if not own:
                raise
            return self.reader.parse(marked(wish.prompt, own)).model_copy(update={"relations": ()}), ""

    def boxes(self, scene: Scene) -> tuple[Box, ...]:
        """Where guidance would have a scene's objects: a box for each, in image sides."""
        return plan(scene, self.registry.relations()).boxes

    def move(self, before: Reading, index: int, x: float, y: float) -> Reading:
        """What holds after the visitor moved an object's box, see `editing.moved`; no object, or no place, changes nothing.

        Args:
            x, y: its new middle, in image sides.
        """
        if before.scene is None or not 0 <= index < len(before.scene.objects) or not (isfinite(x) and isfinite(y)):
            return before
        scene = moved(plan(before.scene, self.registry.relations()), index, (x, y), self.registry.relations())
        return self.follow(before.prompt, relation_lines(scene), before)

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
        return Drawing(wish, unguided, guided, self.code(wish), self.yaml(wish), tuple(_notes(guided, guide)))

    def code(self, wish: Wish) -> str:
        """Python that draws the wish's guided image."""
        return script.python(self, wish)

    def yaml(self, wish: Wish) -> str:
        """The wish's configuration as a file for --config."""
        return script.yaml(self, wish)

    @cached_property
    def reader(self) -> SpatialGuide:
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


def _notes(guided: Result, guide: SpatialGuide) -> Iterator[str]:
    scene = guided.scene
    config = guide.config
    if not config.guidance.strength or (config.guidance.method == "gradient" and not config.losses):
        yield "strength 0 or no loss terms: guidance is off, and both images are the same"
    elif not guide.guides(guide.plan(scene)):
        yield "no relation was found, so there is nothing to guide: both images are the same"
    yield from guided.trace.faults(guide.terms)
    yield from (f"not guided: {line}" for line in scene.ignored)
    yield from guide.backend.doubts(scene)
