"""First-party plugins, in a folder for each kind. Deleting a file removes its feature and nothing else."""

from __future__ import annotations

import pkgutil

from spatialguide.hookspecs import hookimpl

#: Kinds of which the bundled model brings its own.
_TINY = ("backends", "detectors", "benchmarks", "features")


@hookimpl
def spatialguide_modules(kind: str) -> list[str]:
    """The modules of the kind's folder, and the bundled model's."""
    folders = [f"{path}/{kind}" for path in __path__]
    found = [f"{__name__}.{kind}.{module.name}" for module in pkgutil.iter_modules(folders)]
    return [*found, f"{__name__}.tiny"] if kind in _TINY else found
