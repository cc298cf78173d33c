"""The default parser: English prompts, spaCy's tagger and a small grammar of places.

The road: words -> phrases -> tags -> nouns -> attachment -> Scene. spaCy itself is loaded with the first parser.
"""

from __future__ import annotations

from collections.abc import Callable

from spatialguide.contracts import Parser
from spatialguide.hookspecs import hookimpl
from spatialguide_parsers.english.parser import SpacyParser

__all__ = ["SpacyParser"]


@hookimpl
def spatialguide_parsers(register: Callable[[str, Callable[..., Parser]], None]) -> None:
    """spacy: the default."""
    register("spacy", SpacyParser)
