"""Puts the version that the site documents into its footer, for mkdocs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """The version is that of pyproject.toml."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    config.copyright = f"spatialguide {project['version']}, {project['license']}"
    return config
