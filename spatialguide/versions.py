"""Versions of what shapes an image: the libraries below, and the distributions of the plugins that were asked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("spatialguide", "torch", "diffusers", "transformers", "spacy", "numpy")


def versions(distributions: Iterable[str] = ()) -> dict[str, str]:
    """Versions by distribution: of `LIBRARIES`, and of the given ones that are installed."""
    names = (*LIBRARIES, *sorted(set(distributions) - set(LIBRARIES)))
    return {name: found for name in names if (found := _version(name)) is not None}


@lru_cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # a plugin that a program registered by itself
        return None
