"""`spatialguide bench`: what measures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.status import Status

from spatialguide.config import PRESETS, GuideConfig, load_config, make_config
from spatialguide.options import (
    BackendOption,
    ConfigOption,
    JsonOption,
    PresetOption,
    SchedulerOption,
    SetOption,
    StepsOption,
    StrengthOption,
    err,
    import_spacy_alone,
    out,
    pairs,
    say_warnings,
    settings,
    silence_libraries,
    split_pair,
)

if TYPE_CHECKING:
    from spatialguide.evaluation.benchmark import Task
    from spatialguide.evaluation.fidelity import FeatureChoice
    from spatialguide.evaluation.report import Report
    from spatialguide.evaluation.study import Kind, Method

bench = typer.Typer(help="Benchmarks that print tables and write reports.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Benchmark: visor, multi, t2i, geneval, or one of a plugin.")]
BenchmarkOption = Annotated[
    list[str] | None, typer.Option("--option", help="Option of the benchmark, key=value, such as file=spatial_val.txt.")
]
PromptsOption = Annotated[int, typer.Option(help="Number of prompts.", min=1)]
ImagesOption = Annotated[int, typer.Option(help="Images per prompt.", min=1)]
BatchOption = Annotated[int, typer.Option(help="Prompts per batch.", min=1)]
SeedOption = Annotated[int, typer.Option(help="Seed of the choice of prompts and of the first image.", min=0)]
FolderOption = Annotated[
    Path | None, typer.Option("--out", help="Keep the run and its report here; the same command resumes it.")
]
SheetOption = Annotated[Path | None, typer.Option(help="Write a PNG of the methods' images side by side.")]
FeaturesOption = Annotated[
    str | None, typer.Option(help="Features for fidelity: see `spatialguide plugins`; the backend's own by default; or none.")
]
FeatureOption = Annotated[
    list[str] | None, typer.Option("--feature-option", help="Option of the features, key=value, such as model=CHECKPOINT.")
]
ReferenceOption = Annotated[Path | None, typer.Option(help="Folder of real images for the Frechet distance.")]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="Another method's guidance and losses, the same sampler: NAME=PRESET, NAME=FILE.yaml, or a folder of files.",
    ),
]


@bench.command("run")
def bench_run(
    name: NameArgument = "visor",
    option: BenchmarkOption = None,
    method: MethodOption = None,
    prompts: PromptsOption = 100,
    images: ImagesOption = 4,
    batch: BatchOption = 4,
    seed: SeedOption = 0,
    folder: FolderOption = None,
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
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a benchmark: unguided against guided, same prompts, same seeds."""
    _prepare()
    chosen = settings(config, preset, strength, assignments, steps=steps, scheduler=scheduler, backend=backend)
    from spatialguide.evaluation.study import benchmark_methods

    named = [pair for value in method or () for pair in _named(value)]
    others = {label: _guidance_of(source) for label, source in named}
    if len(others) < len(named):
        raise typer.BadParameter("two methods have one name: give each its own")
    task = _task(name, option, prompts, images, batch, seed)
    _run(
        benchmark_methods(chosen, others),
        task,
        "benchmark",
        folder,
        _features(features, feature_option, reference),
        sheet,
        as_json,
    )


