"""New plugins from templates: what is written registers; `.ci/run` installs each and runs the tests that it brings."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from spatialguide.commands.main import app
from spatialguide.commands.new_plugin import KINDS, new_plugin
from spatialguide.errors import OutputError
from spatialguide.registry import Registry


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_registers(tmp_path: Path, kind: str) -> None:
    paths = new_plugin(f"my-{kind}", kind, tmp_path)
    project = tomllib.loads((tmp_path / f"my-{kind}" / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["spatialguide"] == {f"my_{kind}": f"my_{kind}"}
    registry = Registry()
    module = ModuleType(f"my_{kind}")
    module.__dict__.update(runpy.run_path(str(tmp_path / f"my-{kind}" / f"my_{kind}.py")))
    registry.add(module)
    plural = {"loss": "losses"}.get(kind, f"{kind}s")
    assert f"my_{kind}" in registry.names(plural)
    assert len(paths) == 4
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert "$" not in text
        if path.suffix == ".py":
            compile(text, str(path), "exec")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("My Loss", "loss", "'My Loss' makes no module"),
        ("class", "loss", "'class' makes no module"),
        ("../up", "loss", "makes no module"),
        ("mine", "colour", "no kind of plugin is called 'colour'"),
        ("alignment", "loss", "there is a loss 'alignment' already: take another name, such as my-alignment"),
        ("next-to", "relation", "there is a relation 'next_to' already: take another name, such as my-next-to"),
        ("json", "loss", "'json' would hide the module of that name"),
        ("torch", "parser", "'torch' would hide the module of that name: take another name, such as my-torch"),
        ("spatialguide", "backend", "'spatialguide' would hide the module of that name"),
        ("pillow", "loss", "a distribution 'pillow' is installed, and installing yours would remove it: take another name"),
    ],
)
def test_bad_names_are_refused(tmp_path: Path, name: str, kind: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        new_plugin(name, kind, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["new-plugin", "mine", "--in", str(tmp_path)])
    assert done.exit_code == 0
    assert 'python -m pip install -e ".[dev]" && python -m pytest' in done.output
    with pytest.raises(OutputError, match="is there already"):
        new_plugin("mine", "loss", tmp_path)
