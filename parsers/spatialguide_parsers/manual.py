"""The manual parser: reads no English, only the relations that a prompt states in its marks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spatialguide.contracts import Parser, Predicate
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.inline import read_marks
from spatialguide.scenes.scene import Scene


class ManualParser:
    """Parses "a cat and a dog {{cat left_of dog}}".

    Args:
        relations: relation plugins by predicate name.
    """

    def __init__(self, relations: Mapping[str, Predicate]) -> None:
        self._relations = relations

    def __call__(self, prompt: str) -> Scene:
        """Parse one prompt. Raises PromptError for one without marks, or with marks that say nothing known."""
        return read_marks(prompt, self._relations)


@hookimpl
def spatialguide_parsers(register: Callable[[str, Callable[..., Parser]], None]) -> None:
    """manual: inline marks only."""
    register("manual", ManualParser)
