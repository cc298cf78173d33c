"""First-party parsers: every module in this folder is one. Deleting a file removes its feature and nothing else."""

from __future__ import annotations

import pkgutil

from spatialguide.hookspecs import hookimpl


@hookimpl
def spatialguide_modules(kind: str) -> list[str]:
    """All modules of this folder."""
    return [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)] if kind == "parsers" else []
