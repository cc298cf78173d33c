"""What the commands share: options, configuration from them, and quiet libraries."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from spatialguide.commands.console import err
from spatialguide.config import DEFAULT_PRESET, GuideConfig, load_config, make_config, patched
from spatialguide.documents import DocumentError, parse_yaml

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="YAML configuration.")]
PresetOption = Annotated[str | None, typer.Option(help="Starting point: see `spatialguide plugins`.")]
StepsOption = Annotated[int | None, typer.Option(help="Sampling steps.")]
StrengthOption = Annotated[float | None, typer.Option(help="Guidance strength; 0 draws what the plain model draws.")]
SchedulerOption = Annotated[str | None, typer.Option(help="diffusers scheduler, such as DDIM.")]
BackendOption = Annotated[str | None, typer.Option(help="Model: see `spatialguide plugins`.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any key of the configuration, key=value, such as steps=30 or guidance.window=[0,0.8]."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def settings(
    path: Path | None,
    preset: str | None,
    strength: float | None = None,
    assignments: list[str] | None = None,
    best_of: int | None = None,
    **overrides: Any,
) -> GuideConfig:
    """The configuration that the options make: a file's or a preset's, with what else was given on top."""
    given = {key: value for key, value in overrides.items() if value is not None and value is not False}
    guidance = {key: value for key, value in (("strength", strength), ("best_of", best_of)) if value is not None}
    if guidance:
        given["guidance"] = guidance
    if path is not None and preset is not None:
        raise typer.BadParameter("give --config or --preset, not both: a configuration names its preset itself")
    config = load_config(path, **given) if path is not None else make_config(preset or DEFAULT_PRESET, **given)
    return patched(config, pairs(assignments))


def pairs(texts: list[str] | None) -> dict[str, Any]:
    """key=value, one per text; a value is read as YAML, so that numbers and lists are what they look like."""
    found = {}
    for text in texts or ():
        key, value = split_pair(text)
        try:
            found[key] = parse_yaml(value)
        except DocumentError as error:
            raise typer.BadParameter(f"'{text}': the value is not valid YAML; put it in quotes: {error}") from error
    return found


def split_pair(text: str) -> tuple[str, str]:
    """key and value of key=value."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"give key=value, not '{text}'")
    return key, value


def say_warnings(quiet: bool) -> None:
    """Warnings as one plain line each, on standard error."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if not quiet and category.__module__.startswith("spatialguide"):
            err.print(f"[yellow]warning:[/] {escape(str(message))}", highlight=False, soft_wrap=True)

    warnings.simplefilter("always")
    warnings.showwarning = show


def import_spacy_alone() -> None:
    """Import spaCy without torch, which it loads where it can: parsing needs none, and it takes longer than all the rest.

    Transformer pipelines of spaCy do need it.
    """
    needed = any(find_spec(name) for name in ("spacy_transformers", "spacy_curated_transformers"))
    if needed or "torch" in sys.modules:
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        import spacy  # noqa: F401
    finally:
        del sys.modules["torch"]


def silence_libraries() -> None:
    """Keep the libraries' own progress bars and notes out of our output."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("diffusers", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
