"""`spatialguide batch`: many prompts."""

from __future__ import annotations

import json
import logging
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from spatialguide.commands.console import echo, err, out
from spatialguide.commands.options import (
    ConfigOption,
    JsonOption,
    PresetOption,
    QuietOption,
    SetOption,
    say_warnings,
    settings,
    silence_libraries,
)

_ENGINES, _LAYOUTS = ("local", "ray"), ("images", "shards")


def batch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PROMPTS",
            help="Requests, a path or URL: .jsonl, .json, .csv, .tsv, .parquet, or a prompt a line; '-' is standard input.",
        ),
    ],
    target: Annotated[str, typer.Option("--out", help="Folder or URL (s3://, gs://, ...) for images and metadata.")],
    engine: Annotated[str, typer.Option(help="local, or ray: a pool of workers, here or on a cluster.")] = "local",
    workers: Annotated[int, typer.Option(min=1, max=10_000, help="Ray's workers, each with a model.")] = 1,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster, such as auto.")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs of each of Ray's workers; one if there are any.")] = None,
    cpus: Annotated[float, typer.Option(min=0, help="Cores of each of Ray's workers.")] = 1.0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Of torch in each worker; the same number gives the same bits."),
    ] = None,
    size: Annotated[int, typer.Option("--batch", min=1, max=1024, help="Images drawn at once.")] = 8,
    unit: Annotated[int, typer.Option(min=1, max=100_000, help="Requests committed together: what a kill can cost.")] = 64,
    images: Annotated[int, typer.Option(min=1, max=10_000, help="For each prompt, from its seed on.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=2**62 - 1, help="Of requests that name none.")] = 0,
    layout: Annotated[str, typer.Option(help="images: a PNG each; shards: WebDataset, a tar a unit.")] = "images",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Draw units again in which a request failed.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every byte of images that are there, not their size alone.")
    ] = False,
    preset: PresetOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Serve Prometheus metrics here.")] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log events as JSON lines on standard error.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw many prompts, each exactly once: the same command goes on where a kill has stopped it."""
    if engine not in _ENGINES or layout not in _LAYOUTS:
        raise typer.BadParameter(f"--engine is one of {', '.join(_ENGINES)}, --layout one of {', '.join(_LAYOUTS)}")
    if engine == "local" and (workers > 1 or gpus is not None or address):
        raise typer.BadParameter("--workers, --gpus and --address are of --engine ray")
    if size > unit and not quiet:
        err.print(f"[yellow]warning:[/] a batch holds requests of one unit: of {size} images {size - unit} are drawn in vain")
    say_warnings(quiet=True)
    silence_libraries()
    from spatialguide.batch.metrics import JsonFormatter, Metrics, logger
    from spatialguide.batch.runs import Batch, run_batch

    if json_logs:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    wanted = Batch(
        source=source,
        out=target,
        config=settings(config, preset, assignments=assignments),
        batch=size,
        unit=unit,
        images=images,
        seed=seed,
        layout=layout,  # type: ignore[arg-type]  # checked above
        engine=engine,  # type: ignore[arg-type]
        workers=workers,
        address=address,
        gpus=gpus,
        cpus=cpus,
        threads=threads,
        retry_failed=retry_failed,
        verify=verify,
    )
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet or as_json or json_logs) as progress:
        task = progress.add_task("images", total=None)
        report = run_batch(wanted, Metrics(metrics_port), lambda done: progress.update(task, completed=done))
    if as_json:
        echo(json.dumps(report))
    elif not quiet:
        words = ", ".join(f"{report[name]} {name}" for name in ("done", "failed", "skipped"))
        out.print(f"[bold]{target}[/]  {words}; {report['images_per_second']:.2f} images/s", highlight=False, soft_wrap=True)
        if report["damaged"]:
            err.print(f"{report['damaged']} images were gone or damaged: their units were drawn again", highlight=False)
        for error in report["errors"]:
            err.print(f"[bold red]failed:[/] {escape(error)}", highlight=False, soft_wrap=True)
        if report["failed"] > len(report["errors"]):
            err.print(f"{report['failed'] - len(report['errors'])} more failed: the metadata says why", highlight=False)
    if report["failed"] or report["failed_before"]:
        raise typer.Exit(1)
