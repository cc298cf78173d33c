"""`spatialguide config`: make, show and check configurations."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from rich.markup import escape

from spatialguide.commands.console import echo, out
from spatialguide.commands.options import ConfigOption, JsonOption, PresetOption, SetOption, say_warnings, settings
from spatialguide.config import DEFAULT_PRESET, SETS, WITHIN, GuideConfig, TermConfig, load_config, make_config, presets
from spatialguide.errors import ConfigError, OutputError
from spatialguide.files import STDIN, write_text

config = typer.Typer(help="Make, show and check configurations.", no_args_is_help=True)


@config.command()
def init(
    path: Annotated[Path, typer.Argument(help='YAML file to write; "-" is standard output.')] = Path("guide.yaml"),
    preset: PresetOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a configuration with every key, its default and what it does."""
    if os.path.lexists(path) and str(path) != STDIN and not force:
        raise OutputError(f"'{path}' is there already: take another name, or --force")
    name = preset or DEFAULT_PRESET
    write_text(path, f"preset: {name}\n\n{commented(make_config(name))}")
    if str(path) != STDIN:
        out.print(f"[bold]{escape(str(path))}[/]  use it with --config {escape(str(path))}", highlight=False, soft_wrap=True)


@config.command()
def show(
    preset: PresetOption = None, path: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False
) -> None:
    """Print the configuration that a file, a preset and --set make."""
    values = settings(path, preset, assignments=assignments).model_dump(mode="json")
    echo(json.dumps(values) if as_json else yaml.safe_dump(values, sort_keys=False).rstrip())


@config.command()
def schema() -> None:
    """Print the JSON schema of configuration files, for editors."""
    echo(json.dumps(config_schema(), indent=2))


@config.command()
def validate(path: Annotated[Path, typer.Argument(help="YAML file.")], as_json: JsonOption = False) -> None:
    """Check a configuration: its keys and values, its plugins, and their options."""
    say_warnings(quiet=False)
    checked(load_config(path))
    if as_json:
        echo(json.dumps({"file": str(path), "valid": True}))
    else:
        out.print(f"[bold]{escape(str(path))}[/]  is valid", highlight=False, soft_wrap=True)


def checked(settings: GuideConfig) -> None:
    """Check what only the installed plugins know.

    Raises:
        UnknownPluginError: no plugin has the name.
        ConfigError: a loss term, the backend or the detector does not know an option, or a value is out of range; or diffusers
            has no such scheduler.
    """
    from spatialguide.guidance.losses import make_terms
    from spatialguide.guidance.steering import make_steers
    from spatialguide.registry import default_registry

    registry = default_registry()
    registry.check_options("parsers", settings.parser, settings.parser_options)
    # A backend is made and not loaded; a detector may load its model as it is made.
    registry.make("backends", settings.backend, settings.backend_options)
    registry.check_options("detectors", settings.detector, settings.detector_options)
    if "losses" in settings.model_fields_set:
        make_terms(settings.losses, registry)
    make_steers(settings.steerings, registry)
    if settings.scheduler is not None:
        from spatialguide.models.schedulers import scheduler_class

        kind = scheduler_class(settings.scheduler, settings.scheduler_options)
        try:
            kind(**settings.scheduler_options)
        except Exception as error:  # each kind has its own
            fault = f"{type(error).__name__}: {error}"
            raise ConfigError(f"scheduler_options: {kind.__name__} cannot be built with them: {fault}; change them") from error


def commented(model: BaseModel) -> str:
    """A model as YAML, each key below a comment that says what it is."""
    lines: list[str] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        lines += [f"# {line}" for line in textwrap.wrap(" ".join((field.description or "").split()), 110)]
        plain = model.model_dump(mode="json", include={name})[name]
        if isinstance(value, BaseModel):
            lines += [f"{name}:", textwrap.indent(commented(value).rstrip(), "  ")]
        elif isinstance(model, GuideConfig) and name in SETS:
            lines += [f"{name}:", *(f"  {line}" for line in _weighted(name, plain))]
        elif isinstance(plain, dict) and plain:
            lines += [f"{name}:", *(f"  {key}: {_in_line(each)}" for key, each in plain.items())]
        else:
            lines.append(f"{name}: {_in_line(plain)}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _weighted(kind: str, chosen: dict[str, dict[str, Any]]) -> list[str]:
    """Every plugin of a kind with all of its options, those that are switched off as comments."""
    from spatialguide.registry import default_registry

    registry = default_registry()
    lines = []
    for name in (*chosen, *(name for name in registry.names(kind) if name not in chosen)):
        options = {"weight": 1.0, **_usual(registry.get(kind, name)), **chosen.get(name, {})}
        text: str = yaml.safe_dump(options, default_flow_style=True, sort_keys=False, width=100)
        lines += [f"{'' if name in chosen else '# '}{line}" for line in f"{name}: {text}".splitlines()]
    return lines


def _usual(kind: type[BaseModel]) -> dict[str, Any]:
    """A plugin's options with their defaults, those that must be given left out."""
    fields = {name: field for name, field in kind.model_fields.items() if not field.is_required()}
    usual = {name: field.get_default(call_default_factory=True, validated_data={}) for name, field in fields.items()}
    plain: dict[str, Any] = to_jsonable_python(usual)
    return plain


def _in_line(value: Any) -> str:
    """A value as YAML on one line."""
    text: str = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, width=10**6)
    return text.strip()[1:-1]


def config_schema() -> dict[str, Any]:
    """JSON schema of a configuration file: the configuration's, and the name of its starting point."""
    from spatialguide.registry import default_registry

    found, usual = GuideConfig.model_json_schema(), GuideConfig().model_dump(mode="json")
    for key, field in found["properties"].items():
        field.setdefault("default", usual[key])
    preset = {"enum": list(presets()), "default": DEFAULT_PRESET, "description": "Starting point; all other keys change it."}
    registry = default_registry()
    found["properties"] = {"preset": preset, **found["properties"]}
    for kind in SETS:
        plugins = {name: _options_schema(name, registry.get(kind, name)) for name in registry.names(kind)}
        for name, plugin in plugins.items():
            # References are relative to the whole document.
            found["$defs"] |= {f"{name}.{key}": value for key, value in plugin.pop("$defs", {}).items()}
        found["properties"][kind] |= {"properties": plugins, "additionalProperties": False}
    return found


def _options_schema(name: str, kind: type[BaseModel]) -> dict[str, Any]:
    """A plugin's options, and its weight."""
    options = kind.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    weight = TermConfig.model_json_schema()["properties"]["weight"]
    within = {key: {**(WITHIN if _is_number(field) else {}), **field} for key, field in options["properties"].items()}
    return {**options, "properties": {"weight": weight, **within}}


def _is_number(field: dict[str, Any]) -> bool:
    kinds = {each.get("type") for each in (field, *field.get("anyOf", ()))}
    return not kinds.isdisjoint(("number", "integer"))
