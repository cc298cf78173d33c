"""`spatialguide bench`: what measures."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.status import Status

from spatialguide.commands.console import echo, err, out
from spatialguide.commands.options import (
    BackendOption,
    ConfigOption,
    JsonOption,
    PresetOption,
    SchedulerOption,
    SetOption,
    StepsOption,
    StrengthOption,
    import_spacy_alone,
    pairs,
    say_warnings,
    settings,
    silence_libraries,
    split_pair,
)
from spatialguide.config import load_config, make_config, presets
from spatialguide.documents import DocumentError, parse_yaml

if TYPE_CHECKING:
    from spatialguide.evaluation.fidelity import FeatureChoice
    from spatialguide.evaluation.report import Report

bench = typer.Typer(help="Benchmarks that print tables and write reports.", no_args_is_help=True)

FeaturesOption = Annotated[
    str | None, typer.Option(help="Features for fidelity: see `spatialguide plugins`; the backend's own by default; or none.")
]
FeatureOption = Annotated[
    list[str] | None, typer.Option("--feature-option", help="Option of the features, key=value, such as model=CHECKPOINT.")
]
ReferenceOption = Annotated[Path | None, typer.Option(help="Folder of real images for the Frechet distance.")]


@bench.command("run")
def bench_run(
    name: Annotated[str, typer.Argument(metavar="BENCHMARK", help="Benchmark: see `spatialguide plugins`.")],
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the benchmark, key=value, such as file=spatial_val.txt.")
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="The publication's file of prompts; short for --option file=PATH.", show_default=False)
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="Another method's guidance and losses, the same sampler: NAME=PRESET, NAME=FILE.yaml, or a folder of files.",
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            help="Key of the configuration and its values, such as guidance.strength=1,2,4: each is a method beside the "
            "configured one; of several --vary every combination is. losses=-each leaves out each loss term in turn.",
        ),
    ] = None,
    prompts: Annotated[int, typer.Option(help="Number of prompts.", min=1, max=1_000_000)] = 100,
    images: Annotated[int, typer.Option(help="Images per prompt.", min=1, max=1000)] = 4,
    batch: Annotated[int, typer.Option(help="Prompts per batch.", min=1, max=1000)] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the choice of prompts and of the first image.", min=0)] = 0,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Keep the run and its report here; the same command resumes it.")
    ] = None,
    features: FeaturesOption = None,
    feature_option: FeatureOption = None,
    reference: ReferenceOption = None,
    steps: StepsOption = None,
    strength: StrengthOption = None,
    scheduler: SchedulerOption = None,
    backend: BackendOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG of the methods' images side by side.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a benchmark: unguided against guided, and against whatever else is named; same prompts, same seeds."""
    _prepare()
    named = [pair for value in method or () for pair in _named(value)]
    others = {label: make_config(source) if source in presets() else load_config(source) for label, source in named}
    if len(others) < len(named):
        raise typer.BadParameter("two methods have one name: give each its own")
    varied: dict[str, list[Any]] = {}
    for key, text in map(split_pair, vary or ()):
        varied.setdefault(key, []).extend(_values(key, text))
    chosen = settings(config, preset, strength, assignments, steps=steps, scheduler=scheduler, backend=backend)
    from spatialguide.evaluation.benchmark import Task, run_benchmark
    from spatialguide.evaluation.study import benchmark_methods

    report = run_benchmark(
        benchmark_methods(chosen, others, varied),
        Task(name, {**pairs(option), **({} if file is None else {"file": file})}, prompts, images, batch, seed),
        folder=folder,
        features=_features(features, feature_option, reference),
        sheet=sheet,
        console=err,
    )
    _print(report, folder, as_json)


@bench.command("report")
def bench_report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    features: FeaturesOption = None,
    feature_option: FeatureOption = None,
    reference: ReferenceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's report anew, such as with other features; nothing is drawn."""
    _prepare()
    from spatialguide.evaluation.report import check_installed, read_report, write_report

    check_installed()
    from spatialguide.evaluation.fidelity import load_features
    from spatialguide.evaluation.study import read_study
    from spatialguide.registry import default_registry

    choice = _features(features, feature_option, reference)
    report = read_report(folder, load_features(default_registry(), read_study(folder).backend, choice))
    write_report(report, folder)
    _print(report, folder, as_json)


