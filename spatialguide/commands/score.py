"""`spatialguide score`: results that the user has, by the publications' own rules."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from spatialguide.commands.console import echo, err, out
from spatialguide.commands.options import JsonOption, pairs, say_warnings, silence_libraries

score = typer.Typer(help="Score results that you have, by the publications' own rules.", no_args_is_help=True)


FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Images as the publication's scripts lay them out.")]
FolderDetector = Annotated[str, typer.Option("--detector", help="Detector: see `spatialguide plugins`.")]
DetectorOptions = Annotated[
    list[str] | None, typer.Option("--detector-option", help="Option of the detector, key=value, such as model=FOLDER.")
]
Against = Annotated[Path | None, typer.Option(help="Another method's images of the same prompts.")]


@score.command("geneval")
def score_geneval(
    folder: FolderArgument,
    detector: FolderDetector,
    detector_option: DetectorOptions = None,
    against: Against = None,
    as_json: JsonOption = False,
) -> None:
    """Score images by GenEval's rule: FOLDER/NUMBER/samples/*.png beside metadata.jsonl; colours are left out."""
    _score_folder("geneval", folder, detector, detector_option, against, as_json)


@score.command("t2i")
def score_t2i(
    folder: FolderArgument,
    detector: FolderDetector,
    detector_option: DetectorOptions = None,
    against: Against = None,
    as_json: JsonOption = False,
) -> None:
    """Score images by T2I-CompBench's spatial rule: FOLDER/PROMPT_NUMBER.png, such as "a cup near a box_000000.png"."""
    _score_folder("t2i", folder, detector, detector_option, against, as_json)


def _score_folder(
    name: str, folder: Path, detector: str, options: list[str] | None, against: Path | None, as_json: bool
) -> None:
    say_warnings(quiet=False)
    silence_libraries()
    from spatialguide.evaluation.detection import make_detector
    from spatialguide.evaluation.folders import score_folder
    from spatialguide.evaluation.report import json_ready
    from spatialguide.guide import SpatialGuide

    guide = SpatialGuide()
    finder = make_detector(guide.registry, detector, pairs(options))
    scores = score_folder(name, folder, finder, guide, err)
    gains = scores.against(score_folder(name, against, finder, guide, err)) if against is not None else {}
    if as_json:
        echo(json.dumps(json_ready({"images": scores.images, "figures": scores.figures, "comparison": gains})))
        return
    table = Table(title=f"{name}, {escape(str(folder))} (percent)", title_justify="left", box=SIMPLE_HEAD)
    for column in ("", *scores.figures, "prompts", "images"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    figures = scores.figures.values()
    table.add_row(name, *(f"{figure.value:.1f}" for figure in figures), str(len(scores.rows)), str(scores.images))
    table.add_row("95% from", *(f"{figure.interval.low:.1f}" for figure in figures), style="dim")
    table.add_row("95% to", *(f"{figure.interval.high:.1f}" for figure in figures), style="dim")
    out.print(table)
    for column, gain in gains.items():
        sign = f"{gain.difference:+.1f} ({gain.interval}), p = {gain.p_value:.4f}"
        out.print(f"{column} against {escape(str(against))}, over shared prompts: {sign}", highlight=False)


@score.command("visor")
def score_visor(
    detections: Annotated[Path | None, typer.Option(help="Detection results in the publishers' JSON format.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of images PROMPT_IMAGE.png, such as 0_3.png, to detect objects in.")
    ] = None,
    detector: Annotated[str | None, typer.Option(help="Detector for --images: see `spatialguide plugins`.")] = None,
    detector_option: DetectorOptions = None,
    write: Annotated[Path | None, typer.Option(help="Write what was detected in --images, in the publishers' format.")] = None,
    against: Annotated[Path | None, typer.Option(help="Another method's results on the same prompts.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print VISOR's figures for detections or images; prompts are numbered as SR2D numbers them."""
    say_warnings(quiet=False)
    from spatialguide import files
    from spatialguide.evaluation import visor as scorer
    from spatialguide.evaluation.prompts import bundled_names, sr2d
    from spatialguide.evaluation.report import json_ready

    if (detections is None) == (images is None):
        raise typer.BadParameter("give either --detections or --images")
    if (detector is None) != (images is None):
        raise typer.BadParameter("--images and --detector belong together: give both, or neither")
    if write is not None and images is None:
        raise typer.BadParameter("--write belongs to --images: give both, or leave it out")
    prompts = sr2d(bundled_names("coco"))
    if images is not None and detector is not None:
        silence_libraries()
        from spatialguide.evaluation.detection import make_detector
        from spatialguide.evaluation.visor_images import detect_folder
        from spatialguide.registry import default_registry

        found = make_detector(default_registry(), detector, pairs(detector_option))
        results = detect_folder(images, prompts, found, console=err)
        if write is not None:
            files.write_text(write, json.dumps(results))
    elif detections is not None:
        results = scorer.read_detections(detections)
    scores = scorer.score_detections(results, prompts)
    comparison = scorer.compare_detections(scorer.read_detections(against), results, prompts) if against else None
    if as_json:
        echo(json.dumps(json_ready({**asdict(scores), "comparison": asdict(comparison) if comparison else None})))
        return
    # The publishers' order of columns: cond before uncond.
    oa, uncond, cond, *rest = scores.intervals
    intervals = (oa, cond, uncond, *rest)
    table = Table(title=f"VISOR, {escape(str(detections or images))} (percent)", title_justify="left", box=SIMPLE_HEAD)
    for column in ("", "OA", "cond", "uncond", *(str(n + 1) for n in range(len(rest))), "images"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    figures = (scores.oa, scores.cond, scores.uncond, *scores.at_least)
    table.add_row("VISOR", *(f"{figure:.2f}" for figure in figures), str(len(results)))
    table.add_row("95% from", *(f"{interval.low:.1f}" for interval in intervals), style="dim")
    table.add_row("95% to", *(f"{interval.high:.1f}" for interval in intervals), style="dim")
    out.print(table)
    if comparison is not None:
        sign = f"{comparison.difference:+.2f} ({comparison.interval}), p = {comparison.p_value:.4f}"
        out.print(
            f"VISOR_uncond against {escape(str(against))}, over shared prompts, each counted once: {sign}", highlight=False
        )
