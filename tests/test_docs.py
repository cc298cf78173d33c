"""The documents keep up with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spatialguide.config import PRESETS
from spatialguide.registry import Registry

ROOT = Path(__file__).parent.parent


def test_every_loss_and_preset_is_documented(registry: Registry) -> None:
    text = (ROOT / "docs" / "method.md").read_text()
    for name in registry.names("losses"):
        assert f"| {name} |" in text
    for preset in PRESETS:
        assert f"`{preset}`" in text


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name)
def test_links_and_pictures_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_the_readme_has_the_two_commands_that_matter() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert "pip install" in blocks[0]
    assert "spatialguide generate" in blocks[0]
    assert "python -m pytest" in blocks[1]