@bench.command("cost")
def bench_cost(
    architectures: Annotated[str, typer.Option(help="Separated by commas: sd15, sd21, sdxl.")] = "sd15,sd21,sdxl",
    rounds: Annotated[int, typer.Option(help="Steps of each kind; the median counts.", min=1, max=1000)] = 3,
    images: Annotated[int, typer.Option(help="Of one scene, denoised together.", min=1, max=1000)] = 1,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    preset: PresetOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Time plain and guided steps in turn on full-size architectures with random weights, with their peak memory."""
    _prepare()
    names = [name.strip() for name in architectures.split(",") if name.strip()]
    chosen = settings(config, preset, assignments=assignments)
    import torch

    from spatialguide.evaluation.architectures import ARCHITECTURES
    from spatialguide.evaluation.cost import cost_table, measure
    from spatialguide.registry import default_registry

    unknown = [name for name in names if name not in ARCHITECTURES]
    if unknown or not names:
        raise typer.BadParameter(f"--architectures takes some of {', '.join(ARCHITECTURES)}, not '{architectures}'")
    if dtype not in ("float32", "float16", "bfloat16"):
        raise typer.BadParameter(f"--dtype takes float32, float16 or bfloat16, not '{dtype}'")
    costs = []
    for name in names:
        with err.status(f"{name}: making random weights") as shown:
            say = partial(_measuring, shown, name)
            kind = getattr(torch, dtype)
            costs.append(measure(name, chosen, default_registry(), dtype=kind, rounds=rounds, images=images, say=say))
    several = "one image" if images == 1 else f"{images} images"
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    out.print(cost_table(costs, f"One step, {several} with classifier-free guidance, {dtype}, {where}"))


@bench.command("operators")
def bench_operators(preset: PresetOption = None, config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Count the operators that a guided step adds on the configured model, for batches of one and of 32 images."""
    _prepare()
    from spatialguide.evaluation.operators import operators_table, two_steps
    from spatialguide.guide import SpatialGuide

    out.print(operators_table(SpatialGuide(two_steps(settings(config, preset, assignments=assignments)))))


@bench.command("parser")
def bench_parser(
    gold: Annotated[Path | None, typer.Option(help="Gold prompts as JSON lines; the project's own by default.")] = None,
    fails: Annotated[int, typer.Option(help="Print the first prompts that are not right.", min=0)] = 0,
    templates: Annotated[int | None, typer.Option(help="Prompts per template set; all by default.", min=0)] = None,
    parser: Annotated[str | None, typer.Option(help="Parser: see `spatialguide plugins`.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the parser: templates of the benchmarks, gold prompts by class, speed."""
    say_warnings(quiet=False)
    import_spacy_alone()
    from spatialguide.evaluation.parser_benchmark import run_parser_benchmark
    from spatialguide.guide import SpatialGuide

    report = run_parser_benchmark(SpatialGuide(settings(None, None, parser=parser)), gold, templates)
    if as_json:
        echo(json.dumps(report.as_dict(), ensure_ascii=False))
        return
    out.print(report.table())
    for failure in report.failures[:fails]:
        out.print(f"[bold]{failure.identity}[/] {escape(failure.prompt)}", highlight=False)
        out.print(
            f"  missed: {escape('; '.join(failure.missed)) or '-'}  wrong: {escape('; '.join(failure.wrong)) or '-'}",
            highlight=False,
        )
    for item in report.templates:
        for prompt in item.failures[:fails]:
            out.print(f"[bold]{item.name}[/] {escape(prompt)}", highlight=False)


def _measuring(shown: Status, name: str, kind: str) -> None:
    shown.update(f"{name}: a step, {kind}")


def _prepare() -> None:
    say_warnings(quiet=False)
    silence_libraries()


def _named(value: str) -> list[tuple[str, str]]:
    """Names and sources of the methods that one --method gives."""
    folder = Path(value)
    if not os.path.isdir(value):
        return [split_pair(value)]
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise typer.BadParameter(f"--method: the folder '{value}' holds no .yaml file: `spatialguide config init` writes one")
    return [(path.stem, str(path)) for path in files]


def _values(key: str, text: str) -> list[Any]:
    """Values separated by commas, each read as YAML."""
    try:
        found: list[Any] = parse_yaml(f"[{text}]")
    except DocumentError as error:
        raise typer.BadParameter(f"--vary: the values of '{key}' are not valid YAML; put texts in quotes") from error
    if not found:
        raise typer.BadParameter(f"--vary: give at least one value for '{key}'")
    return found


def _features(name: str | None, options: list[str] | None, reference: Path | None) -> FeatureChoice:
    from spatialguide.evaluation.fidelity import FeatureChoice

    return FeatureChoice(name, pairs(options), reference)


def _print(report: Report, folder: Path | None, as_json: bool) -> None:
    from spatialguide.evaluation.tables import terminal, title

    if as_json:
        echo(json.dumps(report.as_dict()))
        return
    out.print(f"[bold]{escape(title(report))}[/]", highlight=False)
    out.print(terminal(report))
    if folder is not None:
        out.print(f"report: [bold]{escape(str(folder / 'report.html'))}[/]", highlight=False, soft_wrap=True)
