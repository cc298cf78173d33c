"""The command line.

Exit codes: 0 done, 1 an error that the message explains, 2 wrong usage, or a fault that nobody foresaw, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer.rich_utils import rich_format_error

from spatialguide.commands.batch import batch
from spatialguide.commands.bench import bench
from spatialguide.commands.calibrate import calibrate
from spatialguide.commands.config import config as config_app
from spatialguide.commands.console import echo, err, out, plain
from spatialguide.commands.options import (
    BackendOption,
    ConfigOption,
    JsonOption,
    PresetOption,
    QuietOption,
    SchedulerOption,
    SetOption,
    StepsOption,
    StrengthOption,
    import_spacy_alone,
    say_warnings,
    settings,
    silence_libraries,
)
from spatialguide.commands.score import score
from spatialguide.errors import SpatialGuideError
from spatialguide.files import json_line

_DEBUG = "--debug"
#: click's, which newer versions of typer bring themselves.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench, name="bench")
app.add_typer(score, name="score")
app.add_typer(config_app, name="config")
app.command()(batch)
app.command()(calibrate)

PromptArgument = Annotated[
    str | None, typer.Argument(help='What to draw, such as "a cat to the left of a dog". A --scene file may hold it instead.')
]
SceneOption = Annotated[Path | None, typer.Option(help="JSON or YAML with the scene, in place of the parser.")]


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
    assignments: SetOption = None,
    scene: SceneOption = None,
    best_of: Annotated[
        int | None,
        typer.Option("--best-of", min=1, help="Candidates to draw; the one that shows the prompt best is kept."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when the prompt has nothing to guide.")] = False,
    trace: Annotated[Path | None, typer.Option(help="Write the trace of every guided step as JSON.")] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures of the attention: a sheet, an animation, curves, the scene's graph."),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Generate a guided image; `batch` draws many."""
    say_warnings(quiet)
    silence_libraries()
    chosen = settings(
        config,
        preset,
        strength,
        assignments,
        steps=steps,
        scheduler=scheduler,
        backend=backend,
        strict=strict,
        best_of=best_of,
    )
    from spatialguide.commands.generate import render
    from spatialguide.pictures.png import check_writable

    check_writable(output)
    with _progress(hidden=quiet or as_json) as say:
        report = render(
            prompt, chosen, output, seed=seed, compare=compare, trace=trace, pictures=pictures, scene_file=scene, say=say
        )
    if as_json:
        echo(json_line(report))
    elif not quiet:
        out.print(f"[bold]{escape(str(output))}[/]  {escape(report['description'])}", highlight=False, soft_wrap=True)
        if report["metadata"]["reason"]:
            by = f"guided by {report['metadata']['method']}: {report['metadata']['reason']}"
            out.print(f"  {escape(by)}", highlight=False, soft_wrap=True)
        for name, verdict in report.get("verdicts", {}).items():
            out.print(f"  {name}: {escape(verdict)}", highlight=False)
        for path in report.get("pictures", ()):
            out.print(f"  {escape(path)}", highlight=False, soft_wrap=True)


