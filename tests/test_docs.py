"""The documents keep up with the code."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from spatialguide.config import presets
from spatialguide.registry import Registry

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_loss_and_preset_is_documented(registry: Registry) -> None:
    text = (ROOT / "docs" / "method.md").read_text()
    for name in registry.names("losses"):
        assert f"| {name} |" in text
    for preset in presets():
        assert f"`{preset}`" in text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def commands(path: Path) -> list[str]:
    """Every call of the command in a document's shell blocks, without comments; optional parts in brackets left out."""
    blocks = re.findall(r"```bash\n(.*?)```", path.read_text(), flags=re.DOTALL)
    lines = [line.split("#")[0] for block in blocks for line in block.splitlines()]
    return [re.sub(r"\[.*?\]", "", line).strip() for line in lines if line.startswith("spatialguide ")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_exist_with_their_options(path: Path) -> None:
    from typer.main import get_command

    from spatialguide.commands.main import app

    for line in commands(path):
        words = shlex.split(line)[1:]
        context = get_command(app).make_context("spatialguide", list(words))
        command, name = context.command, ""
        while isinstance(getattr(command, "commands", None), dict):
            name, command, words = command.resolve_command(context, words)
            assert command is not None, line
        command.make_context(name, list(words))  # raises on an option that there is not


def test_the_readme_has_the_two_commands_that_matter() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert "pip install" in blocks[0]
    assert "spatialguide generate" in blocks[0]
    assert "python -m pytest" in blocks[1]


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for path in DOCUMENTS[1:]:
        assert str(path.relative_to(ROOT / "docs")) in navigation


def test_every_public_name_is_on_the_api_page() -> None:
    """Those of the package, and those that the plugins and examples take from its modules."""
    import spatialguide

    text = (ROOT / "docs" / "api.md").read_text()
    entries = set(re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE))
    for name in spatialguide.__all__:
        home = spatialguide._HOMES.get(name, "hookspecs")
        assert {f"spatialguide.{name}", f"spatialguide.{home}", f"spatialguide.{home}.{name}"} & entries, name
    sources = [path for folder in ("plugins", "parsers", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(sources) > 20
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spatialguide."):
                for name in node.names:
                    assert {node.module, f"{node.module}.{name.name}", f"spatialguide.{name.name}"} & entries, (
                        f"{path}: {name.name}"
                    )


def test_every_public_name_has_a_docstring() -> None:
    import spatialguide

    for name in spatialguide.__all__:
        found = getattr(spatialguide, name)
        assert (getattr(found, "__doc__", None) or "").strip(), name
        for member, value in vars(found).items() if isinstance(found, type) else ():
            if not member.startswith("_") and callable(value) and not isinstance(value, type):
                assert (value.__doc__ or "").strip(), f"{name}.{member}"


def paragraphs(path: Path) -> list[list[str]]:
    """Lines of each paragraph and list item; without front matter, code, tables and headings."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#"))]
    return [block.splitlines() for block in re.split(r"\n\s*\n|\n(?=- )", "\n".join(lines)) if block.strip()]


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))],
    ids=lambda p: p.name,
)
def test_what_newcomers_read_is_short(path: Path) -> None:
    """The README within 120 lines, and no paragraph of it or the guides over five."""
    assert path.name != "README.md" or len(path.read_text().splitlines()) < 120
    for lines in paragraphs(path):
        assert len(lines) <= 5, lines[0]
        assert max(map(len, lines)) <= 180, lines[0]


def test_the_gallery_shows_its_commands_pictures() -> None:
    text = (ROOT / "docs" / "gallery.md").read_text()
    folder = ROOT / "docs" / "images" / "gallery"
    drawn = re.findall(r"^spatialguide generate .* -o (\S+)$", text, flags=re.MULTILINE)
    assert drawn == re.findall(r"images/gallery/(\S+)\)", text)
    assert set(drawn) == {path.name for path in folder.iterdir()}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 600_000
