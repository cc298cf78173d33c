"""The command line.

Exit codes: 0 done, 1 an error that the message explains, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
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
score = typer.Typer(help="Score results that you have, by the publications' own rules.", no_args_is_help=True)
app.add_typer(score, name="score")

out, err = Console(), Console(stderr=True)

PromptArgument = Annotated[
    str | None, typer.Argument(help='What to draw, such as "a cat to the left of a dog". A --scene file may hold it instead.')
]
SceneOption = Annotated[Path | None, typer.Option(help="JSON or YAML with the scene, in place of the parser.")]
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


def _import_spacy_alone() -> None:
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


def _silence_libraries() -> None:
    """Keep the libraries' own progress bars and notes out of our output."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("diffusers", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)


@app.command()
def generate(
    prompt: PromptArgument = None,
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
    scene: SceneOption = None,
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

        report = render(prompt, settings, output, seed=seed, compare=compare, trace=trace, scene_file=scene, say=say)
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
    elif not quiet:
        out.print(f"[bold]{escape(str(output))}[/]  {escape(report['description'])}", highlight=False, soft_wrap=True)
        for name, verdict in report.get("verdicts", {}).items():
            out.print(f"  {name}: {escape(verdict)}", highlight=False)


@app.command()
def parse(
    prompt: PromptArgument = None,
    source: Annotated[
        Path | None,
        typer.Option("--input", help='Prompts to parse: JSON lines with a "prompt", or plain lines; "-" reads standard input.'),
    ] = None,
    target: Annotated[Path | None, typer.Option("--output", help='JSON lines to write; "-" is standard output.')] = None,
    scene: SceneOption = None,
    svg: Annotated[Path | None, typer.Option(help="Draw the scene's graph as SVG.")] = None,
    parser: Annotated[str | None, typer.Option(help="Parser: see `spatialguide plugins`.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the objects and relations that a prompt is understood to hold; with --input and --output, of many prompts."""
    _say_warnings(quiet=False)
    _import_spacy_alone()
    if (source is None) != (target is None):
        raise typer.BadParameter("--input and --output belong together")
    if source is not None and (prompt or scene or svg):
        raise typer.BadParameter("give either one prompt, or --input and --output")
    from spatialguide import files, reading
    from spatialguide.diagram import scene_svg
    from spatialguide.guide import SpatialGuide

    guide = SpatialGuide(_config(config, None, parser=parser))
    if source is not None and target is not None:
        total, faults = reading.parse_file(guide, source, target)
        summary = {"output": str(target), "prompts": total, "problems": faults}
        if as_json:
            typer.echo(json.dumps(summary), err=str(target) == files.STDIN)
        elif str(target) != files.STDIN:
            out.print(f"[bold]{escape(str(target))}[/]  {total} prompts, {faults} with a problem", highlight=False)
        return
    found = reading.scene_of(guide, prompt, scene)
    relations = guide.registry.relations()
    if svg is not None:
        files.write_text(svg, scene_svg(found))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        reading.print_scene(found, relations, out)


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


@bench.command("run")
def bench_run(
    name: Annotated[str, typer.Argument(help="Benchmark: visor, multi, t2i, geneval, or one of a plugin.")] = "visor",
    option: Annotated[
        list[str] | None,
        typer.Option(help="Option of the benchmark, key=value, such as file=spatial_val.txt."),
    ] = None,
    prompts: Annotated[int, typer.Option(help="Number of prompts.", min=1)] = 100,
    images: Annotated[int, typer.Option(help="Images per prompt.", min=1)] = 4,
    batch: Annotated[int, typer.Option(help="Prompts per batch.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the choice of prompts and of the first image.", min=0)] = 0,
    folder: Annotated[Path | None, typer.Option("--out", help="Keep the run here; the same command resumes it.")] = None,
    steps: StepsOption = None,
    strength: StrengthOption = None,
    scheduler: SchedulerOption = None,
    backend: BackendOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG of unguided images beside guided ones.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a benchmark: unguided against guided, same prompts, same seeds."""
    _say_warnings(quiet=False)
    _silence_libraries()
    settings = _config(config, preset, steps=steps, scheduler=scheduler, backend=backend, strength=strength)
    from spatialguide.evaluation.benchmark import run_benchmark

    report = run_benchmark(
        settings,
        name,
        options=dict(_pair(text) for text in option or ()),
        prompts=prompts,
        images=images,
        batch=batch,
        seed=seed,
        folder=folder,
        sheet=sheet,
        console=err,
    )
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        out.print(report.table())


def _pair(text: str) -> tuple[str, Any]:
    """key=value; the value is read as YAML, so that numbers and lists are what they look like."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"--option takes key=value, not '{text}'")
    return key, yaml.safe_load(value)


@bench.command("parser")
def bench_parser(
    gold: Annotated[Path | None, typer.Option(help="Gold prompts as JSON lines; the project's own by default.")] = None,
    peer: Annotated[bool, typer.Option("--peer", help="Score scenegraphparser too, where it is installed.")] = False,
    fails: Annotated[int, typer.Option(help="Print the first prompts that are not right.", min=0)] = 0,
    templates: Annotated[int | None, typer.Option(help="Prompts per template set; all by default.", min=0)] = None,
    parser: Annotated[str | None, typer.Option(help="Parser: see `spatialguide plugins`.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the parser: templates of the benchmarks, gold prompts by class, speed."""
    _say_warnings(quiet=False)
    _import_spacy_alone()
    from spatialguide.evaluation.parser_benchmark import run_parser_benchmark
    from spatialguide.evaluation.targets import targets_table
    from spatialguide.guide import SpatialGuide

    report = run_parser_benchmark(SpatialGuide(_config(None, None, parser=parser)), gold, peer, templates)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False))
        return
    out.print(report.table())
    for failure in report.gold.failures[:fails]:
        out.print(f"[bold]{failure.identity}[/] {escape(failure.prompt)}", highlight=False)
        out.print(
            f"  missed: {escape('; '.join(failure.missed)) or '-'}  wrong: {escape('; '.join(failure.wrong)) or '-'}",
            highlight=False,
        )
    for item in report.templates:
        for prompt in item.failures[:fails]:
            out.print(f"[bold]{item.name}[/] {escape(prompt)}", highlight=False)
    out.print(targets_table(report.targets()))


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
    from spatialguide.evaluation.benchmark import run_benchmark

    settings = make_config()
    found = measured.command_targets()  # first, while nothing else of ours is in memory
    report = run_benchmark(settings, prompts=prompts, images=images, batch=batch, sheet=sheet, console=err)
    out.print(report.table())
    out.print(
        measured.targets_table(
            [*measured.visor_targets(report.unguided, report.guided), *measured.identity_targets(settings), *found]
        )
    )


@score.command("visor")
def score_visor(
    detections: Annotated[Path, typer.Option(help="Detection results in the publishers' JSON format.")],
    against: Annotated[Path | None, typer.Option(help="Another method's results on the same prompts.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print VISOR's figures for a file of detections; prompts are numbered as SR2D numbers them."""
    from spatialguide.evaluation import visor as scorer
    from spatialguide.evaluation.prompts import bundled_names, sr2d

    prompts = sr2d(bundled_names("coco"))
    results = scorer.read_detections(detections)
    scores = scorer.score_detections(results, prompts)
    comparison = scorer.compare_detections(scorer.read_detections(against), results, prompts) if against else None
    if as_json:
        typer.echo(json.dumps({**asdict(scores), "comparison": asdict(comparison) if comparison else None}))
        return
    names = ("OA", "VISOR_cond", "VISOR_uncond", *(f"VISOR_{n + 1}" for n in range(len(scores.at_least))))
    oa, uncond, cond, *rest = (str(interval) for interval in scores.intervals)
    table = Table("", *names, "images", title=f"VISOR, {escape(str(detections))} (percent)", title_justify="left")
    figures = (scores.oa, scores.cond, scores.uncond, *scores.at_least)
    table.add_row("figure", *(f"{figure:.2f}" for figure in figures), str(len(results)))
    table.add_row("95% interval", oa, cond, uncond, *rest)
    out.print(table)
    if comparison is not None:
        sign = f"{comparison.difference:+.2f} ({comparison.interval}), p = {comparison.p_value:.4f}"
        out.print(f"VISOR_uncond against {escape(str(against))}: {sign}", highlight=False)


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