@bench.command("sweep")
def bench_sweep(
    name: NameArgument = "visor",
    option: BenchmarkOption = None,
    strengths: Annotated[str, typer.Option(help="Strengths, separated by commas; 0 is always there.")] = "0.5,1,2,4,8",
    prompts: PromptsOption = 24,
    images: ImagesOption = 4,
    batch: BatchOption = 4,
    seed: SeedOption = 0,
    folder: FolderOption = None,
    features: FeaturesOption = None,
    feature_option: FeatureOption = None,
    reference: ReferenceOption = None,
    steps: StepsOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sweep the strength of guidance: accuracy against fidelity."""
    _prepare()
    try:
        values = [float(part) for part in strengths.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"--strengths takes numbers separated by commas, not '{strengths}'") from error
    chosen = settings(config, preset, assignments=assignments, steps=steps)
    from spatialguide.evaluation.study import sweep_methods

    task = _task(name, option, prompts, images, batch, seed)
    _run(sweep_methods(chosen, values), task, "sweep", folder, _features(features, feature_option, reference), sheet, as_json)


@bench.command("ablate")
def bench_ablate(
    name: NameArgument = "visor",
    option: BenchmarkOption = None,
    grids: Annotated[
        str,
        typer.Option(
            help="What to ablate, separated by commas: terms, levels, activations, windows, strengths, losses, schedulers."
        ),
    ] = "terms,levels,activations,windows",
    prompts: PromptsOption = 24,
    images: ImagesOption = 4,
    batch: BatchOption = 4,
    seed: SeedOption = 0,
    folder: FolderOption = None,
    features: FeaturesOption = None,
    feature_option: FeatureOption = None,
    reference: ReferenceOption = None,
    steps: StepsOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change one part of the guidance at a time: every subset of its terms, levels, activations, windows."""
    _prepare()
    chosen = settings(config, preset, assignments=assignments, steps=steps)
    from spatialguide.evaluation.study import ablation_methods
    from spatialguide.registry import default_registry

    wanted = [part.strip() for part in grids.split(",") if part.strip()]
    task = _task(name, option, prompts, images, batch, seed)
    methods = ablation_methods(chosen, default_registry(), wanted)
    _run(methods, task, "ablation", folder, _features(features, feature_option, reference), sheet, as_json)


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
    rounds: Annotated[int, typer.Option(help="Steps of each kind; the median counts.", min=1)] = 3,
    images: Annotated[int, typer.Option(help="Of one scene, denoised together.", min=1)] = 1,
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
    say_warnings(quiet=False)
    import_spacy_alone()
    from spatialguide.evaluation.parser_benchmark import run_parser_benchmark
    from spatialguide.evaluation.targets import targets_table
    from spatialguide.guide import SpatialGuide

    report = run_parser_benchmark(SpatialGuide(settings(None, None, parser=parser)), gold, peer, templates)
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
    _prepare()
    from spatialguide.evaluation import targets as measured
    from spatialguide.evaluation.benchmark import Task, run_benchmark
    from spatialguide.evaluation.study import BASELINE, GUIDED, benchmark_methods
    from spatialguide.evaluation.tables import terminal

    config = make_config()
    found = measured.command_targets()  # first, while nothing else of ours is in memory
    task = Task(prompts=prompts, images=images, batch=batch)
    report = run_benchmark(benchmark_methods(config), task, sheet=sheet, console=err)
    out.print(terminal(report))
    accuracy = measured.visor_targets(report.of(BASELINE).scores, report.of(GUIDED).scores)
    out.print(measured.targets_table([*accuracy, *measured.identity_targets(config), *found]))


@bench.command("suite")
def bench_suite(
    prompts: Annotated[int, typer.Option(help="Prompts of each part.", min=4)] = 32,
    images: ImagesOption = 4,
    batch: BatchOption = 4,
    seed: SeedOption = 5,
    folder: FolderOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """All that guidance must reach on the bundled model: more objects, rare pairs, other backgrounds and sizes, peers."""
    _prepare()
    chosen = settings(config, preset, assignments=assignments)
    from spatialguide.evaluation.suite import run_suite, suite_targets
    from spatialguide.evaluation.tables import terminal, title
    from spatialguide.evaluation.targets import targets_table

    reports = {}
    for part, report in run_suite(chosen, prompts, images, batch, seed, folder, err):
        reports[part] = report
        out.print(f"[bold]{escape(part)}: {escape(title(report))}[/]", highlight=False)
        out.print(terminal(report))
    out.print(targets_table(suite_targets(reports)))


def _measuring(shown: Status, name: str, kind: str) -> None:
    shown.update(f"{name}: a step, {kind}")


def _prepare() -> None:
    say_warnings(quiet=False)
    silence_libraries()


def _named(value: str) -> list[tuple[str, str]]:
    """Names and sources of the methods that one --method gives."""
    folder = Path(value)
    if not folder.is_dir():
        return [split_pair(value)]
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise typer.BadParameter(f"--method: the folder '{value}' holds no .yaml file: `spatialguide config init` writes one")
    return [(path.stem, str(path)) for path in files]


def _guidance_of(source: str) -> GuideConfig:
    """A preset's or a file's configuration."""
    return make_config(source) if source in PRESETS else load_config(source)


def _task(name: str, options: list[str] | None, prompts: int, images: int, batch: int, seed: int) -> Task:
    from spatialguide.evaluation.benchmark import Task

    return Task(name, pairs(options), prompts, images, batch, seed)


def _features(name: str | None, options: list[str] | None, reference: Path | None) -> FeatureChoice:
    from spatialguide.evaluation.fidelity import FeatureChoice

    return FeatureChoice(name, pairs(options), reference)


def _run(
    methods: Mapping[str, Method],
    task: Task,
    kind: Kind,
    folder: Path | None,
    features: FeatureChoice,
    sheet: Path | None,
    as_json: bool,
) -> None:
    from spatialguide.evaluation.benchmark import run_benchmark

    report = run_benchmark(methods, task, kind=kind, folder=folder, features=features, sheet=sheet, console=err)
    _print(report, folder, as_json)


def _print(report: Report, folder: Path | None, as_json: bool) -> None:
    from spatialguide.evaluation.tables import terminal, title

    if as_json:
        typer.echo(json.dumps(report.as_dict()))
        return
    out.print(f"[bold]{escape(title(report))}[/]", highlight=False)
    out.print(terminal(report))
    if folder is not None:
        out.print(f"report: [bold]{escape(str(folder / 'report.html'))}[/]", highlight=False, soft_wrap=True)