@app.command()
def replay(
    image: Annotated[Path, typer.Argument(help="PNG that spatialguide wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")] = Path("replay.png"),
    guided: Annotated[bool | None, typer.Option("--guided/--unguided", help="By default as the picture was.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Load the model and the files that the picture names.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw a picture again from what it carries: prompt, scene, seed and configuration; its own model only with --trust."""
    say_warnings(quiet)
    silence_libraries()
    from spatialguide.commands.generate import replay as draw_again

    def tell(wants: str) -> None:
        if not quiet:
            err.print(f"{escape(str(image))} wants {escape(wants)}", highlight=False, soft_wrap=True)

    with _progress(hidden=quiet or as_json) as say:
        report = draw_again(image, output, guided=guided, trust=trust, tell=tell, say=say)
    if as_json:
        echo(json_line(report))
    elif not quiet:
        words = {True: "the same pixels", False: "other pixels", None: "not compared: the picture holds more than the image"}
        out.print(f"[bold]{escape(str(output))}[/]  {escape(report['description'])}", highlight=False, soft_wrap=True)
        out.print(f"  {words[report['identical']]}", highlight=False)
        for name, (then, now) in report["changed"].items():
            out.print(f"  drawn with {name} {then or '(none)'}; here is {now or '(none)'}", highlight=False)


@app.command()
def parse(
    prompt: PromptArgument = None,
    source: Annotated[
        str | None,
        typer.Option("--input", help='Prompts to parse, read as `batch` reads them; "-" is standard input.'),
    ] = None,
    target: Annotated[Path | None, typer.Option("--output", help='JSON lines to write; "-" is standard output.')] = None,
    scene: SceneOption = None,
    svg: Annotated[Path | None, typer.Option(help="Draw the scene's graph as SVG.")] = None,
    parser: Annotated[str | None, typer.Option(help="Parser: see `spatialguide plugins`.")] = None,
    config: ConfigOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the objects and relations that a prompt is understood to hold; with --input and --output, of many prompts."""
    say_warnings(quiet)
    import_spacy_alone()
    if (source is None) != (target is None):
        raise typer.BadParameter("--input and --output belong together: give both, or neither")
    if source is not None and (prompt or scene or svg):
        raise typer.BadParameter("give either one prompt, or --input and --output")
    from spatialguide import files
    from spatialguide.commands import parse as reading
    from spatialguide.guide import SpatialGuide
    from spatialguide.pictures.diagram import scene_svg

    guide = SpatialGuide(settings(config, None, parser=parser))
    if source is not None and target is not None:
        total, faults = reading.parse_file(guide, source, target)
        summary = {"output": str(target), "prompts": total, "problems": faults}
        if as_json:
            echo(json.dumps(summary), err=str(target) == files.STDIN)
        elif str(target) != files.STDIN and not quiet:
            out.print(f"[bold]{escape(str(target))}[/]  {total} prompts, {faults} with a problem", highlight=False)
        return
    found = reading.scene_of(guide, prompt, scene)
    relations = guide.registry.relations()
    if svg is not None:
        files.write_text(svg, scene_svg(found))
    if as_json:
        echo(found.model_dump_json(indent=2))
    elif not quiet:
        reading.print_scene(found, relations, out)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to bind to; 0.0.0.0 lets everyone on the network in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 7860,
    names: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A name under which visitors reach the page too, such as a proxy's."),
    ] = None,
    config: ConfigOption = None,
    max_steps: Annotated[int, typer.Option(min=1, help="Most sampling steps that a visitor may ask for.")] = 100,
    max_side: Annotated[
        int | None,
        typer.Option(min=8, help="Largest side in pixels that a visitor may ask for; by default 1.5 times the model's usual."),
    ] = None,
    max_seconds: Annotated[float, typer.Option(min=1, help="Longest that one drawing may take; longer ones are ended.")] = 600,
    queue: Annotated[int, typer.Option(min=1, help="Drawings that may wait; more are refused.")] = 16,
    all_models: Annotated[
        bool, typer.Option("--all-models", help="Offer every backend, not the configuration's and the bundled one alone.")
    ] = False,
) -> None:
    """Serve a web page: type a prompt, see it understood, and drawn unguided and guided side by side."""
    say_warnings(quiet=False)
    silence_libraries()
    from spatialguide.web import server, studio

    base = None if config is None else settings(config, None)
    name = "" if config is None else config.name
    limits = studio.Limits(steps=max_steps, side=max_side, queue=queue, seconds=max_seconds)
    page = server.serve(studio.Studio(base, name, limits, all_models=all_models), host, port, names or ())
    # Its usual end, whenever it comes: exit code 0.
    with suppress(KeyboardInterrupt):
        out.print(f"running at [bold]{page.local_url}[/]  stop with Ctrl+C", highlight=False, soft_wrap=True)
        page.block_thread()


@app.command("new-plugin")
def new_plugin(
    name: Annotated[str, typer.Argument(help="Of the new package, such as my-loss.")],
    kind: Annotated[str, typer.Option(help="loss, relation, parser, backend or detector.")] = "loss",
    folder: Annotated[Path, typer.Option("--in", help="Where its folder goes.")] = Path(),
) -> None:
    """Start a plugin: a package that installs, with one working plugin and a test that passes."""
    from spatialguide.commands import new_plugin as scaffold

    for path in scaffold.new_plugin(name, kind, folder):
        out.print(f"[bold]{escape(str(path))}[/]", highlight=False, soft_wrap=True)
    following = f'cd {folder / name} && python -m pip install -e ".[dev]" && python -m pytest'
    out.print(f"next: {escape(following)}", highlight=False, soft_wrap=True)


@contextmanager
def _progress(hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar, and what moves it: told what is going on, with steps done and steps in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=hidden) as progress:
        task = progress.add_task("starting", total=1)

        def say(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        yield say


@app.command()
def plugins(as_json: JsonOption = False) -> None:
    """List what is registered, and which distribution it comes from."""
    from spatialguide.registry import default_registry

    items = list(default_registry())
    if as_json:
        rows = [{"kind": i.kind, "name": i.name, "distribution": i.distribution, "module": i.module} for i in items]
        echo(json.dumps(rows))
        return
    table = Table("kind", "name", "distribution", "module")
    for item in items:
        table.add_row(item.kind, item.name, item.distribution, item.module)
    out.print(table)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the models that can be guided: what is known of each, and how it was tried."""
    from spatialguide.registry import default_registry

    known = [item.value for item in default_registry() if item.kind == "models"]
    if as_json:
        echo(json.dumps([facts.described() for facts in known]))
        return
    table = Table("models", "denoiser", "tried with", box=SIMPLE_HEAD)
    for facts in sorted(known, key=lambda facts: facts.models):
        table.add_row(facts.models, facts.denoiser, facts.tried)
    out.print(table)


@app.callback()
def _group(
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show where an unexpected error came from; of any command.")] = False,
) -> None:
    """Draw prompts the way round they say."""


def main() -> None:
    """Entry point: whatever goes wrong becomes one line and an exit code."""
    arguments = sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # which may know no letters but ASCII's
            stream.reconfigure(errors="backslashreplace")
    # A shell that asks for completions is answered with a SystemExit.
    faults: tuple[type[BaseException], ...] = (
        (Exception,) if "_SPATIALGUIDE_COMPLETE" in os.environ else (Exception, SystemExit)
    )
    try:
        code = app([each for each in arguments if each != _DEBUG], standalone_mode=False)
    except SpatialGuideError as error:
        code = _say(str(error), 1)
    except typer.Abort:
        code = 1
    except BrokenPipeError:  # whoever read the output has gone, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        err.print("interrupted")
        code = 130
    except faults as error:
        if isinstance(error, _UsageError):
            error.message = plain(error.message or "")
            rich_format_error(error)
            code = error.exit_code
        elif isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):  # of a help page
            code = 1
        else:
            if _DEBUG in arguments:
                err.print("".join(traceback.format_exception(error)), markup=False, highlight=False, soft_wrap=True)
            code = _say(f"unexpected {type(error).__name__}: {error}; {_DEBUG} shows where it came from: please report it", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _say(message: str, code: int) -> int:
    err.print(f"[bold red]error:[/] {escape(' '.join(message.split()))}", highlight=False, soft_wrap=True)
    return code
