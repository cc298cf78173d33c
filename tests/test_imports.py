"""Importing the package loads nothing heavy: the command line answers at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "spacy", "matplotlib", "gradio", "ray", "pyarrow", "pandas")


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    ["import spatialguide", "from spatialguide import SpatialGuide; SpatialGuide()", "import spatialguide.commands.main"],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    script = f"{statement}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []
