"""A parser of one's own: "cat -> dog" draws the cat to the left of the dog, "cat ^ dog" above it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from spatialguide import Parser, Predicate, hookimpl
from spatialguide.errors import PromptError
from spatialguide.scenes.scene import Relation, Scene, SceneObject, Span

SIGNS = {"->": "left_of", "^": "above"}
_SIGN = re.compile("|".join(re.escape(sign) for sign in SIGNS))


class ArrowParser:
    """Objects between arrows; each arrow relates the object before it to the one after it."""

    def __init__(self, relations: Mapping[str, Predicate]) -> None:
        self.relations = relations

    def __call__(self, prompt: str) -> Scene:
        """Spans are characters of the prompt as the user wrote it: binding to tokens depends on them.

        Raises:
            PromptError: there is nothing beside an arrow.
        """
        objects, edges, start = [], [], 0
        for sign in [*_SIGN.finditer(prompt), None]:
            stop = len(prompt) if sign is None else sign.start()
            text = prompt[start:stop]
            if not text.strip():
                raise PromptError(f"something is missing beside an arrow in '{prompt}': write cat -> dog")
            begin = start + len(text) - len(text.lstrip())
            span = Span(begin, begin + len(text.strip()))
            objects.append(SceneObject(text=text.strip(), head=text.split()[-1], span=span, phrase=span))
            if sign is not None:
                edges.append(Relation(subject=len(objects) - 1, predicate=SIGNS[sign.group()], objects=(len(objects),)))
                start = sign.end()
        return Scene(prompt=prompt, objects=tuple(objects), relations=tuple(edges))


@hookimpl
def spatialguide_parsers(register: Callable[[str, Callable[..., Parser]], Any]) -> None:
    """arrows."""
    register("arrows", ArrowParser)
