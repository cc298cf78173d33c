"""The command line.

Exit codes: 0 done, 1 an error that the message explains, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from spatialguide.config import GuideConfig, load_config, make_config
from spatialguide.errors import SpatialGuideError

app = typer.Typer(
    help="Draw prompts the way round they say.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(help="Benchmarks that print tables.", no_args_is_help=True)
app.add_typer(bench, name="bench")

out, err = Console(), Console(stderr=True)

PromptArgument = Annotated[str, typer.Argument(help='What to draw, such as "a cat to the left of a dog".')]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="YAML configuration.")]
PresetOption = Annotated[str | None, typer.Option(help="Starting point: balanced or paper.")]
StepsOption = Annotated[int | None, typer.Option(help="Sampling steps.")]
StrengthOption = Annotated[float | None, typer.Option(help="Guidance strength; 0 draws what the plain model draws.")]
SchedulerOption = Annotated[str | None, typer.Option(help="diffusers scheduler, such as DDIM.")]
BackendOption = Annotated[str | None, typer.Option(help="Model: see `spatialguide plugins`.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def _config(path: Path | None, preset: str | None, strength: float | None = None, **overrides: Any) -> GuideConfig:
    given = {key: value for key, value in overrides.items() if value is not None and value is not False}
    if strength is not None:
        given["guidance"] = {"strength": strength}
    if path is not None and preset is not None:
        raise typer.BadParameter("give --config or --preset, not both: a configuration names its preset itself")
    return load_config(path, **given) if path is not None else make_config(preset or "balanced", **given)


def _say_warnings(quiet: bool) -> None:
    """Warnings as one plain line each, on standard error."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if not quiet and category.__module__.startswith("spatialguide"):
            err.print(f"[yellow]warning:[/] {escape(str(message))}", highlight=False, soft_wrap=True)

    warnings.simplefilter("always")
    warnings.showwarning = show


def _silence_libraries() -> None:
    """Keep the libraries' own progress bars and notes out of our output."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("diffusers", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)


@app.command()
def generate(
    prompt: PromptArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")] = Path("out.png"),
    compare: Annotated[
        bool, typer.Option("--compare", help="Draw it unguided too, and write both side by side with detected boxes.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the starting noise.")] = 0,
    steps: StepsOption = None,
    strength: StrengthOption = None,
    scheduler: SchedulerOption = None,
    backend: BackendOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when the prompt has no relation.")] = False,
    trace: Annotated[Path | None, typer.Option(help="Write the trace of every guided step as JSON.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Generate a guided image."""
    _say_warnings(quiet)
    _silence_libraries()
    settings = _config(config, preset, steps=steps, scheduler=scheduler, backend=backend, strict=strict, strength=strength)
    from spatialguide.images import check_writable
    from spatialguide.render import render

    check_writable(output)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet or as_json) as progress:
        task = progress.add_task("starting", total=1)

        def say(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        report = render(prompt, settings, output, seed=seed, compare=compare, trace=trace, say=say)
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
    elif not quiet:
        out.print(f"[bold]{escape(str(output))}[/]  {escape(report['description'])}", highlight=False, soft_wrap=True)
        for name, verdict in report.get("verdicts", {}).items():
            out.print(f"  {name}: {escape(verdict)}", highlight=False)


@app.command()
def parse(
    prompt: PromptArgument,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the objects and relations that a prompt is understood to hold."""
    _say_warnings(quiet=False)
    from spatialguide.guide import SpatialGuide

    scene = SpatialGuide(_config(config, None)).parse(prompt)
    if as_json:
        typer.echo(scene.model_dump_json(indent=2))
        return
    objects = Table("#", "object", "attributes", "count", "characters", title="Objects", title_justify="left")
    for number, item in enumerate(scene.objects):
        count = "several" if item.count is None else str(item.count)
        attributes = escape(", ".join(item.attributes))
        objects.add_row(str(number), escape(item.text), attributes, count, f"{item.span.start}-{item.span.end}")
    relations = Table("subject", "relation", "of", title="Relations", title_justify="left")
    for edge in scene.relations:
        grounds = " and ".join(scene.name(i) for i in edge.objects)
        relations.add_row(escape(scene.name(edge.subject)), edge.predicate, escape(grounds))
    out.print(objects, relations)
    for line in scene.ignored:
        out.print(f"[yellow]ignored:[/] {escape(line)}", highlight=False)


@app.command()
def plugins(as_json: JsonOption = False) -> None:
    """List what is registered, and which distribution it comes from."""
    from spatialguide.registry import default_registry

    items = list(default_registry())
    if as_json:
        rows = [{"kind": i.kind, "name": i.name, "distribution": i.distribution, "module": i.module} for i in items]
        typer.echo(json.dumps(rows))
        return
    table = Table("kind", "name", "distribution", "module")
    for item in items:
        table.add_row(item.kind, item.name, item.distribution, item.module)
    out.print(table)


@bench.command()
def visor(
    prompts: Annotated[int, typer.Option(help="Number of prompts, spread evenly over names and relations.", min=4)] = 100,
    images: Annotated[int, typer.Option(help="Images per prompt.", min=1)] = 4,
    batch: Annotated[int, typer.Option(help="Prompts per batch.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the choice of prompts and of the first image.")] = 0,
    steps: StepsOption = None,
    strength: StrengthOption = None,
    scheduler: SchedulerOption = None,
    backend: BackendOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG of unguided images beside guided ones.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the VISOR protocol on the backend's own vocabulary: unguided against guided, same seeds."""
    _say_warnings(quiet=False)
    _silence_libraries()
    settings = _config(config, preset, steps=steps, scheduler=scheduler, backend=backend, strength=strength)
    from spatialguide.evaluation.benchmark import run_visor

    report = run_visor(settings, prompts=prompts, images=images, batch=batch, seed=seed, sheet=sheet, console=err)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        out.print(report.table())


@bench.command()
def targets(
    prompts: Annotated[int, typer.Option(help="VISOR prompts.", min=4)] = 100,
    images: Annotated[int, typer.Option(help="Images per prompt.", min=1)] = 4,
    batch: Annotated[int, typer.Option(help="Prompts per batch.", min=1)] = 4,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG of unguided images beside guided ones.")] = None,
) -> None:
    """Measure what the bundled model and the command line must reach: VISOR, bit identity, seconds, memory."""
    _say_warnings(quiet=False)
    _silence_libraries()
    from spatialguide.evaluation import targets as measured
    from spatialguide.evaluation.benchmark import run_visor

    settings = make_config()
    found = measured.command_targets()  # first, while nothing else of ours is in memory
    report = run_visor(settings, prompts=prompts, images=images, batch=batch, sheet=sheet, console=err)
    out.print(report.table())
    out.print(measured.targets_table([*measured.visor_targets(report), *measured.identity_targets(settings), *found]))


def main() -> None:
    """Entry point: spatialguide's own errors become one line and exit code 1."""
    try:
        app()
    except SpatialGuideError as error:
        err.print(f"[bold red]error:[/] {escape(' '.join(str(error).split()))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)
